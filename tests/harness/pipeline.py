"""Tasks that several tests of this level run; what ran is noted in ``RAN``."""

from __future__ import annotations

import datetime as dt
from typing import Any

from airflow_kart import DateParameter, IntParameter, StrParameter, TaskInstanceParameter, TaskOnKart

RAN: list[str] = []


class Noted(TaskOnKart[Any]):
    """A task that notes that it ran and dumps what it loaded."""

    def run(self) -> None:
        RAN.append(type(self).__name__)
        self.dump({"inputs": self.load()})


class Raw(Noted):
    """One day's raw data."""

    day: dt.date = DateParameter()


class Clean(Noted):
    """One day's clean data."""

    day: dt.date = DateParameter()

    def requires(self) -> Any:
        return {"raw": Raw(day=self.day)}


class Window(Noted):
    """The clean data of several days."""

    day: dt.date = DateParameter()
    days: int = IntParameter(default=2, min_value=0)

    def requires(self) -> Any:
        return [Clean(day=self.day - dt.timedelta(days=back)) for back in range(self.days)]


class Model(Noted):
    """A model of a window."""

    window: TaskOnKart[Any] = TaskInstanceParameter()
    kind: str = StrParameter(default="tree")


class Judged(Noted):
    """A model, judged on a day."""

    day: dt.date = DateParameter(description="Day to judge on")
    days: int = IntParameter(default=2, min_value=0, max_value=9)
    kind: str = StrParameter(default="tree")

    def requires(self) -> Any:
        return {"model": Model(window=Window(day=self.day, days=self.days), kind=self.kind)}


def ran() -> list[str]:
    """Return what ran since it was last asked."""
    found = sorted(RAN)
    RAN.clear()
    return found
