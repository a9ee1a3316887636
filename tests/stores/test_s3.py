"""S3: what every store promises, and what only this one does."""

from __future__ import annotations

import pytest
from harness.store_conformance import EveryStore

from airflow_kart.storage import S3Store, Store


class TestS3(EveryStore):
    @pytest.fixture
    def store(self, s3: S3Store) -> Store:
        return s3

    @pytest.fixture
    def base(self, s3_base: str) -> str:
        return s3_base
