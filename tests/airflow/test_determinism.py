"""The same file, compiled in other processes, gives the same serialized DAG byte for byte."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHAPES = '''
from __future__ import annotations
import datetime as dt, enum
from airflow_kart import *

class Colour(enum.Enum):
    RED = 1
    BLUE = 2

class Leaf(TaskOnKart[int]):
    """A leaf."""
    colour: Colour = EnumParameter(enum=Colour, default=Colour.RED)
    settings: dict = DictParameter(default={"b": [1, {"x": None}], "a": 2.5})
    words: tuple = ListParameter(default=["z", "a"])
    flag: bool = BoolParameter(default=True)
    secret: str = StrParameter(default="hush", visibility=ParameterVisibility.PRIVATE, significant=False)
    operator_kwargs = {"pool": "p", "retries": 2}
    def output(self): return {"one": self.make_target("x/one.json"), "more": [self.make_target("x/two.csv")]}

class Middle(TaskOnKart[int]):
    leaf: TaskOnKart[int] = TaskInstanceParameter()
    others: list = ListTaskInstanceParameter(default=[])
    ratio: float = FloatParameter(default=0.5)
    def requires(self): return {"leaf": self.leaf, "others": [self.others, ({"deep": Leaf(colour=Colour.BLUE)},)]}

class Top(TaskOnKart[int]):
    day: dt.date = DateParameter()
    width: int = IntParameter(default=4)
    words: tuple = ListParameter(default=["z", "a"])
    def requires(self):
        for n in range(self.width):
            yield Middle(leaf=Leaf(settings={"n": n}), others=[Leaf(words=[str(n)]), Leaf(flag=False)], ratio=n / 3)
        yield {Colour.RED.name: Leaf(), "none": None, "empty": []}

KartDag("shapes", [Top, Leaf(words=["root"])], bind={"day": run_date(tz="Asia/Tokyo")}, schedule="@daily", tags=["b", "a"],
        start_date=dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc), default_args={"owner": "me"})
'''
SERIALIZE = """
import json, sys
from pathlib import Path
try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:
    from airflow.models.dagbag import DagBag
try:
    from airflow.serialization.serialized_objects import DagSerialization as serialization
except ImportError:
    from airflow.serialization.serialized_objects import SerializedDAG as serialization
from airflow.models.serialized_dag import SerializedDagModel
bag = DagBag(dag_folder=sys.argv[1], bundle_path=Path(sys.argv[1]))
assert not bag.import_errors, bag.import_errors
for dag_id, dag in sorted(bag.dags.items()):
    content = serialization.to_dict(dag)
    # Sorted, as Airflow does before it hashes: the order of an operator's fields comes from a set of Airflow's own.
    print(dag_id, SerializedDagModel.hash(content) + json.dumps(content, sort_keys=True))
"""


def serialized(folder: Path, seed: str) -> list[str]:
    environment = {**os.environ, "PYTHONHASHSEED": seed, "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"}
    command = [sys.executable, "-c", SERIALIZE, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.splitlines()


def test_two_processes_serialize_alike(tmp_path):
    (tmp_path / "shapes.py").write_text(SHAPES)
    shutil.copy(ROOT / "example_dags" / "flight_delays.py", tmp_path)
    first, second = serialized(tmp_path, "1"), serialized(tmp_path, "4242")
    assert [line.split()[0] for line in first] == ["flight_delays", "shapes"]
    assert all(len(line) > 5000 for line in first)
    assert first == second
