"""Run the flagship example through Airflow for two consecutive days, cold and warm, and show what was reused."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".demo"
DAYS = ("2013-03-01", "2013-03-02")
REPORT = re.compile(r"Report: (?P<headline>.*)\n(?P<table>(?:\S.*\n)+)")
TIMESTAMP = re.compile(r"^\d{4}-\d\d-\d\dT")


def main() -> None:
    """Start from an empty Airflow home, run each day twice, and point at the artifacts."""
    shutil.rmtree(HOME, ignore_errors=True)
    shutil.copytree(ROOT / "example_dags", HOME / "dags")
    print("Preparing Airflow (SQLite, in .demo) ...", flush=True)
    airflow("db", "migrate")
    summary = []
    for day in DAYS:
        for turn in ("cold", "warm"):
            print(f"\n== flight_delays, {day}, {turn}: airflow dags test flight_delays {day}", flush=True)
            started = time.monotonic()
            headline, table = report(airflow("dags", "test", "flight_delays", day))
            seconds = time.monotonic() - started
            print(table)
            summary.append((day, turn, headline, f"{seconds:.0f} s"))
    print("\nIn short (the times are those of the whole command, Airflow's start included):")
    for row in summary:
        print("  {}  {}  {}  {}".format(*row))
    show_artifacts()


def airflow(*arguments: str) -> str:
    """Run an airflow command in the demo's home; return what it printed, or show it and stop."""
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(HOME),
        "AIRFLOW__CORE__DAGS_FOLDER": str(HOME / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        "NO_COLOR": "1",
    }
    command = [str(Path(sys.executable).parent / "airflow"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} failed:\n{done.stdout[-5000:]}\n{done.stderr[-5000:]}")
    return done.stdout + done.stderr


def report(output: str) -> tuple[str, str]:
    """Return the headline and the table of the report in a run's output."""
    found = REPORT.search(output)
    if found is None:
        sys.exit(f"the run printed no report:\n{output[-5000:]}")
    lines = [line for line in found["table"].splitlines() if not TIMESTAMP.match(line)]
    return found["headline"], "\n".join(f"  {re.sub(r' +\\[airflow.*', '', line)}" for line in lines)


def show_artifacts() -> None:
    """Say where artifacts and sidecars are, and show a part of one."""
    workspace = HOME / "kart_workspace"
    print(f"\nArtifacts, each with its sidecar <artifact>.kart.json, are in {workspace.relative_to(ROOT)}:")
    for folder in sorted(path for path in workspace.iterdir() if path.is_dir()):
        artifacts = [path for path in folder.iterdir() if path.is_file() and not path.name.endswith(".kart.json")]
        print(f"  {folder.name + '/':<12} {len(artifacts):>3} artifacts, such as {min(artifacts).name}")
    sidecar = min((workspace / "models").glob("*.kart.json"))
    content = json.loads(sidecar.read_text())
    print(f"\nFrom the sidecar {sidecar.relative_to(ROOT)}:")
    shown = {
        "parameters": {name: part["value"] for name, part in content["task"]["parameters"].items()},
        "upstream": [part["class"] for part in content["upstream"]],
        "seconds": round(content["run"]["seconds"], 2),
        "seed": content["run"]["seed"]["value"],
        "sha256": content["artifact"]["sha256"][:16] + "...",
        "scikit-learn": content["environment"]["packages"].get("scikit-learn"),
        "airflow": {name: content["airflow"][name] for name in ("dag_id", "task_id", "run_id", "logical_date")},
    }
    for name, value in shown.items():
        print(f"  {name:<13} {json.dumps(value)}")


if __name__ == "__main__":
    main()
