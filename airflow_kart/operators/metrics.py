"""Metrics of cached work, through Airflow's own client: StatsD, Datadog or OpenTelemetry, as ``[metrics]`` configures."""

from __future__ import annotations

import re
from collections.abc import Iterable

from airflow.providers.common.compat.sdk import Stats

from airflow_kart.runtime.outcome import REUSED, Outcome
from airflow_kart.runtime.plan import PlannedTask
from airflow_kart.runtime.result import RunResult


def count_outcomes(dag_id: str, found: Iterable[PlannedTask | RunResult]) -> None:
    """Count hits, reuses, misses, and what the hits saved. Tasks without sidecars, such as wrappers, do not count."""
    made = [one for one in found if any(artifact.sha256 for artifact in one.artifacts)]
    hits = [one for one in made if one.outcome in REUSED]
    count(dag_id, "hits", len(hits))
    count(dag_id, "reuses", sum(one.made_by is None or one.made_by[0] != dag_id for one in hits))
    count(dag_id, "misses", sum(one.outcome is Outcome.RAN for one in made))
    count(dag_id, "seconds_saved", round(sum(one.seconds for one in hits)))
    count(dag_id, "bytes_saved", sum(artifact.bytes or 0 for one in hits for artifact in one.artifacts))


def count(dag_id: str, name: str, number: int = 1) -> None:
    """Add to the counter ``kart.<name>`` with a tag for the DAG, and to one named after the DAG: plain StatsD has no tags."""
    if number:
        Stats.incr(f"kart.{name}", number, tags={"dag_id": dag_id})
        Stats.incr(f"kart.{name}.{re.sub('[^a-zA-Z0-9_.-]', '_', dag_id)}", number)
