"""Run the flagship example through Airflow for two consecutive days, cold and warm, and show what was reused."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = Path(os.environ.get("DEMO_HOME", ROOT / ".demo"))
PROGRAM = Path(sys.executable).parent / "airflow"
DAYS = ("2013-03-01", "2013-03-02")
RUNS = [(day, turn) for day in DAYS for turn in ("cold", "warm")][: int(os.environ.get("DEMO_RUNS", "4"))]
REPORT = re.compile(r"Report(?: of \S+)?: (?P<headline>.*)\n(?P<table>(?:\S.*\n)+)")
CONFIGURATION = """[core]
dagbag_import_timeout = 120
load_examples = False
simple_auth_manager_all_admins = True

[api]
host = 127.0.0.1

[api_auth]
jwt_secret = {secret}
"""  # without a login, so for this machine only; Airflow's processes have to share the secret
TO_SEE = """
To see this in Airflow's UI:

  {command}

  1. Open http://localhost:8080 once the API server has started; there Dags, then flight_delays. The grid shows the second run of
     each day: a second run of a day by `dags test` replaces the first.
  2. A square of the grid is a task in a run. Green with a tick: the task ran. Pink: Airflow calls the task skipped. The plan
     skipped it at once, as its artifact was there (cached), or as no task that runs needs it (not needed). Red: failed.
  3. Trigger, at the top right, opens the form. A run of today takes the last day of the data, 2013-12-30; trigger a second one
     with other trees to see what runs again. The log of a run's task report says what became of each task, and why.
"""
ROW = re.compile(r"^(\S+) +(?:\S.*? )?(ran|cached|not_needed|failed) ", re.MULTILINE)


def main() -> None:
    """Start from an empty Airflow home, run each day twice, show what was reused, and point at the artifacts."""
    shutil.rmtree(HOME, ignore_errors=True)
    shutil.copytree(ROOT / "example_dags", HOME / "dags")
    (HOME / "airflow.cfg").write_text(CONFIGURATION.format(secret=secrets.token_hex(64)))
    print(f"Preparing Airflow (SQLite, in {HOME}) ...", flush=True)
    airflow("db", "migrate")
    outcomes: dict[str, list[str]] = {}
    headlines = []
    for day, turn in RUNS:
        print(f"Running, {turn}: airflow dags test flight_delays {day}", flush=True)
        started = time.monotonic()
        headline, rows = report(airflow("dags", "test", "flight_delays", day))
        headlines.append(f"{day} {turn}: {headline}; {time.monotonic() - started:.0f} s with Airflow's start")
        for task, outcome in rows:
            outcomes.setdefault(task, []).append(outcome)
    print("\nWhat became of each task:\n")
    columns = [f"{day} {turn}" for day, turn in RUNS]
    for row in (("task", *columns), *((task, *found) for task, found in outcomes.items())):
        print("  " + "".join(f"{cell.replace('_', ' ') if cell == 'not_needed' else cell:<21}" for cell in row).rstrip())
    print("\nIn short:\n")
    for headline in headlines:
        print(f"  {headline}")
    show_artifacts()
    print(TO_SEE.format(command=f"AIRFLOW_HOME={HOME} PATH={PROGRAM.parent}:$PATH airflow standalone"))


def airflow(*arguments: str) -> str:
    """Run an airflow command in the demo's home; return what it printed, or show it and stop."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
        "AIRFLOW_HOME": str(HOME),
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        "NO_COLOR": "1",
    }
    command = [str(PROGRAM), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} failed:\n{done.stdout[-5000:]}\n{done.stderr[-5000:]}")
    return done.stdout + done.stderr


def report(output: str) -> tuple[str, list[tuple[str, str]]]:
    """Return the headline of the report in a run's output, and each task with its outcome."""
    found = REPORT.search(output)
    if found is None:
        sys.exit(f"the run printed no report:\n{output[-5000:]}")
    return found["headline"], ROW.findall(found["table"])


def show_artifacts() -> None:
    """Say where artifacts and sidecars are, and show a part of one."""
    workspace = HOME / "kart_workspace"
    print(f"\nArtifacts, each with its sidecar <artifact>.kart.json, are in {workspace}:")
    for folder in sorted(path for path in workspace.iterdir() if path.is_dir() and not path.name.startswith(".")):
        artifacts = [path for path in folder.iterdir() if path.is_file() and not path.name.endswith(".kart.json")]
        print(f"  {folder.name + '/':<12} {len(artifacts):>3} artifacts, such as {min(artifacts).name}")
    sidecar = min((workspace / "models").glob("*.kart.json"))
    content = json.loads(sidecar.read_text())
    print(f"\nFrom the sidecar {sidecar}:")
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
