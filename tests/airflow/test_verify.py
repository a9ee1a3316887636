"""The flagship example, made again in fresh processes."""

from __future__ import annotations

import datetime as dt
import importlib
import shutil
import sys
from pathlib import Path

from airflow_kart import Workspace, build, verify

EXAMPLE = Path(__file__).parents[2] / "example_dags" / "flight_delays.py"


def test_classes_of_the_flagship_example_verify(tmp_path, monkeypatch):
    shutil.copy(EXAMPLE, tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        example = importlib.import_module("flight_delays")
        with Workspace(str(tmp_path / "workspace")) as workspace:
            build(example.DelayReport(day=dt.date(2013, 3, 1), window_days=1, trees=5))
            # the model's bytes depend on the number of threads, which other tests of this process may have set
            found = verify([workspace.artifacts().latest(name) for name in ("Features", "TrainingSet", "Evaluation")])
    finally:
        sys.modules.pop("flight_delays", None)
    assert str(found) == "3 of 3 identical", [(one.task, one.reason) for one in found.results]
