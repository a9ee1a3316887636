"""A mutation run over the core with cosmic-ray: does a test notice when one operator, number or condition changes?

Usage: ``mutants.py PYTHON [--jobs N] [--sample N] [MODULE ...]``, where a module is named as in :data:`CORE`. PYTHON runs
the tests; cosmic-ray runs in this interpreter's environment. Each job changes a copy of the project of its own, in
``.mutants``; the checkout stays as it is. Results stay there as well, so that a stopped run goes on where it ended.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import queue
import random
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / ".mutants"
SECONDS = 240.0
"""How long the tests may take with one change; a change that makes them hang is noticed too."""
CORE: dict[str, tuple[str, ...]] = {
    "identity/encoding.py": ("identity_encoding", "parameters_laws", "identity_code"),
    "identity/names.py": ("identity_names", "stored"),
    "artifacts/staged.py": ("publication_steps", "publication", "target", "races", "crash"),
    "artifacts/publication.py": ("publication_steps", "publication", "target", "together", "races", "crash"),
    "artifacts/target.py": ("values", "target", "publication_steps", "publication", "together", "checks"),
    "artifacts/reading.py": ("values", "target", "formats_checksum", "columns"),
    "artifacts/sidecar/document.py": ("values", "sidecar_schema", "sidecar_trust", "runner", "target"),
    "runtime/plan.py": ("values", "plan", "flags", "kinds", "build"),
    "runtime/runner.py": ("values", "runner", "kinds", "single_flight", "build"),
    "tasks/graph.py": ("values", "graph", "resolution", "plan"),
    "tasks/resolution.py": ("resolution", "graph", "kinds"),
    "storage/lock_file.py": ("locks_file", "storage_turns"),
    "locks/file.py": ("locks_file", "locks_hold"),
    "locks/hold.py": ("locks_hold", "single_flight"),
    "locks/lease.py": ("values", "locks", "locks_hold"),
    "compiler/binding.py": ("../airflow/test_binding.py",),
    "compiler/naming.py": ("../airflow/test_naming.py", "../airflow/test_determinism.py"),
}
"""Modules of the package, and the tests that ought to notice a change, the quickest first."""
LEFT_OUT = (
    "core/ReplaceBinaryOperator_BitOr_.*",  # nearly all are types, which nobody evaluates
    "core/ReplaceComparisonOperator_(Is_Eq|IsNot_NotEq)$",  # None, UNSET, a member of an enum: the same
    "core/RemoveDecorator",  # dataclass, property, contextmanager: nothing works without
    "core/ReplaceUnaryOperator_Delete_Not|core/ZeroIterationForLoop|core/ExceptionReplacer",
)


def main() -> None:
    """Change the chosen modules, print the share of changes that a test noticed, and list the others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("python")
    parser.add_argument("modules", nargs="*", metavar="MODULE", default=list(CORE))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--sample", type=int, help="try so many changes of each module, chosen by chance with one seed")
    given = parser.parse_intermixed_args()
    if unknown := set(given.modules) - set(CORE):
        sys.exit(f"no module of the core: {', '.join(sorted(unknown))}; there are {', '.join(CORE)}")
    free: queue.SimpleQueue[Path] = queue.SimpleQueue()
    for number in range(given.jobs):
        free.put(copy_of_the_project(WORK / f"copy{number}"))

    def run(module: str) -> tuple[int, list[str]]:
        copy = free.get()
        try:
            return mutate(module, copy, given.python, given.sample)
        finally:
            free.put(copy)

    noticed = tried = 0
    with concurrent.futures.ThreadPoolExecutor(given.jobs) as pool:
        for module, (count, survivors) in zip(given.modules, pool.map(run, given.modules), strict=True):
            noticed, tried = noticed + count - len(survivors), tried + count
            print(f"{module}: {count - len(survivors)} of {count} noticed", flush=True)
            for survivor in survivors:
                print(survivor, flush=True)
    print(f"{noticed} of {tried} noticed, {100 * noticed / max(1, tried):.1f} %")


def copy_of_the_project(directory: Path) -> Path:
    """Copy package and tests, and return the copy's directory."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for name in ("airflow_kart", "tests", "example_dags", "docs"):
        shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, directory / name)
    return directory


def mutate(module: str, copy: Path, python: str, sample: int | None) -> tuple[int, list[str]]:
    """Try the changes of one module; return their number, and those that no test noticed, as diffs."""
    session, config = WORK / f"{module.replace('/', '.')}.sqlite", WORK / f"{module.replace('/', '.')}.toml"
    tests = " ".join(f"tests/unit/{name}" if "/" in name else f"tests/unit/test_{name}.py" for name in CORE[module])
    command = f"{python} -m pytest -q -x -p no:cacheprovider {tests}"
    config.write_text(
        "[cosmic-ray]\n"
        f'module-path = "airflow_kart/{module}"\ntimeout = {SECONDS}\ntest-command = {json.dumps(command)}\n'
        '[cosmic-ray.distributor]\nname = "local"\n'
        f"[cosmic-ray.filters.operators-filter]\nexclude-operators = {json.dumps(LEFT_OUT)}\n"
    )
    if not session.exists():
        cosmic_ray(copy, "cosmic-ray", "baseline", str(config))  # the tests have to pass without a change
        cosmic_ray(copy, "cosmic-ray", "init", str(config), str(session))
        cosmic_ray(copy, "cr-filter-operators", str(session), str(config))
        choose(session, copy, sample)
    cosmic_ray(copy, "cosmic-ray", "exec", str(config), str(session))
    return results_of(session)


def cosmic_ray(copy: Path, program: str, *arguments: str) -> None:
    """Run a program of cosmic-ray in a copy of the project; stop where it fails."""
    command = [str(Path(sys.executable).with_name(program)), *arguments]
    environment = {**os.environ, "PYTHONPATH": f"{copy}"}  # processes that tests start find the changed module too
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed in {copy}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")


def choose(session: Path, copy: Path, sample: int | None) -> None:
    """Skip the changes that are no Python, such as ``{*options}`` for ``{**options}``, and all but the sample of the rest."""
    with sqlite3.connect(session) as database:
        waiting = database.execute(
            "SELECT job_id, module_path, operator_name, occurrence FROM mutation_specs "
            "WHERE job_id NOT IN (SELECT job_id FROM work_results) ORDER BY operator_name, occurrence"
        ).fetchall()
        valid = [
            job_id
            for job_id, path, operator, occurrence in waiting
            if is_python(mutate_code((copy / path).read_text(), get_operator(operator)(), occurrence))
        ]
        chosen = set(valid if sample is None else random.Random(0).sample(valid, min(sample, len(valid))))
        for job_id, *_ in waiting:
            if job_id not in chosen:
                for table in ("mutation_specs", "work_items"):
                    database.execute(f"DELETE FROM {table} WHERE job_id = ?", (job_id,))


def is_python(code: str | None) -> bool:
    """Whether a changed module can be compiled."""
    try:
        return code is not None and compile(code, "module", "exec", dont_inherit=True) is not None
    except SyntaxError:
        return False


def results_of(session: Path) -> tuple[int, list[str]]:
    """Return the number of changes that were tried, and those that no test noticed."""
    with sqlite3.connect(session) as database:
        rows = database.execute(
            "SELECT test_outcome, diff FROM work_results WHERE worker_outcome = 'NORMAL' OR worker_outcome = 'normal'"
        ).fetchall()
    return len(rows), [diff for outcome, diff in rows if str(outcome).lower() == "survived"]


if __name__ == "__main__":
    main()
