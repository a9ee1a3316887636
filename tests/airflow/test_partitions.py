"""One partition has one unique id: by schedule, backfill, asset and hand, for each offset and zone."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import jinja2
import pytest
from airflow import sdk
from airflow.sdk import Asset
from harness.dag_runs import as_scheduled, run_tasks
from harness.pipeline import Noted, Raw, ran

from airflow_kart import KartDag, StrParameter, run_date, run_partition

DAY = dt.date(2024, 3, 10)  # on which summer time begins in New York
ZONES = ("UTC", "Asia/Tokyo", "America/New_York")
OFFSETS = (-1, 0, 1)
partition_dates = pytest.mark.skipif(not hasattr(sdk, "FanOutMapper"), reason="Airflow knows partition dates from 3.3 on")


@pytest.fixture(autouse=True)
def _nothing_noted() -> None:
    ran()


def run_info(dag: Any, how: str, offset: int) -> Any:
    """Return what Airflow makes a run of: key, date, start."""
    from airflow.api_fastapi.core_api.datamodels.dag_run import TriggerDAGRunPostBody
    from airflow.sdk import timezone
    from airflow.timetables.base import TimeRestriction

    midnight = dt.datetime(DAY.year, DAY.month, DAY.day)
    if how == "backfill":
        (info,) = dag.iter_dagrun_infos_between(midnight, midnight)
        return info
    if how == "hand":
        body = TriggerDAGRunPostBody(logical_date=None, partition_key=midnight.isoformat())
        return SimpleNamespace(**body.validate_context(dag))
    zone = ZoneInfo(str(dag.timetable._timezone.name))
    earliest = timezone.coerce_datetime((midnight - dt.timedelta(days=offset)).replace(tzinfo=zone))
    restriction = TimeRestriction(earliest=earliest, latest=None, catchup=True)
    return dag.timetable.next_dagrun_info_v2(last_dagrun_info=None, restriction=restriction)


def run_of_asset(dag: Any, hours: Asset) -> Any:
    """Return what the scheduler makes a run of for an event of one hour of the day."""
    from airflow.sdk import timezone

    mapper = dag.timetable.get_partition_mapper(name=hours.name, uri=hours.uri)
    key = mapper.to_downstream(f"{DAY}T17:00:00")
    date = mapper.to_partition_date(key)
    return SimpleNamespace(partition_key=key, partition_date=date, run_after=timezone.utcnow(), logical_date=None)


@partition_dates
def test_four_triggers_three_offsets_and_three_zones_give_one_id(store_dag, capfd):
    from airflow.sdk import CronPartitionTimetable, PartitionedAssetTimetable, StartOfDayMapper
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    days = []
    for zone in ZONES:
        hours = Asset(f"hours-{zone}")
        of_asset = PartitionedAssetTimetable(
            assets=hours, default_partition_mapper=StartOfDayMapper(timezone=zone, input_format="%Y-%m-%dT%H:%M:%S")
        )
        for offset in OFFSETS:
            cron = CronPartitionTimetable("0 0 * * *", timezone=zone, run_offset=offset)
            really = zone == ZONES[-1] and offset == -1  # the others only as far as the scheduler goes, and the template
            dags = {}
            for kind, schedule in (("cron", cron), ("asset", of_asset)):
                dag_id = f"partition_{zone.replace('/', '_')}_{offset}_{kind}"
                dag = KartDag(dag_id, Raw, bind={"day": run_date(tz=zone)}, schedule=schedule, plan=False)
                dags[kind] = dag, store_dag(dag) if really else as_scheduled(dag)
            for how in ("schedule", "backfill", "hand", "asset"):
                dag, core = dags["asset" if how == "asset" else "cron"]
                info = run_of_asset(core, hours) if how == "asset" else run_info(core, how, offset)
                of_run = {name: getattr(info, name) for name in ("run_after", "partition_key", "partition_date")}
                assert info.logical_date is None
                days.append(rendered(run_date(tz=zone), **of_run))
                if really:
                    with create_session() as session:
                        core.create_dagrun(
                            run_id=how,
                            run_type=DagRunType.MANUAL,
                            triggered_by=DagRunTriggeredByType.TEST,
                            state=DagRunState.RUNNING,
                            session=session,
                            **of_run,
                        )
                    run_tasks(dag, how)
    assert days == [str(DAY)] * 36
    assert ran() == ["Raw"]  # by the first of the four runs: the others found its artifact
    found = Raw(day=DAY).output().sidecar()
    assert found is not None
    part = found.content["airflow"]
    assert (part["partition_key"], part["partition_date"]) == ("2024-03-10T00:00:00", "2024-03-10T05:00:00+00:00")
    assert " saved; of partition 2024-03-10" in "".join(capfd.readouterr())


class Shop(Noted):
    """A task of one partition."""

    key: str = StrParameter()


def rendered(template: str, **of_run: Any) -> str:
    """Return what a run of any version of Airflow, with these attributes alone, makes of a template."""
    from airflow.sdk.execution_time import macros

    moments = {"logical_date": None, "run_after": dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc), **of_run}
    environment = KartDag("rendered", Shop(key="x"), schedule=None).get_template_env(force_sandboxed=True)
    environment.undefined = jinja2.StrictUndefined
    return environment.from_string(template).render(dag_run=SimpleNamespace(**moments), macros=macros)


@pytest.mark.parametrize(
    ("of_run", "day"),
    [
        ({}, "2026-01-01"),
        ({"partition_key": None}, "2026-01-01"),
        ({"partition_key": "eu", "partition_date": None}, "2026-01-01"),
        ({"partition_key": "2024-03-10T00:00:00"}, "2024-03-10"),
        ({"partition_key": "2024-03-10|eu", "partition_date": None}, "2024-03-10"),
        ({"partition_key": "x", "partition_date": dt.datetime(2024, 3, 9, 15, tzinfo=dt.timezone.utc)}, "2024-03-10"),
        ({"logical_date": dt.datetime(2024, 3, 9, 15, tzinfo=dt.timezone.utc)}, "2024-03-10"),
    ],
    ids=str,
)
def test_the_day_is_the_partitions_whatever_airflow_knows_of_it(of_run, day):
    assert rendered(run_date(tz="Asia/Tokyo"), **of_run) == day
    day_before = dt.date.fromisoformat(day) - dt.timedelta(days=1)
    assert rendered(run_date(tz="Asia/Tokyo", offset=dt.timedelta(days=-1)), **of_run) == str(day_before)


@pytest.mark.parametrize(
    ("of_key", "day"), [("2012-02-03", "2013-01-08"), ("2013-05-06", "2013-05-06"), ("2026", "2013-12-31")]
)
def test_a_day_outside_the_bounds_is_the_nearest_inside(of_key, day):
    bounded = run_date(earliest=dt.date(2013, 1, 8), latest=dt.date(2013, 12, 31))
    assert rendered(bounded, partition_key=of_key) == day


def test_a_partition_key_is_a_parameter_and_no_key_is_an_error():
    assert rendered(run_partition(), partition_key="2024-03-10|eu") == "2024-03-10|eu"
    for of_run in ({}, {"partition_key": None}):
        with pytest.raises(jinja2.UndefinedError, match="'this_run_has_no_partition_key' is undefined"):
            rendered(run_partition(), **of_run)
