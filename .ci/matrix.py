"""Try the package with each supported Airflow on each supported Python: install, import, run the demo.

.venv/bin/python .ci/matrix.py                  # all cells; writes the table of docs/compatibility.md
.venv/bin/python .ci/matrix.py 3.1-3.10         # one cell: Airflow 3.1 on Python 3.10
.venv/bin/python .ci/matrix.py --runs 0 today   # the earliest Airflow on this Python, without the demo; every other day the next one
.venv/bin/python .ci/matrix.py --runs 0 --pages today   # and the tests of the pages in Chromium with the earliest
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACE = Path(os.environ.get("MATRIX_HOME", ROOT / ".matrix"))
PAGE = ROOT / "docs" / "compatibility.md"
TABLE = re.compile(r"(?<=<!-- matrix -->\n).*(?=<!-- end of matrix -->)", re.DOTALL)
UV = str(Path(sys.executable).parent / "uv")
PINS = {"3.2": ["fastapi==0.136.3", "cadwyn==7.0.0", "svcs<26.2"]}  # newer ones break the API of this Airflow
CELLS = [f"{airflow}-{python}" for airflow in ("3.1", "3.2", "3.3") for python in ("3.10", "3.11", "3.12", "3.13")]
PAGES = "scheduler/test_page.py"
SHOWN = ("apache-airflow", "apache-airflow-providers-common-compat", "numpy", "pandas", "pyarrow", "scikit-learn")
IMPORT_ALL = """
import importlib, json, pkgutil, platform, warnings
from importlib.metadata import version
warnings.filterwarnings("error", module=r"airflow_kart")
import airflow_kart
optional = ("boto3", "google", "obstore", "redis", "pandera", "polars", "airflow.providers.", "matplotlib")
for found in pkgutil.walk_packages(airflow_kart.__path__, "airflow_kart."):
    try:
        importlib.import_module(found.name)
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith(optional):
            raise
from airflow_kart import *
print(json.dumps({"Python": platform.python_version(), **{name: version(name) for name in SHOWN}}))
"""


def main() -> None:
    """Try the cells of the command line; fail if one of them fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "cells", nargs="*", metavar="CELL", help=f"today (this Python, earlier Airflows), or some of {', '.join(CELLS)}; all"
    )
    parser.add_argument("--runs", type=int, default=4, help="how many of the demo's four runs; 0: only install and import")
    parser.add_argument("--pages", action="store_true", help="run the tests of the pages with the first cell; needs .[dev]")
    arguments = parser.parse_args()
    earlier = ("3.1", "3.2")[: 1 + dt.datetime.now(dt.timezone.utc).toordinal() % 2]  # the tests run with the newest
    today = [f"{airflow}-{sys.version_info.major}.{sys.version_info.minor}" for airflow in earlier]
    cells = today if arguments.cells == ["today"] else arguments.cells or CELLS
    if unknown := set(cells) - set(CELLS):
        parser.error(f"no such cell: {', '.join(sorted(unknown))}")
    whole = [tried(cell, arguments.runs, with_pages=arguments.pages and cell == cells[0]) for cell in cells]
    if cells is not today:
        kept = (PLACE / cell / "row.json" for cell in CELLS)
        rows = [json.loads(row.read_text()) for row in kept if row.exists()]
        heading = ["Airflow", "Python", "common.compat", *SHOWN[2:], "import", "demo"]
        lines = [heading, ["---"] * len(heading), *rows]
        table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
        PAGE.write_text(TABLE.sub(lambda _: table, PAGE.read_text()))
    if not all(whole):
        sys.exit(f"some cells failed; what they printed is in {PLACE}")


def tried(cell: str, runs: int, *, with_pages: bool) -> bool:
    """Try one cell and keep its row of the table; return whether all went well. What the commands print goes to a file."""
    airflow, _, python = cell.partition("-")
    home = PLACE / cell
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    program = str(home / "venv" / "bin" / "python")
    wanted = [f"{ROOT}[examples]", f"apache-airflow=={airflow}.*", *PINS.get(airflow, [])]
    wanted += [f"{ROOT}[s3]", "asyncpg", "psycopg2-binary"] if with_pages else []
    row = [airflow, python, *[""] * len(SHOWN[1:]), "", ""]
    with (home / "log").open("w") as log:

        def run(*command: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
            print("$", *command, file=log, flush=True)
            return subprocess.run(
                command, env={**os.environ, **environment}, cwd=home, stdout=subprocess.PIPE, stderr=log, check=True
            )

        try:
            run(UV, "venv", "--quiet", "--python", _interpreter(python), str(home / "venv"))
            compiling = ["--compile-bytecode"] if runs else []  # else the first parse of the DAG file takes too long
            run(UV, "pip", "install", "--quiet", *compiling, "--python", program, *wanted)
            started = time.monotonic()
            versions = json.loads(run(program, "-c", f"SHOWN = {SHOWN!r}\n{IMPORT_ALL}").stdout.splitlines()[-1])
            row = [versions[SHOWN[0]], versions["Python"], *(versions[name] for name in SHOWN[1:])]
            row.append(f"{time.monotonic() - started:.0f} s")
            if with_pages:
                test = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), str(ROOT / "tests" / PAGES)]
                done = run(*test, KART_TEST_AIRFLOW=str(Path(program).with_name("airflow")))
                print(f"{cell}: the pages: {done.stdout.decode().splitlines()[-1].strip('= ')}", flush=True)
            started = time.monotonic()
            if runs:
                run(program, str(ROOT / ".ci" / "demo.py"), DEMO_HOME=str(home / "demo"), DEMO_RUNS=str(runs))
            row.append(f"{runs} run{'s' if runs > 1 else ''}, {time.monotonic() - started:.0f} s" if runs else "not run")
        except subprocess.CalledProcessError as error:
            for place in (log, sys.stdout):
                print(f"{cell} failed: {error}", (error.stdout or b"").decode()[-20000:], file=place)
            row = [part or "failed" for part in (row + [""] * 2)[: len(SHOWN) + 3]]
    (home / "row.json").write_text(json.dumps(row))
    print(f"{cell}: {' | '.join(row)}", flush=True)
    return "failed" not in row


def _interpreter(python: str) -> str:
    """Return a Python of this version: from pyenv, whose shims on the path may be for another one, or what uv finds or installs."""
    pyenv = sorted(Path.home().glob(f".pyenv/versions/{python}.*/bin/python"))
    return str(pyenv[-1]) if pyenv else python


if __name__ == "__main__":
    main()
