"""A task that fails the first time it runs, and one that always does."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from airflow_kart import KartDag, TaskInstanceParameter, TaskOnKart

MARK = Path(os.environ["KART_TEST_LEDGER"]).with_name("flaky-has-failed")


class Steady(TaskOnKart[int]):
    def run(self):
        self.dump(1)


class Flaky(TaskOnKart[int]):
    steady: TaskOnKart[int] = TaskInstanceParameter(default=Steady())
    operator_kwargs = {"retries": 1, "retry_delay": timedelta(0)}

    def run(self):
        self.dump(self.load("steady") + 1)
        if not MARK.exists():
            MARK.touch()
            raise RuntimeError("the first time is the hardest")


class Hopeless(TaskOnKart[int]):
    def run(self):
        raise RuntimeError("there is no hope")


class Above(TaskOnKart[int]):
    hopeless: TaskOnKart[int] = TaskInstanceParameter(default=Hopeless())
    steady: TaskOnKart[int] = TaskInstanceParameter(default=Steady())

    def run(self):
        self.dump(1)


KartDag("flaky", Flaky(), schedule=None)
KartDag("hopeless", Above(), schedule=None)
