"""A DAG belongs to the file that makes it, whoever imports the file."""

from __future__ import annotations

import shutil
import sys
import zipfile

import pytest

try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:  # Airflow 3.1
    from airflow.models.dagbag import DagBag  # type: ignore[no-redef]

CHURN = """
from airflow_kart import KartDag, TaskOnKart, kart_dag

class Data(TaskOnKart[int]):
    def run(self): self.dump(1)

@kart_dag("churn", schedule=None)
class Churn(TaskOnKart[int]):
    def requires(self): return Data()

dag = KartDag("churn_data", Data, schedule=None)

def make(dag_id):
    return KartDag(dag_id, Data, schedule=None)
"""
SCORING = """
from kart_churn_dags import Churn, Data, dag, make
from airflow_kart import KartDag, TaskOnKart

class Scoring(TaskOnKart[int]):
    def requires(self): return Churn()

KartDag("scoring", Scoring, schedule=None)
made = make("made_by_a_function")
"""
OWN = {"kart_churn_dags.py": {"churn", "churn_data"}, "scoring.py": {"scoring", "made_by_a_function"}}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A bundle's folder, on ``sys.path`` as Airflow puts it there."""
    folder = tmp_path / "dags"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    sys.modules.pop("kart_churn_dags", None)


def registered(path, folder):
    """Return the ids of the DAGs that each file of a path registers."""
    sys.modules.pop("kart_churn_dags", None)  # as each file is parsed in a process of its own
    bag = DagBag(dag_folder=str(path), bundle_path=folder)
    assert bag.import_errors == {}
    found: dict[str, set[str]] = {}
    for dag in bag.dags.values():
        found.setdefault(dag.fileloc.rpartition("/")[2], set()).add(dag.dag_id)
    return found


@pytest.mark.parametrize("order", [list(OWN), list(reversed(OWN))])
def test_each_file_registers_its_own_dags(folder, order):
    (folder / "kart_churn_dags.py").write_text(CHURN)
    (folder / "scoring.py").write_text(SCORING)
    for name in order:
        assert registered(folder / name, folder) == {name: OWN[name]}
    assert registered(folder, folder) == OWN


def test_so_does_each_file_of_a_zip_bundle(folder, monkeypatch):
    packed = folder / "pipelines.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("scoring.py", SCORING)
        archive.writestr("kart_churn_dags.py", CHURN)
    assert registered(packed, folder) == OWN
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if not entry.endswith(".zip")])
    sys.modules.pop("scoring", None)


@pytest.mark.parametrize("place", ["plugins", "lib/site-packages", "dags/site-packages"])
def test_modules_that_airflow_does_not_parse_lend_their_classes_and_the_dags_that_a_file_names(
    folder, tmp_path, monkeypatch, place
):
    outside = tmp_path / place
    outside.mkdir(parents=True)
    monkeypatch.syspath_prepend(str(outside))
    (outside / "kart_churn_dags.py").write_text(CHURN)
    (folder / "scoring.py").write_text(SCORING)
    (folder / "classes.py").write_text(
        "from kart_churn_dags import Churn, Data\nfrom airflow_kart import KartDag\nKartDag('c', Data)"
    )
    assert registered(folder / "scoring.py", folder) == {"scoring.py": OWN["scoring.py"] | {"churn_data"}}
    assert registered(folder / "classes.py", folder) == {"classes.py": {"c"}}
    shutil.rmtree(outside)
