"""Google Cloud Storage: what every store promises, and what only this one does."""

from __future__ import annotations

import pytest
from harness.store_conformance import EveryStore

from airflow_kart.storage import GCSStore, Store


class TestGCS(EveryStore):
    @pytest.fixture
    def store(self, gcs: GCSStore) -> Store:
        return gcs

    @pytest.fixture
    def base(self, gcs_base: str) -> str:
        return gcs_base
