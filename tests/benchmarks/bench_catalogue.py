"""The commands that answer from the catalogue, on a disk with 50,000 artifacts: time and memory of a whole process each.

The first command reads all sidecars and writes the catalogue; it has a row of its own. The artifacts are one real artifact and
its sidecar, written again under other unique ids and values: a Raw and a Clean for each day, and eight Trains.
"""

from __future__ import annotations

import json
import os
import re
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from side_by_side import Budget, print_table, temporary_directory, verdict

from airflow_kart import IntParameter, TaskOnKart, Workspace, build
from airflow_kart.artifacts.sidecar import Sidecar

DAYS = 5_000
ROUNDS = 3
AT_MOST = 0.5
WHY_AT_MOST = 0.3
GARBAGE_AT_MOST = 10.0
MEGABYTES = 150
PROGRAM = Path(sys.executable).with_name("airflow-kart")
COMMANDS = (
    ["--help"],
    ["ls"],
    ["ls", "Train", "-n", "20"],
    ["ls", "--by", "month", "-o", "json"],
    ["show", "Train(day=300, depth=6)"],
    ["tree", "Train(day=300, depth=6)"],
    ["lineage", "Clean(day=300)"],
    ["why", "Train(day=300, depth=6)"],
    ["diff", "Train(day=300, depth=6)", "Train(day=301, depth=6)"],
    ["gc", "--keep-last", "100"],
)


class Raw(TaskOnKart[int]):
    day: int = IntParameter()

    def run(self) -> None:
        self.dump(self.day)


class Clean(TaskOnKart[int]):
    day: int = IntParameter()

    def requires(self) -> Raw:
        return Raw(day=self.day)

    def run(self) -> None:
        self.dump(self.load())


class Train(TaskOnKart[int]):
    depth: int = IntParameter()
    day: int = IntParameter()

    def requires(self) -> Clean:
        return Clean(day=self.day)

    def run(self) -> None:
        self.dump(self.load() * self.depth)


def fill(directory: str) -> None:
    """Write the artifacts."""
    with Workspace(directory) as workspace:
        build(Train(day=0, depth=1))
        kinds = {name: workspace.artifacts(name).latest() for name in ("Raw", "Clean", "Train")}
        sidecars = {name: record.sidecar for name, record in kinds.items()}
        uris = {name: record.uri for name, record in kinds.items()}
    for day in range(1, DAYS + 1):
        for name, depths in (("Raw", [0]), ("Clean", [0]), ("Train", range(1, 9))):
            for depth in depths:
                write(sidecars[name], uris[name], {"day": day, **({"depth": depth} if depth else {})}, day)


def id_of(name: str, values: dict[str, int]) -> str:
    """Return a unique id of its own."""
    return f"{['Raw', 'Clean', 'Train'].index(name):01x}{values['day']:023x}{values.get('depth', 0):08x}"


def write(sidecar: Sidecar, uri: str, values: dict[str, int], day: int) -> None:
    """Write an artifact and its sidecar under other values."""
    content: dict[str, Any] = json.loads(json.dumps(sidecar.content))
    task = content["task"]
    name = task["class"].rpartition(".")[2]
    task["unique_id"] = id_of(name, values)
    for parameter, value in values.items():
        task["parameters"][parameter]["value"] = value
    for required in content["upstream"]:
        before = required["unique_id"]
        required["unique_id"] = id_of(required["class"].rpartition(".")[2], {"day": day})
        for artifact in required["artifacts"]:
            artifact["uri"] = artifact["uri"].replace(before, required["unique_id"])
    path = re.sub("[0-9a-f]{32}", task["unique_id"], uri)
    content["publication"] = task["unique_id"]
    parts = {part: found for part, found in content.items() if part not in ("schema_version", "artifact")}
    Path(path).write_bytes(Path(uri).read_bytes())
    Path(f"{path}.kart.json").write_bytes(Sidecar.of(replace(sidecar.artifact, uri=path), parts).to_bytes())


def run(words: list[str], directory: str) -> tuple[float, float, float]:
    """Run a command; return its wall time and CPU time in seconds, and its largest size in megabytes."""
    where = [] if words == ["--help"] else ["-w", directory]
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    script = (
        "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode; "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code not in (0, 3))"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    done = subprocess.run(
        [sys.executable, "-c", script, PROGRAM, *words, *where], env=environment, capture_output=True, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, cpu, int(done.stdout) / 1024


def answer(directory: str) -> float:
    """Return the seconds that the answer to ``why`` takes in a process that has all modules."""
    script = (
        "import sys, time\n"
        "from airflow_kart import Workspace\n"
        "from airflow_kart.audit.catalogue.rows import one_look\n"
        "from airflow_kart.audit.why import why_artifact\n"
        "began = time.perf_counter()\n"
        "with one_look():\n"
        "    why_artifact(Workspace(sys.argv[1]).artifacts().latest('Train', day=300, depth=6))\n"
        "print(time.perf_counter() - began)"
    )
    return float(
        subprocess.run([sys.executable, "-c", script, directory], capture_output=True, text=True, check=True).stdout
    )


def main() -> int:
    """Measure, print, and return the exit code."""
    with temporary_directory() as directory:
        workspace = f"{directory}/ws"
        fill(workspace)
        time.sleep(11)  # a folder that has just changed is listed
        first = run(["ls"], workspace)
        why = statistics.median(answer(workspace) for _ in range(ROUNDS))
        found: dict[str, list[tuple[float, float, float]]] = {}
        for _ in range(ROUNDS):
            for words in COMMANDS:
                found.setdefault(" ".join(words), []).append(run(words, workspace))
    medians = {name: tuple(map(statistics.median, zip(*rounds, strict=True))) for name, rounds in found.items()}
    rows = [("ls, the first time", *first), *((name, *numbers) for name, numbers in medians.items())]
    print_table((f"{10 * DAYS:,} artifacts", "wall s", "CPU s", "MB"), rows)
    starts = medians["--help"][0]
    budgets = [Budget("why, the answer alone", why, WHY_AT_MOST, " s")]
    for name, (wall, _, size) in medians.items():
        limit = GARBAGE_AT_MOST if name.startswith("gc") else AT_MOST
        if name != "--help":
            budgets.append(Budget(f"{name}, beyond the start of Python", wall - starts, limit, " s"))
            budgets.append(Budget(f"{name}, memory", size, MEGABYTES, " MB"))
    return verdict(budgets)


if __name__ == "__main__":
    sys.exit(main())
