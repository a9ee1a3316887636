"""One file, run in every way there is: the same ids, the same artifacts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from harness.airflow_home import airflow_program, environment, with_database

SOURCE = """
from __future__ import annotations
import dataclasses
from airflow_kart import *

@dataclasses.dataclass
class Model:
    weights: list

class Fit(TaskOnKart[Model]):
    depth: int = IntParameter(default=3)
    def run(self): self.dump(Model([1, 2, self.depth]))

class Use(TaskOnKart[int]):
    depth: int = IntParameter(default=3)
    def requires(self): return {"model": Fit(depth=self.depth)}
    def run(self):
        model = self.load("model")
        assert isinstance(model, Model), type(model)
        self.dump(sum(model.weights))

KartDag("ways", Use(), schedule=None)

if __name__ == "__main__":
    print("built", build(Use()))
"""
OTHER = """
from __future__ import annotations
from airflow_kart import *

class Elsewhere(TaskOnKart[int]):
    path: str = StrParameter()
    def run(self):
        import pickle
        with open(self.path, "rb") as file:
            model = pickle.load(file)
        self.dump(sum(model.weights))

if __name__ == "__main__":
    print("built", build(Elsewhere(path="PATH")))
"""

COMMANDS = """
import sys
from airflow.__main__ import main
for command in sys.argv[1:]:
    sys.argv = ["airflow", *command.split()]
    main()
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = with_database(tmp_path_factory.mktemp("ways"))
    folder = home / "dags" / "team"
    folder.mkdir(parents=True)
    (folder / "ways.py").write_text(SOURCE)
    return home


def run(home: Path, *command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(command, env=environment(home), cwd=cwd, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def airflow(home: Path, *commands: str) -> str:
    """Run commands one after another in one process: Airflow needs ten seconds to make its API for a process's first task."""
    return run(home, sys.executable, "-c", COMMANDS, *commands)


def artifacts(home: Path) -> set[str]:
    return {str(path.relative_to(home)) for path in (home / "kart_workspace").rglob("*.pkl")}


def test_python_file_then_every_other_way_finds_the_same_artifacts(home):
    file = home / "dags" / "team" / "ways.py"
    assert "built 6" in run(home, sys.executable, file, cwd=home)
    made = artifacts(home)
    assert len(made) == 2
    assert all(path.startswith("kart_workspace/team/ways/") for path in made)
    for folder, name in ((file.parent, "ways.py"), (home / "dags", "team/ways.py")):
        assert "built 6" in run(home, sys.executable, name, cwd=folder)
    plan, task = "Plan: 0 to run, 1 cached, 1 not needed", "Use(depth=3) is cached"
    output = airflow(home, "dags test ways", "tasks test ways use")
    assert plan in output and task in output.partition(plan)[2]
    notebook = "import team.ways; from airflow_kart import build; print('built', build(team.ways.Use()))"
    assert "built 6" in run(home, sys.executable, "-c", notebook, cwd=home / "dags")
    assert artifacts(home) == made


def test_a_task_tested_by_itself_says_what_it_misses_and_loads_what_another_process_pickled(home):
    (fit,) = (home / "kart_workspace").rglob("Fit_*.pkl")
    (use,) = (home / "kart_workspace").rglob("Use_*.pkl")
    fit.unlink()
    use.unlink()
    output = airflow(home, "tasks test ways use 2024-01-01", "tasks test ways fit 2024-01-01")
    assert "needs 1 input(s) that are not there" in output
    assert str(fit) in output
    assert "airflow tasks test ways fit 2024-01-01" in output
    assert fit.exists() and not use.exists()
    assert "ran in" in run(home, airflow_program(), "tasks", "test", "ways", "use", "2024-01-01")
    assert use.exists()


def test_an_artifact_of_a_dag_files_class_loads_in_another_file_and_from_another_place(home):
    (fit,) = (home / "kart_workspace").rglob("Fit_*.pkl")
    other = home / "dags" / "other.py"
    other.write_text(OTHER.replace("PATH", str(fit)))
    assert "built 6" in run(home, sys.executable, other)
    versioned = home / "bundles" / "team_repo" / "versions" / "abc123" / "team"
    versioned.mkdir(parents=True)
    (versioned / "ways.py").write_text(SOURCE)
    bundles = [
        {
            "name": "team_repo",
            "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
            "kwargs": {"path": str(versioned.parent)},
        }
    ]
    moved = {**environment(home), "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles)}
    command = [str(airflow_program()), "dags", "test", "ways"]
    done = subprocess.run(command, env=moved, capture_output=True, text=True, timeout=240, check=False)
    assert "Plan: 0 to run, 1 cached, 1 not needed" in done.stdout + done.stderr
