"""A DAG file: tasks in ten layers, as many in each as the command line says, and a root, as a KartDag."""

from __future__ import annotations

import datetime as dt
import sys

from airflow_kart import DateParameter, IntParameter, KartDag, StrParameter, TaskOnKart, run_date

LAYERS, WIDTH = 10, int(sys.argv[2])


class Node(TaskOnKart[int]):
    day: dt.date = DateParameter()
    layer: int = IntParameter()
    place: int = IntParameter()

    def requires(self) -> list[TaskOnKart[int]]:
        places = (self.place, (self.place + 1) % WIDTH) if self.layer else ()
        return [Node(day=self.day, layer=self.layer - 1, place=place) for place in places]

    def run(self) -> None:
        self.dump(1)


class Root(TaskOnKart[int]):
    day: dt.date = DateParameter(description="Day of the data")
    depth: int = IntParameter(default=6, description="Depth of the trees")
    label: str = StrParameter(default="daily", description="Name of the run")

    def requires(self) -> list[TaskOnKart[int]]:
        return [Node(day=self.day, layer=LAYERS - 1, place=place) for place in range(WIDTH)]


dag = KartDag(
    "layers", Root, bind={"day": run_date()}, schedule="@daily", start_date=dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
)
