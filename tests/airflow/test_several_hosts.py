"""A workspace on one host's disk, and workers on others."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from harness.pipeline import Noted
from harness.stand_ins import context

from airflow_kart import KartDag, Workspace
from airflow_kart.exceptions import MissingInputError
from airflow_kart.operators import several_hosts
from airflow_kart.operators.several_hosts import several_hosts_advice, warn_while_parsing


@pytest.fixture(autouse=True)
def parsed_anew():
    warn_while_parsing.cache_clear()
    yield
    warn_while_parsing.cache_clear()


class First(Noted):
    """Is upstream."""


class Last(Noted):
    """Needs the first one."""

    def requires(self):
        return First()


@pytest.mark.parametrize(
    ("executor", "remote"),
    [
        ("LocalExecutor", ""),
        ("airflow.executors.local_executor.LocalExecutor", ""),
        ("CeleryExecutor", "CeleryExecutor"),
        ("LocalExecutor, KubernetesExecutor", "KubernetesExecutor"),
        ("team=LocalExecutor;team_b=EdgeExecutor", "team_b=EdgeExecutor"),
    ],
)
def test_which_executors_have_workers_elsewhere(monkeypatch, tmp_path, executor, remote):
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", executor)
    monkeypatch.setattr(several_hosts, "_is_disk", lambda _path: True)
    advice = several_hosts_advice(Workspace(str(tmp_path)))
    assert advice.startswith(f"the workers of {remote} run on several hosts") if remote else advice == ""
    assert several_hosts_advice(Workspace("s3://bucket/ws")) == ""


def test_a_volume_that_hosts_share_is_none_of_one_host(monkeypatch, tmp_path):
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    mounts = tmp_path / "mounts"
    shared = tmp_path / "a shared one"
    monkeypatch.setattr(several_hosts, "_MOUNTS", str(mounts))
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nserver:/x {tmp_path}/a\\040shared\\040one nfs4 rw 0 0\n")
    assert several_hosts_advice(Workspace(str(shared / "not" / "yet" / "there"))) == ""
    assert "on a disk of this host" in several_hosts_advice(Workspace(str(tmp_path / "own")))


@pytest.fixture
def celery(monkeypatch):
    monkeypatch.setattr(several_hosts, "_is_disk", lambda _path: True)
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")


def test_the_parse_and_a_missing_input_say_so(celery, caplog):
    with caplog.at_level(logging.WARNING):
        dag = KartDag("hosts", Last(), schedule=None)
        KartDag("hosts_too", Last(), schedule=None)
    assert ["the workers of CeleryExecutor run on several hosts" in record.getMessage() for record in caplog.records] == [
        True
    ]
    last: Any = dag.task_dict["last"]
    with pytest.raises(MissingInputError, match=r"Or another worker has made them: the workers of CeleryExecutor"):
        last.execute(context())


def test_the_plan_says_so(celery, run_dag, capfd):
    run = run_dag(KartDag("hosts_planned", First(), schedule=None))
    assert run.state == "success"
    assert "the workers of CeleryExecutor run on several hosts" in " ".join("".join(capfd.readouterr()).split())
