"""``build()`` of 1,001 and of 151 trivial tasks, cold and warm, against gokart's and joblib's of the same graph.

Ten layers of tasks, each of which loads two of the layer upstream, and a root that loads the last layer. Cold is a whole
process in an empty workspace, sidecars included. Warm is a whole process in which everything is there already: what a user
waits for who runs a script again. In one process, ``build()`` of the same task again, as in a notebook, knows what the tasks
require; of an equal task that is made anew, each ``requires()`` is asked. joblib's cache knows nothing of a graph, and records
hardly anything. The system calls of a task are the difference between the two sizes, as strace counts them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from side_by_side import (
    CASES,
    Budget,
    Facts,
    alternate,
    median_of,
    print_table,
    run_case,
    temporary_directory,
    verdict,
)

SIZES = {1_001: 100, 151: 15}
"""Tasks, and the width of a layer."""
SCRIPTS = {"airflow_kart": "layers_kart.py", "gokart": "layers_gokart.py", "joblib": "layers_joblib.py"}
CPU_AT_LEAST_TIMES_LESS = {1_001: 15.0, 151: 8.0}
CPU_AT_MOST_TIMES_JOBLIB = 2.5
AGAIN_AT_MOST_SECONDS = 0.015
ANEW_AT_MOST_SECONDS = 0.03
CALLS_AT_MOST = 55.0
WARM_AT_MOST_TIMES_AS_LONG = 1.0
COLD_ROUNDS, WARM_ROUNDS = 3, 5

Runs = Mapping[str, Sequence[Facts]]


def main() -> int:
    """Measure, print, and return the exit code."""
    budgets: list[Budget] = []
    with temporary_directory() as parent:
        for tasks, width in SIZES.items():
            cold = alternate(
                {name: partial(in_new_folder, parent, script, width) for name, script in SCRIPTS.items()}, COLD_ROUNDS
            )
            places = {name: Path(parent, f"{name}_{width}") for name in SCRIPTS}
            for place in places.values():
                place.mkdir()
            builds = {
                name: partial(run_case, script, width, directory=str(places[name])) for name, script in SCRIPTS.items()
            }
            alternate(builds, 1)
            warm = alternate(builds, WARM_ROUNDS)
            sidecars = sum(1 for _ in places["airflow_kart"].rglob("*.kart.json"))
            require_comparable([*cold.values(), *warm.values()], tasks, sidecars)
            twice = alternate({"twice": partial(run_case, SCRIPTS["airflow_kart"], width, "again")}, WARM_ROUNDS)["twice"]
            budgets += report(tasks, cold, warm)
            budgets += [
                Budget(f"build() again of the task, {tasks:,} tasks:", _least(twice, "again"), AGAIN_AT_MOST_SECONDS, " s"),
                Budget(f"build() of an equal task, {tasks:,} tasks:", _least(twice, "anew"), ANEW_AT_MOST_SECONDS, " s"),
            ]
    if shutil.which("strace"):
        budgets.append(Budget("system calls of a task:", system_calls_of_a_task(), CALLS_AT_MOST))
    return verdict(budgets)


def in_new_folder(parent: str, script: str, width: int) -> Facts:
    """Run a case in a folder that stays to the end.

    For some minutes after many files were removed, ext4 takes up to a millisecond to make a file: it gives none of their
    inodes to a new one, and looks at each of them.
    """
    return run_case(script, width, directory=tempfile.mkdtemp(dir=parent))


def require_comparable(all_runs: Sequence[Sequence[Facts]], tasks: int, sidecars: int) -> None:
    """Stop where the cases did not compute the same, or a task has no sidecar."""
    results = {run["result"] for runs in all_runs for run in runs}
    if len(results) != 1 or sidecars != tasks:
        raise SystemExit(f"not comparable: the results are {results}; {tasks} tasks have {sidecars} sidecars")


def _least(runs: Sequence[Facts], name: str) -> float:
    return min(float(run[f"{name}_seconds"]) for run in runs)


def report(tasks: int, cold: Runs, warm: Runs) -> list[Budget]:
    """Print the medians; return the budgets."""
    rows = {
        "cold process, CPU s": {name: median_of(cold[name], "cpu_seconds") for name in SCRIPTS},
        "cold process, s": {name: median_of(cold[name], "process_seconds") for name in SCRIPTS},
        "cold build(), CPU s": {name: median_of(cold[name], "build_cpu_seconds") for name in SCRIPTS},
        "warm process, s": {name: median_of(warm[name], "process_seconds") for name in SCRIPTS},
    }
    ratios = {label: {name: row[name] / row["airflow_kart"] for name in ("gokart", "joblib")} for label, row in rows.items()}
    print_table(
        [f"{tasks:,} tasks", *SCRIPTS, "gokart / ours", "joblib / ours"],
        [[label, *row.values(), *ratios[label].values()] for label, row in rows.items()],
    )
    return [
        Budget(
            f"gokart's CPU / ours, {tasks:,} tasks cold:",
            ratios["cold process, CPU s"]["gokart"],
            CPU_AT_LEAST_TIMES_LESS[tasks],
            at_least=True,
        ),
        Budget(
            f"our CPU / joblib's, {tasks:,} tasks cold:",
            1 / ratios["cold build(), CPU s"]["joblib"],
            CPU_AT_MOST_TIMES_JOBLIB,
        ),
        Budget(
            f"our warm process / gokart's, {tasks:,} tasks:",
            1 / ratios["warm process, s"]["gokart"],
            WARM_AT_MOST_TIMES_AS_LONG,
        ),
    ]


def system_calls_of_a_task() -> float:
    """Return how many system calls one task more costs a cold build."""
    calls = {tasks: _system_calls(width) for tasks, width in SIZES.items()}
    (many, few) = SIZES
    return (calls[many] - calls[few]) / (many - few)


def _system_calls(width: int) -> int:
    with temporary_directory() as directory:
        counted = Path(directory, "counted")
        script = str(CASES / SCRIPTS["airflow_kart"])
        command = ["strace", "-f", "-c", "-o", str(counted), sys.executable, script, str(width)]
        subprocess.run(command, cwd=directory, check=True, capture_output=True)
        found = re.search(r"^\s*100\.00\s+\S+\s+\S+\s+(\d+)", counted.read_text(), re.MULTILINE)
        if found is None:
            raise SystemExit(f"strace counted nothing:\n{counted.read_text()}")
        return int(found[1])


if __name__ == "__main__":
    sys.exit(main())
