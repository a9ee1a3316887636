"""Runs with several outputs in a bucket are killed, while another process reads: nothing is mixed, nothing lost."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import pair_killer, s3_server
from harness.bucket_kind import BUCKET


def test_killed_runs_with_several_outputs_mix_nothing_and_lose_nothing(
    addresses: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``KART_KILLS`` says how many; the figure in the docs is of 300."""
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", s3_server.s3_connection(addresses("s3")))
    monkeypatch.setenv("AIRFLOW__KART__LOCK", "none")  # the leases of the dead would have to be waited for
    kills = int(os.environ.get("KART_KILLS", "4"))
    pair_killer.kill_and_check(f"s3://{BUCKET}/{uuid.uuid4().hex}", kills, tmp_path)
