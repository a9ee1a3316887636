"""Pipelines whose workspace is a bucket, and workspaces that are only read."""

from __future__ import annotations

import datetime as dt
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from harness import gcs_server, s3_server
from harness.store_conformance import put

from airflow_kart import (
    ExternalTask,
    IntParameter,
    ParameterVisibility,
    StrParameter,
    Target,
    TaskOnKart,
    Workspace,
    WrapperTask,
    adopt,
    build,
    undo_adoption,
    verify,
    verify_checksums,
)
from airflow_kart.audit.garbage import Conditions, Garbage
from airflow_kart.audit.reindex import reindex
from airflow_kart.exceptions import CorruptArtifactError, LockError, StorageError
from airflow_kart.locks import Holder, Taken, locks_for
from airflow_kart.storage import INDEX, Store, store_for

RAN: list[str] = []


class Numbers(TaskOnKart[pd.DataFrame]):
    count: int = IntParameter(default=10)

    def output(self) -> Target:
        return self.make_target("numbers/numbers.parquet")

    def run(self) -> None:
        RAN.append(f"Numbers {self.count}")
        self.dump(pd.DataFrame({"n": np.arange(self.count)}), custom_labels={"team": "data", "größe": "groß"})


class Total(TaskOnKart[dict[str, int]]):
    count: int = IntParameter(default=10)
    token: str = StrParameter(default="s3cret", visibility=ParameterVisibility.PRIVATE, significant=False)

    def requires(self) -> TaskOnKart[pd.DataFrame]:
        return Numbers(count=self.count)

    def output(self) -> Target:
        return self.make_target("total.json")

    def run(self) -> None:
        RAN.append(f"Total {self.count}")
        total = int(self.load(Numbers(count=self.count))["n"].sum())
        self.dump({"total": total}, custom_labels={"by": self.token})


class Parts(TaskOnKart[pd.DataFrame]):
    def output(self) -> Target:
        return self.make_large_data_frame_target(max_byte=1 << 20)

    def run(self) -> None:
        self.dump(pd.DataFrame({"n": np.random.default_rng(1).integers(0, 1 << 60, 3_000_000)}))


@pytest.fixture
def workspace(kind: Any, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    RAN.clear()
    monkeypatch.setenv("AIRFLOW_CONN_KART_S3", s3_server.s3_connection(kind.address))
    monkeypatch.setenv("AIRFLOW_CONN_KART_GCS", gcs_server.gcs_connection())
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", kind.address)
    return Workspace(kind.base, aws_conn_id="kart_s3", gcp_conn_id="kart_gcs")


def test_cold_then_warm(workspace: Workspace) -> None:
    with workspace:
        assert build(Total()) == {"total": 45}
        assert RAN == ["Numbers 10", "Total 10"]
        assert build(Total()) == {"total": 45}
        assert len(RAN) == 2
        uris = sorted(workspace.store.list(f"{workspace.directory}/"))
        assert len(uris) == 4
        assert sum(uri.endswith(".kart.json") for uri in uris) == 2


def test_a_rerun_replaces(workspace: Workspace) -> None:
    with workspace:
        build(Total())
        before = Total().output().sidecar()
        build(Total(), rerun=["Numbers"])
        after = Total().output().sidecar()
        assert before is not None and after is not None
        assert after.published_at > before.published_at
        assert after.replaces is None
        assert RAN == ["Numbers 10", "Total 10", "Numbers 10"]  # whose bytes are as before
        assert after.content["reused_from"]["sha256"] == before.artifact.sha256
        assert build(Total(), rerun=["Numbers+"]) == {"total": 45}
        assert RAN == ["Numbers 10", "Total 10", "Numbers 10", "Numbers 10", "Total 10"]


class Totals(WrapperTask):
    def requires(self) -> list[TaskOnKart[dict[str, int]]]:
        return [Total(count=count) for count in range(3)]


def test_in_processes(workspace: Workspace) -> None:
    with workspace:
        build(Totals(), workers=2)
        assert [build(Total(count=count)) for count in range(3)] == [{"total": sum(range(count))} for count in range(3)]
        assert RAN == []


def test_the_object_says_what_it_is(workspace: Workspace) -> None:
    with workspace:
        build(Total())
        target = Numbers().output()
        sidecar = target.sidecar()
        assert sidecar is not None
        assert sidecar.artifact.labels == {"team": "data", "größe": "groß"}
        metadata = metadata_of(target.uri)
        assert metadata["kart-unique-id"] == Numbers().unique_id
        assert metadata["kart-parameter-count"] == "10"
        assert metadata["team"] == "data"
        assert metadata_of(Total().output().uri)["kart-upstream"] == Numbers().unique_id
        metadata = metadata_of(Total().output().uri)
        assert metadata["by"] == "***"
        assert "s3cret" not in json.dumps(metadata)


def test_labels_of_other_types_are_text(workspace: Workspace) -> None:
    class Labelled(TaskOnKart[str]):
        def run(self) -> None:
            labels: Any = {"rows": 3, "team": None, 1: "a"}
            self.dump("x", custom_labels=labels)

    with workspace:
        build(Labelled())
        metadata = metadata_of(Labelled().output().uri)
    assert (metadata["rows"], metadata["team"], metadata["1"]) == ("3", "None", "a")


def metadata_of(uri: str) -> dict[str, Any]:
    bucket, _, key = uri.partition("://")[2].partition("/")
    if uri.startswith("s3://"):
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        found: dict[str, Any] = S3Hook("kart_s3").get_conn().head_object(Bucket=bucket, Key=key)["Metadata"]
        return found
    from airflow.providers.google.cloud.hooks.gcs import GCSHook

    blob = GCSHook("kart_gcs").get_conn().bucket(bucket).get_blob(key)
    return dict(blob.metadata)


def test_large_tables_part_by_part(workspace: Workspace) -> None:
    with workspace:
        whole = build(Parts())
        parts = list(Parts().output().load_parts())
        assert len(parts) > 10
        pd.testing.assert_frame_equal(pd.concat(parts), whole)


def test_damaged_bytes_are_noticed(workspace: Workspace) -> None:
    with workspace:
        build(Numbers())
        target = Numbers().output()
        found = target.store.read(target.uri)
        assert found is not None
        good = found.data
        upload = target.store.upload(target.uri)
        upload.write(bytes([good[0]]) + bytes([good[1] ^ 1]) + good[2:])
        upload.publish()
        with pytest.raises(CorruptArtifactError, match="was changed after it was published"):
            target.load()


def version_of(store: Store, uri: str) -> str:
    stat = store.stat(uri)
    assert stat is not None
    return stat.version


def test_what_is_only_read_counts_and_is_not_touched(workspace: Workspace, tmp_path: Path) -> None:
    with workspace:
        build(Numbers())
    before = sorted((uri, version_of(workspace.store, uri)) for uri in workspace.store.list(f"{workspace.directory}/"))
    laptop = Workspace(
        str(tmp_path / "laptop"), aws_conn_id="kart_s3", gcp_conn_id="kart_gcs", read_from=(workspace.directory,)
    )
    RAN.clear()
    with laptop:
        assert Numbers().complete()
        assert Numbers().output().state().reason == f"in {workspace.directory}/numbers"
        assert build(Total()) == {"total": 45}
        assert RAN == ["Total 10"]
        total = Total().output().sidecar()
        assert total is not None
        upstream = total.content["upstream"][0]["artifacts"][0]
        assert upstream["uri"].startswith(workspace.directory)
        assert len(upstream["sha256"]) == 64
        RAN.clear()
        assert build(Total(), rerun=["Numbers"]) == {"total": 45}
        assert RAN == ["Numbers 10"]
        assert Numbers().output().located().uri.startswith(str(tmp_path))
    after = sorted((uri, version_of(workspace.store, uri)) for uri in workspace.store.list(f"{workspace.directory}/"))
    assert after == before


def test_the_configured_workspaces_are_read(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with workspace:
        build(Numbers())
    RAN.clear()
    monkeypatch.setenv("AIRFLOW__KART__WORKSPACE_DIRECTORY", str(tmp_path / "own"))
    monkeypatch.setenv("AIRFLOW__KART__READ_FROM", f"{tmp_path}/nothing, {workspace.directory}")
    monkeypatch.setenv("AIRFLOW__KART__AWS_CONN_ID", "kart_s3")
    monkeypatch.setenv("AIRFLOW__KART__GCP_CONN_ID", "kart_gcs")
    assert build(Total()) == {"total": 45}
    assert RAN == ["Total 10"]


def test_external_tasks_in_buckets(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    class Delivered(ExternalTask[str]):
        def output(self) -> Target:
            return self.make_target(f"{workspace.directory}-incoming/a.txt")

    with workspace:
        assert not Delivered().complete()
        put(workspace.store, Delivered().output().uri, b"hello")
        assert build(Delivered()) == "hello"

        class Reader(TaskOnKart[str]):
            def requires(self) -> Delivered:
                return Delivered()

            def run(self) -> None:
                RAN.append("Reader")
                self.dump(self.load())

        monkeypatch.setattr("airflow_kart.artifacts.external._UNSETTLED", -5.0)
        build(Reader())
        kept = [workspace.store.read(uri) for uri in workspace.store.list(f"{workspace.directory.rstrip('/')}/{INDEX}/")]
        put(workspace.store, Delivered().output().uri, b"hello")
        build(Reader(), rerun=["Delivered"])
        assert RAN == ["Reader"]
        put(workspace.store, Delivered().output().uri, b"other")
        assert build(Reader(), rerun=["Delivered"]) == "other"
        assert [entry for entry in kept if entry is not None and Delivered().output().uri.encode() in entry.data]
        assert RAN == ["Reader"] * 2


def test_restoration(workspace: Workspace) -> None:
    with workspace:
        build(Numbers(count=7))
        assert TaskOnKart.restore(Numbers(count=7).unique_id) == Numbers(count=7)


def test_adoption(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with workspace:
        total = Total()
        for task in (total, Total(count=5)):
            build(task)
        RAN.clear()
        monkeypatch.setattr(Numbers, "code_version", "2")
        assert [one.outcome for one in adopt(Numbers, reason="a comment", verify=1)] == ["adopted"] * 2
        assert len(RAN) == 1
        for uri in list(workspace.store.list(f"{workspace.directory.rstrip('/')}/{INDEX}/")):
            workspace.store.remove(uri)
        assert reindex() == (0, 6, 0)
        assert build(Total()) == {"total": 45}
        assert len(RAN) == 1
        target = Total().output()
        assert target.uri != total.output().uri
        found = target.sidecar()
        assert found is not None
        assert found.is_reused
        outcomes = [one.outcome for one in undo_adoption(Numbers)]
        assert outcomes == ["undone", "undone", "kept"]
        assert not Numbers().output().exists()
        assert reindex() == (4, 0, 2)


def test_no_such_bucket(workspace: Workspace) -> None:
    scheme = workspace.directory.partition("://")[0]
    started = time.monotonic()
    elsewhere = Workspace(f"{scheme}://nobody-has-this/ws", aws_conn_id="kart_s3", gcp_conn_id="kart_gcs")
    with (
        elsewhere,
        pytest.raises((StorageError, LockError), match=rf"{scheme}://nobody-has-this/[\s\S]*no bucket[\s\S]*kart_"),
    ):
        build(Numbers())
    assert time.monotonic() - started < 20


def test_stores_of_equal_connections_are_one() -> None:
    assert store_for("s3://kart/a", aws_conn_id="kart_s3") is store_for("s3://kart/b", aws_conn_id="kart_s3")


def test_the_catalogue(workspace: Workspace) -> None:
    with workspace:
        build(Total())
        asked = workspace.artifacts()
        record = asked.latest(Total)
        assert (record.uri, record.load()) == (Total().output().uri, {"total": 45})
        assert [one.uri for one in record.upstream()] == [Numbers().output().uri]
        assert [one.uri for one in asked.get(Numbers().unique_id).downstream()] == [record.uri]
        record.remove()
        assert not list(asked.of(Total))
        build(Total(), rerun=["Numbers"])
        assert len(list(asked)) == 2


class Chance(TaskOnKart[str]):
    def requires(self) -> TaskOnKart[dict[str, int]]:
        return Total()

    def run(self) -> None:
        self.dump(f"{self.load()} {os.urandom(4).hex()}")


@pytest.mark.parametrize("kind", ["s3"], indirect=True)  # the service makes no difference
def test_fresh_processes_make_tasks_again_with_the_connection(workspace: Workspace) -> None:
    with workspace:
        build(Chance())
        found = {type_of(one.task): one for one in verify([Numbers(), Chance()], patience=0.0).results}
        assert found["Numbers"].verdict == "identical", found["Numbers"].reason
        assert (found["Chance"].verdict, found["Chance"].differences[0].name) == ("differs", "$")
        uri = Numbers().output().uri
        put(workspace.store, uri, b"?" * 20)
        assert [one.uri for one in verify_checksums(mark=True).damaged] == [uri]
        build(Numbers())
        assert verify_checksums().damaged == ()


def type_of(task: str) -> str:
    return task.partition("(")[0]


def test_garbage(workspace: Workspace) -> None:
    store = workspace.store
    with workspace:
        for count in range(1, 12):  # enough for a listing
            build(Total(count=count))
        orphan = Numbers(count=99).output().uri
    put(store, orphan, b"of a killed writer")
    put(store, f"{workspace.directory}/numbers/others.csv", b"not ours")
    upload = store.upload(f"{workspace.directory}/numbers/large.bin")
    upload.write(bytes(9 << 20))
    upload.finish()
    now = Conditions(keep_last=9, grace=dt.timedelta(seconds=-5))  # clocks of services count in seconds
    assert Garbage(workspace, Conditions(keep_last=9)).going == []
    found = Garbage(workspace, now)
    hold = locks_for(workspace).acquire(Total(count=1).unique_id, Holder("a run"))
    found.remove()
    assert not isinstance(hold, Taken)
    hold.release()
    (left,) = found.going
    assert "being made by" in left.left
    assert len(found.uploads) == 1
    assert store.stat(orphan) is None
    assert len(list(workspace.artifacts("Numbers"))) == 9
    assert len(list(workspace.artifacts("Total"))) == 10
    pinned = workspace.artifacts("Total(count=1)").latest()
    pinned.pin("ann")
    assert Garbage(workspace, now).going == [] and pinned.pinned is not None
    pinned.unpin()
    again = Garbage(workspace, now)
    again.remove()
    assert [piece.task.rpartition(".")[2] for piece in again.pieces if piece.gone] == ["Total"]
    third = Garbage(workspace, now)
    assert (third.going, third.uploads, third.entries) == ([], [], [])
    assert {piece.stays for piece in third.pieces} == {"of the newest 9", "no artifact of a task"}
    RAN.clear()
    with workspace:
        build(Total(count=11))
    assert RAN == []
