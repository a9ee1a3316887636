"""A small pipeline whose tasks leave a line in a ledger each time they run."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Any

from airflow_kart import DateParameter, IntParameter, KartDag, StrParameter, TaskInstanceParameter, TaskOnKart, run_date

LEDGER = Path(os.environ["KART_TEST_LEDGER"])


def enter(task: TaskOnKart[Any]) -> None:
    with LEDGER.open("a") as ledger:
        ledger.write(f"{type(task).__name__}\n")


class Sales(TaskOnKart[list[Any]]):
    """What was sold on a day."""

    day: dt.date = DateParameter()

    def output(self):
        return self.make_target("shop/sales.json")

    def run(self):
        enter(self)
        self.dump([self.day.day, 2, 3])


class Prices(TaskOnKart[dict[str, Any]]):
    """What things cost."""

    currency: str = StrParameter(default="eur", description="Currency of the prices")

    def run(self):
        enter(self)
        self.dump({"apple": 2, "in": self.currency})


class Revenue(TaskOnKart[int]):
    """What a day brought."""

    sales: TaskOnKart[list[Any]] = TaskInstanceParameter()
    prices: TaskOnKart[dict[str, Any]] = TaskInstanceParameter()

    def run(self):
        enter(self)
        self.dump(sum(self.load("sales")) * self.load("prices")["apple"])


class Forecast(TaskOnKart[int]):
    """What tomorrow may bring."""

    day: dt.date = DateParameter()
    currency: str = StrParameter(default="eur", description="Currency of the prices")
    factor: int = IntParameter(default=2, min_value=1, max_value=9, description="How much more tomorrow brings")

    def requires(self):
        return {"revenue": Revenue(sales=Sales(day=self.day), prices=Prices(currency=self.currency))}

    def run(self):
        enter(self)
        self.dump(self.load("revenue") * self.factor)


KartDag("shop", Forecast, bind={"day": run_date()}, schedule=None)
