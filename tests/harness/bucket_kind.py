"""A kind of service that keeps buckets, as tests of stores see it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import pytest

from airflow_kart.storage import BucketStore, GCSStore, S3Store
from airflow_kart.storage.buckets.faults import Retries
from harness import gcs_server, s3_server

__all__ = ["BUCKET", "Kind"]

BUCKET = "kart"


@dataclass(frozen=True)
class Kind:
    """A kind of service that is running, and how to come to a store of it."""

    name: str
    address: str
    base: str
    """A uri below which a test may do what it likes."""
    patch: pytest.MonkeyPatch

    def store(self, address: str | None = None, retries: int | None = None, account: bool = False) -> BucketStore:
        """Return a store that reaches the service at an address, such as a proxy's, with a connection of its own.

        With ``account`` it has credentials, for which Google's token is to be got at the same address.
        """
        found, conn_id = address or self.address, f"kart_{uuid.uuid4().hex[:8]}"
        tries = Retries(retries) if retries is not None else None
        if self.name == "s3":
            self.patch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", s3_server.s3_connection(found))
            return S3Store(conn_id, tries)
        self.patch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", gcs_server.gcs_connection(found if account else None))
        self.patch.setenv("STORAGE_EMULATOR_HOST", found)
        store = GCSStore(conn_id, tries)
        assert store.service.who  # makes the session, which keeps the address
        return store
