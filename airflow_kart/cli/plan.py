"""``plan``: what a run would do now."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from airflow_kart.audit.forecast import Expected, forecast
from airflow_kart.audit.history import History
from airflow_kart.cli.output import show, show_document
from airflow_kart.cli.pipeline import Pipeline, named_in
from airflow_kart.cli.pipelines import pipelines
from airflow_kart.cli.why import MACHINES
from airflow_kart.parameters.label import label
from airflow_kart.runtime.plan import Outcome
from airflow_kart.runtime.tally import in_words
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.outputs import targets_of

WOULD_RUN = 3
"""The exit code of a plan with tasks to run."""
_PATIENCE = 5.0
"""Seconds for the search of causes."""
_ORDER = (Outcome.RUN, Outcome.CACHED, Outcome.NOT_NEEDED)


def show_plan(workspace: Workspace, arguments: argparse.Namespace) -> int:
    """Print what a run would do now; return 3 if a task would run, else 0."""
    found = pipelines(workspace, arguments)
    again = [named_in(found, name) for name in arguments.rerun or ()]
    rows: list[dict[str, Any]] = []
    stale: list[str] = []
    unexplained = 0
    for pipeline in found:
        with pipeline.workspace:
            plan = pipeline.plan(unique_id for named in again for of, unique_id in named if of is pipeline)
            expected = list(forecast(plan, History(pipeline.workspace), _PATIENCE))
            unexplained += sum(one.why is None and one.planned.outcome is Outcome.RUN for one in expected)
            rows += [_facts(one, pipeline) for one in expected]
            stale += [*plan.changed_code(), *plan.made_elsewhere()]
    rows.sort(key=lambda row: [str(outcome) for outcome in _ORDER].index(row["outcome"]))
    summary = _summary(rows)
    if arguments.output in MACHINES:
        show_document({"pipeline": arguments.pipeline, "tasks": rows, "warnings": stale, **summary}, arguments.output)
    else:
        _print_table(rows, arguments)
        if unexplained:
            print(
                f"the causes of {unexplained:,} tasks were not looked for, since that takes long; ask: why NAME --in PIPELINE"
            )
        for line in stale:
            print(line)
        print(summary["summary"])
    return WOULD_RUN if summary["run"] else 0


def _facts(one: Expected, pipeline: Pipeline) -> dict[str, Any]:
    planned = one.planned
    return {
        "task": repr(one.task),
        "task_id": pipeline.task_ids.get(one.task.unique_id),
        "values": label(one.task),
        "unique_id": one.task.unique_id,
        "outcome": planned.outcome.value,
        "reason": one.reason,
        "expected_seconds": one.seconds,
        "seconds": planned.seconds if planned.outcome is Outcome.CACHED else None,
        "uris": [artifact.uri for artifact in planned.artifacts] or [target.uri for _, target in targets_of(one.task)],
        "why": None if one.why is None else one.why.as_json(),
    }


def _summary(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the counts, the expected seconds, and the line with both."""
    counts = {outcome.value: sum(row["outcome"] == outcome.value for row in rows) for outcome in _ORDER}
    run = [row["expected_seconds"] for row in rows if row["outcome"] == "run"]
    known, unknown = sum(filter(None, run)), run.count(None)
    words = f"{counts['run']} to run, {counts['cached']} cached, {counts['not_needed']} not needed"
    time = [f"{in_words(known)} expected"] if len(run) > unknown else []
    time += [f"{unknown} never ran before"] if unknown else []
    return {
        **counts,
        "expected_seconds": known,
        "never_ran": unknown,
        "summary": "; ".join([words, *filter(None, [" and ".join(time)])]),
    }


def _print_table(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    shown = rows[: arguments.most or None]
    table = [
        {
            "task": row["task_id"] or row["task"].partition("(")[0],
            "plan": row["outcome"].replace("_", " "),
            "values": row["values"],
            "expected": "" if row["outcome"] != "run" else _expected(row["expected_seconds"]),
            "why": row["reason"],
        }
        for row in shown
    ]
    show(table, arguments.output, right=["expected"])
    if len(rows) > len(shown):
        print(f"and {len(rows) - len(shown):,} more; -n 0 lists all")


def _expected(seconds: float | None) -> str:
    return "unknown" if seconds is None else in_words(seconds)
