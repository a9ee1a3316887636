"""Fill the outputs of the commands in docs/howto, from the flagship example: `make howto`, or with names of pages.

Each page begins in a copy of one AIRFLOW_HOME: the example is in the DAG folder, and the reports of two days are built. A line
after ``$ `` is run by a shell; what the command prints replaces the lines up to the next command. ``airflow kart`` is run as
``airflow-kart``, the same commands without Airflow's start.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "howto"
BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.DOTALL | re.MULTILINE)
BUILD = """
import datetime as dt, sys
sys.path.insert(0, "dags")
from flight_delays import DelayReport
from airflow_kart import build
for day in (1, 2):
    build(DelayReport(day=dt.date(2013, 3, day)))
"""
EXIT_CODES = (0, 1, 3)
"""0 done, 1 failed, 3 the answer is no: all three appear in pages."""


def main(names: list[str]) -> None:
    """Fill the pages; fail where a command cannot be understood or crashes."""
    pages = [PAGES / f"{name}.md" for name in names] or sorted(PAGES.glob("*.md"))
    with tempfile.TemporaryDirectory(prefix="kart-howto-") as folder:
        home, kept = Path(folder, "airflow"), Path(folder, "kept")
        (home / "dags").mkdir(parents=True)
        shutil.copy(ROOT / "example_dags" / "flight_delays.py", home / "dags")
        for words in (
            ["init", "--quiet"],
            ["add", "."],
            ["-c", "user.name=you", "-c", "user.email=you@example.com", "commit", "--quiet", "--message", "The pipeline"],
        ):
            subprocess.run(["git", "-C", str(home / "dags"), *words], check=True)
        subprocess.run([sys.executable, "-c", BUILD], cwd=home, env=environment(home), check=True, capture_output=True)
        shutil.copytree(home, kept, symlinks=True)
        for page in pages:
            shutil.rmtree(home)
            shutil.copytree(kept, home, symlinks=True)
            text = BLOCK.sub(lambda block: filled(block[0], home), page.read_text())
            page.write_text(text)
            print(f"{page.relative_to(ROOT)}: {len(BLOCK.findall(text))} blocks")


def environment(home: Path) -> dict[str, str]:
    """Return the environment of the commands: nothing of Airflow's but its home, and a terminal of 120 columns."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTEST"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return {
        **kept,
        "PATH": path,
        "AIRFLOW_HOME": str(home),
        "COLUMNS": "120",
        "PYTHONWARNINGS": "ignore",
        "HOME": str(home.parent),
    }


def filled(block: str, home: Path) -> str:
    """Return a block with the commands' present outputs."""
    commands = re.findall(r"^\$ ((?:.*\\\n)*.*)$", block, re.MULTILINE)
    return "".join(f"$ {command}\n{output(command, home)}" for command in commands)


def output(command: str, home: Path) -> str:
    """Run a command; return what it prints."""
    done = subprocess.run(
        ["bash", "-c", re.sub(r"\bairflow kart\b", "airflow-kart", command)],
        cwd=home,
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode not in EXIT_CODES or "Traceback" in done.stdout:
        sys.exit(f"$ {command}\nended with {done.returncode}:\n{done.stdout}")
    shown = done.stdout.replace(str(home), "~/airflow").rstrip()
    return f"{shown}\n" if shown else ""


if __name__ == "__main__":
    main(sys.argv[1:])
