"""The artifacts of a class under ``code_version = "auto"``, adopted after an edit that does not matter, and given back.

Argument: the number of artifacts. Prints the seconds and CPU seconds of both, how many are adopted and undone, and the reasons
that sidecars tell afterwards, with their numbers. Without an edit of the class, the same with ``code_version = None``.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airflow_kart import Workspace, adopt, build, undo_adoption
from airflow_kart.audit.walk import sidecars

SOURCE = """
from __future__ import annotations
from airflow_kart import IntParameter, TaskOnKart, WrapperTask

class Source(TaskOnKart[int]):
    def run(self):
        self.dump(1)

class Train(TaskOnKart[int]):
    code_version = VERSION
    number: int = IntParameter()
    def requires(self):
        return Source()
    def run(self):
        value = self.load() + self.number
        self.dump(value)

class All(WrapperTask):
    count: int = IntParameter()
    def requires(self):
        return [Train(number=number) for number in range(self.count)]
"""


def main() -> None:
    """Build, adopt, undo; under other ids, and under the same."""
    logging.disable(logging.CRITICAL)
    count = int(sys.argv[1])
    sys.path.insert(0, str(Path.cwd()))
    print(json.dumps({version: measured(version, count) for version in ('"auto"', "None")}))


def measured(version: str, count: int) -> dict[str, Any]:
    """Measure one kind of class."""
    source = SOURCE.replace("VERSION", version)
    with Workspace(f"ws-{version[0]}"):
        build(loaded(source).All(count=count))
        train = loaded(source.replace("value", "result")).Train
        adopted = timed(lambda: adopt(train, reason="renamed a variable", by="bench"))
        told = Counter(
            found.sidecar.adoptions[-1]["reason"] if found.sidecar.adoptions else found.sidecar.content["run"]["reason"]
            for found in sidecars(Workspace.current())
        )
        undone = timed(lambda: undo_adoption(train))
        left = sum(bool(found.sidecar.adoptions) for found in sidecars(Workspace.current()))
    return {"adopted": adopted, "undone": undone, "told": told, "left": left}


def loaded(source: str) -> Any:
    """Load the text as a module, as a process does after an edit."""
    Path("edited.py").write_text(source, encoding="utf-8")
    sys.modules.pop("edited", None)
    importlib.invalidate_caches()
    return importlib.import_module("edited")


def timed(call: Callable[[], list[Any]]) -> dict[str, Any]:
    """Return the seconds, CPU seconds and outcomes of a call."""
    clock, cpu = time.perf_counter(), time.process_time()
    found = call()
    return {
        "seconds": time.perf_counter() - clock,
        "cpu": time.process_time() - cpu,
        "outcomes": Counter(one.outcome for one in found),
    }


if __name__ == "__main__":
    main()
