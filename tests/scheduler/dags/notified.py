"""A group in a DAG of somebody's own, with tasks behind the group and behind one of its tasks, and a DAG on its asset."""

from __future__ import annotations

from airflow.sdk import DAG, Asset, task

from airflow_kart import KartTaskGroup, TaskInstanceParameter, TaskOnKart, load


class Corn(TaskOnKart[str]):
    def run(self):
        self.dump("corn")


class Flour(TaskOnKart[str]):
    corn: TaskOnKart[str] = TaskInstanceParameter(default=Corn())

    def run(self):
        self.dump(self.load("corn") + " ground")


class Bread(TaskOnKart[str]):
    assets = ("bakery/bread",)
    flour: TaskOnKart[str] = TaskInstanceParameter(default=Flour())

    def run(self):
        self.dump(self.load("flour") + " baked")


@task
def notify(ti=None):
    return ti.xcom_pull(task_ids="bakery.bread")


@task
def taste(ti=None):
    return load(ti.xcom_pull(task_ids="bakery.bread"))


@task
def weigh():
    return "flour is there"


@task
def sell(triggering_asset_events=None):
    return [event.extra for event in triggering_asset_events[Asset("bakery/bread")]]


with DAG("notified", schedule=None):
    bakery = KartTaskGroup("bakery", Bread())
    bakery >> [notify(), taste()]
    bakery.children["bakery.flour"] >> weigh()

with DAG("selling", schedule=[Asset("bakery/bread")]):
    sell()
