"""Temporary folders of models: those of killed processes do not stay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from airflow_kart.formats import scratch
from airflow_kart.formats.scratch import scratch_folder

HELD = """
import sys, time
from airflow_kart.formats.scratch import scratch_folder
with scratch_folder() as folder:
    open(folder + "/model.pkl", "w").write("half")
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(scratch, "_SECONDS_TO_LOCK", -1.0)
    scratch._remove_abandoned.cache_clear()
    return tmp_path


def test_a_killed_process_leaves_a_folder_that_the_next_one_removes(temporary: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HELD], stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    assert process.stdout is not None
    left = Path(process.stdout.readline().strip())
    assert left.parent == temporary and (left / "model.pkl").exists()
    with scratch_folder():
        assert left.exists()  # its process lives
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    process.stdout.close()
    scratch._remove_abandoned.cache_clear()
    with scratch_folder() as mine:
        assert not left.exists()
        assert list(temporary.iterdir()) == [Path(mine)]
    assert list(temporary.iterdir()) == []


def test_a_young_folder_stays_as_its_process_may_be_about_to_lock_it(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "_SECONDS_TO_LOCK", 60.0)
    young, old = temporary / "kart-model-young", temporary / "kart-model-old"
    for folder in (young, old):
        folder.mkdir()
    os.utime(old, (time.time() - 100, time.time() - 100))
    with scratch_folder():
        assert young.exists() and not old.exists()


def test_what_only_looks_like_a_folder_of_ours_stays(temporary: Path) -> None:
    target = temporary / "elsewhere"
    target.mkdir()
    (target / "precious").touch()
    (temporary / "kart-model-link").symlink_to(target)
    (temporary / "kart-model-file").touch()
    (temporary / "kart-other").mkdir()
    with scratch_folder():
        pass
    assert {path.name for path in temporary.iterdir()} == {"elsewhere", "kart-model-link", "kart-model-file", "kart-other"}
    assert (target / "precious").exists()
