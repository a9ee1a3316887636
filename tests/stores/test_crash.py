"""Runs with several outputs in a bucket are killed, while another process reads: nothing is mixed, nothing lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
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
    kills = int(os.environ.get("KART_KILLS", "4"))
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", s3_server.s3_connection(addresses("s3")))
    monkeypatch.setenv("AIRFLOW__KART__LOCK", "none")  # the leases of the dead would have to be waited for
    command = [sys.executable, "-W", "ignore", "-m", "harness.pair_killer", f"s3://{BUCKET}/{uuid.uuid4().hex}", str(kills)]
    done = subprocess.run(command, cwd=tmp_path, env=pair_killer.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["killed"] == kills
    assert seen["lost"] == seen["mixed"] == seen["reader failed"] == 0, (seen, done.stderr[-5000:])
    assert not [name for name in seen if name.startswith("raw")], seen
    assert seen["together"] > 0
    assert seen["card"] > 0
