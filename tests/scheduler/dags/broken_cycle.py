"""A pipeline that cannot be: each task needs the other."""

from __future__ import annotations

from airflow_kart import KartDag, TaskOnKart


class Hen(TaskOnKart[int]):
    def requires(self):
        return Egg()


class Egg(TaskOnKart[int]):
    def requires(self):
        return Hen()


KartDag("broken_cycle", Hen(), schedule=None)
