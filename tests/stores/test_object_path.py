"""What every store promises, kept by way of Airflow's ObjectStoragePath, over files of the scheme ``local``."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from harness.store_conformance import EveryStore, get, put

from airflow_kart.exceptions import ConfigurationError, StorageError
from airflow_kart.storage import ObjectPathStore, Store, store_for


class TestObjectPath(EveryStore):
    @pytest.fixture
    def store(self) -> Store:
        return store_for("local:///")

    @pytest.fixture
    def base(self, tmp_path: Path) -> str:
        return f"local://{tmp_path}/store"


def test_other_schemes_are_the_object_paths() -> None:
    assert isinstance(store_for("abfs://conn@container/a"), ObjectPathStore)
    assert store_for("local:///a") is store_for("abfs://container/a")


@pytest.mark.parametrize("scheme", ["ftp", "abfs"])
def test_a_file_system_that_airflow_does_not_have_is_named(scheme: str) -> None:
    uri = f"{scheme}://host/a"
    with pytest.raises(ConfigurationError, match=rf"no store keeps {uri}: .*install the Airflow provider"):
        store_for(uri).stat(uri)


def test_it_travels_by_pickle(tmp_path: Path) -> None:
    put(store_for("local:///"), f"local://{tmp_path}/a", b"x")
    assert get(pickle.loads(pickle.dumps(store_for("local:///"))), f"local://{tmp_path}/a") == b"x"


def test_what_a_file_system_refuses_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=rf"could not write local://{tmp_path}/file/a/b"):
        store_for("local:///").upload(f"local://{tmp_path}/file/a/b")
    with pytest.raises(StorageError, match="could not write local:///proc/kart/probe"):
        store_for("local:///").check_writable("local:///proc/kart")
