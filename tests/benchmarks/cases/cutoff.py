"""A graph of four levels under ``code_version = "auto"``: cold, then after an edit of a helper whose result stays equal.

Arguments: the width of a level, the seconds of a task. Prints the seconds of both builds and the runs of the second.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
import time
from pathlib import Path

from airflow_kart import Workspace, build

SOURCE = """
from __future__ import annotations
import time
from airflow_kart import FloatParameter, IntParameter, TaskOnKart

RAN = []

def helper(value):
    return value + 1

class Root(TaskOnKart[int]):
    code_version = "auto"
    def run(self):
        RAN.append("Root")
        self.dump(helper(1))

class Cell(TaskOnKart[int]):
    code_version = "auto"
    level: int = IntParameter()
    column: int = IntParameter()
    seconds: float = FloatParameter(significant=False)
    def requires(self):
        if self.level == 0:
            return Root()
        return [Cell(level=self.level - 1, column=self.column, seconds=self.seconds)]
    def run(self):
        RAN.append("Cell")
        time.sleep(self.seconds)
        self.dump((self.column, self.load()))

class Top(TaskOnKart[int]):
    code_version = "auto"
    width: int = IntParameter()
    seconds: float = FloatParameter(significant=False)
    def requires(self):
        return [Cell(level=2, column=column, seconds=self.seconds) for column in range(self.width)]
    def run(self):
        RAN.append("Top")
        self.dump(len(self.load()))
"""


def main() -> None:
    """Build twice."""
    logging.disable(logging.CRITICAL)
    width, seconds = int(sys.argv[1]), float(sys.argv[2])
    sys.path.insert(0, str(Path.cwd()))
    found = []
    for text in (SOURCE, SOURCE.replace("return value + 1", "return 1 + value  # the other way round")):
        Path("edited.py").write_text(text, encoding="utf-8")
        sys.modules.pop("edited", None)
        importlib.invalidate_caches()
        pipeline = importlib.import_module("edited")
        started = time.perf_counter()
        with Workspace("ws"):
            build(pipeline.Top(width=width, seconds=seconds))
        found.append((time.perf_counter() - started, len(pipeline.RAN)))
    (cold, made), (after, again) = found
    print(json.dumps({"seconds": cold, "after_edit": after, "made": made, "again": again}))


if __name__ == "__main__":
    main()
