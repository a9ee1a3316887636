"""Killed while dumping: afterwards an artifact is complete and loads, or it does not count."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from harness import pair_killer

# One process makes the frame once; each run is a fork of it, so that starting Python takes no part in the timing.
KILLER = """
import json, os, random, signal, sys, time, traceback
import numpy as np
import pandas as pd
import pyarrow.parquet
from airflow_kart import IntParameter, TaskOnKart, Workspace, build

extension, kills = sys.argv[1], int(sys.argv[2])
base = pd.DataFrame({"a": np.random.default_rng(0).random(3_750_000)})  # 30 MB

class Frame(TaskOnKart):
    version = IntParameter(significant=False)
    def output(self):
        return self.make_target(f"frame.{extension}")
    def run(self):
        self.dump(base + self.version)

def forked(work):
    child = os.fork()
    if not child:
        code = 1
        try:
            code = work() or 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child

def ends(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def make(version):
    build(Frame(version=version), rerun=["Frame"])

def look():
    target = Frame(version=0).output()
    state = target.state()
    if not state.complete and not state.readable:
        return 10
    frame = target.load()
    shift = round(float(frame["a"][0] - base["a"][0]))
    assert (frame["a"] == base["a"] + shift).all()
    return 20 if state.complete else 30

class Warm(TaskOnKart):
    def run(self):
        self.dump(1)

build(Warm(), workspace_directory="warm")  # loads what the forks need
with Workspace("ws"):
    seen = {"killed": 0, "nothing": 0, "complete": 0, "being replaced": 0}
    for _ in range(2):
        started = time.perf_counter()
        assert ends(forked(lambda: make(0))) == 0
        takes = time.perf_counter() - started
    os.unlink(Frame(version=0).output().uri + ".kart.json")
    os.unlink(Frame(version=0).output().uri)
    version = 0
    while seen["killed"] < kills:
        version += 1
        child = forked(lambda: make(version))
        time.sleep(random.uniform(0, takes))
        os.kill(child, signal.SIGKILL)
        seen["killed"] += ends(child) == -9
        found = ends(forked(look))
        seen[{10: "nothing", 20: "complete", 30: "being replaced"}[found]] += 1
    assert ends(forked(lambda: make(0))) == 0
    seen["recovered"] = ends(forked(look)) == 20
print(json.dumps({**seen, "runs": version, "takes": takes}))
"""


@pytest.mark.parametrize(("extension", "kills"), [("parquet", 12), ("pkl", 16)])
def test_a_killed_dump_is_complete_or_does_not_count(
    extension: str, kills: int, tmp_path: Path, python: Any, script: Any, leftovers: Any
) -> None:
    seen = json.loads(python(script("killer.py", KILLER), extension, kills).splitlines()[-1])
    assert seen["killed"] == kills
    assert seen["nothing"] + seen["complete"] + seen["being replaced"] == seen["runs"]
    assert seen["recovered"]
    assert leftovers(tmp_path / "ws") == []


def test_killed_runs_with_several_outputs_mix_nothing_and_lose_nothing(tmp_path: Path) -> None:
    """``KART_KILLS`` says how many; the figure in the docs is of 300."""
    pair_killer.kill_and_check(str(tmp_path / "ws"), int(os.environ.get("KART_KILLS", "8")), tmp_path)
