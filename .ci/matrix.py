"""Try the package with each supported Airflow on each supported Python: install, import, run the demo.

.venv/bin/python .ci/matrix.py                  # all cells; writes the table of docs/compatibility.md
.venv/bin/python .ci/matrix.py 3.1-3.10         # one cell: Airflow 3.1 on Python 3.10
.venv/bin/python .ci/matrix.py --quick today    # today's cell, without the demo's second day
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
SHOWN = ("apache-airflow", "apache-airflow-providers-common-compat", "numpy", "pandas", "pyarrow", "scikit-learn")
IMPORT_ALL = """
import importlib, json, pkgutil, platform, warnings
from importlib.metadata import version
warnings.filterwarnings("error", module=r"airflow_kart")
import airflow_kart
optional = ("boto3", "google", "obstore", "redis", "pandera", "polars", "airflow.providers.amazon", "airflow.providers.google", "matplotlib")
for found in pkgutil.walk_packages(airflow_kart.__path__, "airflow_kart."):
    try:
        importlib.import_module(found.name)
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith(optional):
            raise
print(json.dumps({"Python": platform.python_version(), **{name: version(name) for name in SHOWN}}))
"""


def main() -> None:
    """Try the cells of the command line; fail if one of them fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", nargs="*", metavar="CELL", help=f"today, or some of {', '.join(CELLS)}; by default all")
    parser.add_argument("--quick", action="store_true", help="one run of the demo's first day only")
    arguments = parser.parse_args()
    today = CELLS[dt.date.today().toordinal() % len(CELLS)]
    cells = [today if cell == "today" else cell for cell in arguments.cells] or CELLS
    if unknown := set(cells) - set(CELLS):
        parser.error(f"no such cell: {', '.join(sorted(unknown))}")
    rows = [tried(cell, arguments.quick) for cell in cells]
    heading = ("Airflow", "Python", "common.compat", *SHOWN[2:], "import", "demo")
    lines = [heading, ("---",) * len(heading), *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
    print(table)
    if cells == CELLS and not arguments.quick:
        PAGE.write_text(TABLE.sub(lambda _: table, PAGE.read_text()))
    if any("failed" in cell for row in rows for cell in row):
        sys.exit("some cells failed; what they printed is in " + str(PLACE))


def tried(cell: str, quick: bool) -> tuple[str, ...]:
    """Try one cell; return its row of the table. What the commands print goes to a file."""
    airflow, _, python = cell.partition("-")
    home = PLACE / cell
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    program = home / "venv" / "bin" / "python"
    wanted = [f"{ROOT}[examples]", f"apache-airflow=={airflow}.*", *PINS.get(airflow, [])]
    with (home / "log").open("w") as log:
        steps = [
            [UV, "venv", "--quiet", "--python", python, str(home / "venv")],
            [UV, "pip", "install", "--quiet", "--python", str(program), *wanted],
        ]
        for step in steps:
            if subprocess.run(step, stdout=log, stderr=log, check=False).returncode:
                print(f"{cell}: not installable, see {log.name}", flush=True)
                return (airflow, python, *["" for _ in SHOWN[1:]], "install failed", "")
        started = time.monotonic()
        script = f"SHOWN = {SHOWN!r}\n{IMPORT_ALL}"
        found = subprocess.run([str(program), "-c", script], cwd=home, stdout=subprocess.PIPE, stderr=log, check=False)
        if found.returncode:
            print(f"{cell}: import failed, see {log.name}", flush=True)
            return (airflow, python, *["" for _ in SHOWN[1:]], "failed", "")
        versions = json.loads(found.stdout.splitlines()[-1])
        imported = f"{time.monotonic() - started:.0f} s"
        started = time.monotonic()
        environment = {**os.environ, "DEMO_HOME": str(home / "demo"), "DEMO_RUNS": "1" if quick else "4"}
        demo = subprocess.run(
            [str(program), str(ROOT / ".ci" / "demo.py")], env=environment, stdout=log, stderr=log, check=False
        )
        outcome = f"{time.monotonic() - started:.0f} s" if demo.returncode == 0 else "failed"
    print(f"{cell}: Airflow {versions[SHOWN[0]]}, Python {versions['Python']}: demo {outcome}", flush=True)
    return (versions[SHOWN[0]], versions["Python"], *(versions[name] for name in SHOWN[1:]), imported, outcome)


if __name__ == "__main__":
    main()
