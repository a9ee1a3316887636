"""A group in a DAG of somebody's own, with tasks behind the group and behind one of its tasks."""

from __future__ import annotations

from airflow.sdk import DAG, task

from airflow_kart import KartTaskGroup, TaskInstanceParameter, TaskOnKart


class Corn(TaskOnKart[str]):
    def run(self):
        self.dump("corn")


class Flour(TaskOnKart[str]):
    corn: TaskOnKart[str] = TaskInstanceParameter(default=Corn())

    def run(self):
        self.dump(self.load("corn") + " ground")


class Bread(TaskOnKart[str]):
    flour: TaskOnKart[str] = TaskInstanceParameter(default=Flour())

    def run(self):
        self.dump(self.load("flour") + " baked")


@task
def notify():
    return "all is done"


@task
def weigh():
    return "flour is there"


with DAG("notified", schedule=None):
    bakery = KartTaskGroup("bakery", Bread())
    bakery >> notify()
    bakery.children["bakery.flour"] >> weigh()
