"""One slow task that several runs want at once, with each kind of lock, and a small daily pipeline to be backfilled."""

from __future__ import annotations

import datetime as dt
import os
import time
from pathlib import Path

from airflow.sdk import DAG, task

from airflow_kart import (
    DateParameter,
    ExternalTask,
    IntParameter,
    KartDag,
    StrParameter,
    Target,
    TaskOnKart,
    Workspace,
    run_date,
)

HOME = Path(os.environ["AIRFLOW_HOME"])


def note(*words: object) -> None:
    with (HOME / "single_flight_ledger").open("a") as ledger:
        ledger.write(" ".join(map(str, [*words, os.getpid(), time.time()])) + "\n")


class Gated(TaskOnKart[str]):
    """Has dumped its output and is not ended before somebody opens its gate."""

    gate: str = StrParameter(default="gate")

    def output(self) -> Target:
        return self.make_target("gated/gated.txt")

    def run(self) -> None:
        self.dump(self.gate)
        note(self.gate)
        while not (HOME / "gates" / self.gate).exists():
            time.sleep(0.02)


class Delivery(ExternalTask[str]):
    poll_seconds = 1

    def output(self) -> Target:
        return self.make_target("s3://kart/delivered.txt")


class Unpacked(TaskOnKart[str]):
    def requires(self) -> Delivery:
        return Delivery()

    def run(self) -> None:
        self.dump(self.load().upper())


class Features(TaskOnKart[int]):
    day: dt.date = DateParameter()

    def run(self) -> None:
        time.sleep(0.5)  # long enough for the runs of other days to meet here
        self.dump(self.day.toordinal())


class Window(TaskOnKart[int]):
    day: dt.date = DateParameter()
    days: int = IntParameter(default=2)

    def requires(self) -> list[Features]:
        return [Features(day=self.day - dt.timedelta(days=back)) for back in range(1, self.days + 1)]

    def run(self) -> None:
        self.dump(sum(self.load()))


class Judged(TaskOnKart[int]):
    day: dt.date = DateParameter()

    def requires(self) -> dict[str, TaskOnKart[int]]:
        return {"window": Window(day=self.day), "actual": Features(day=self.day)}

    def run(self) -> None:
        self.dump(self.load("window") - self.load("actual"))


KartDag("single_file", Gated(), schedule=None, max_active_runs=20)
KartDag("single_crowd", Gated(), schedule=None, max_active_runs=20, plan=False)
KartDag(
    "single_lease",
    Gated(),
    schedule=None,
    max_active_runs=20,
    workspace=Workspace("lease_workspace", lock="lease"),
    operator_kwargs={"retries": 1, "retry_delay": dt.timedelta(0)},
)
KartDag(
    "single_redis",
    Gated(),
    schedule=None,
    workspace=Workspace("redis_workspace", lock="redis", redis_conn_id="redis_in_db"),
)
BUCKET = Workspace("s3://kart/single", aws_conn_id="s3_in_db")
KartDag("single_bucket", Gated(), schedule=None, workspace=BUCKET)
KartDag("single_delivery", Unpacked(), schedule=None, workspace=BUCKET)
KartDag(
    "single_daily",
    Judged,
    bind={"day": run_date()},
    schedule="@daily",
    start_date=dt.datetime(2013, 1, 8, tzinfo=dt.timezone.utc),
    end_date=dt.datetime(2013, 4, 30, tzinfo=dt.timezone.utc),
    catchup=False,
    is_paused_upon_creation=True,
    # For a scheduler too busy to hear of a deferral before the operator is back: Airflow takes that for a failure.
    operator_kwargs={"retries": 2, "retry_delay": dt.timedelta(0)},
)

with DAG("single_unrelated", schedule=None):

    @task
    def greet() -> None:
        note("unrelated")

    greet()
