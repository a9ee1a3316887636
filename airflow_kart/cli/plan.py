"""``plan``: what a run would do now."""

from __future__ import annotations

import argparse
from typing import Any

from airflow_kart.audit.forecast import Expected, forecast
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
_MOST_ROOTS = 10
_ORDER = (Outcome.RUN.value, Outcome.CACHED.value, Outcome.NOT_NEEDED.value)


def show_plan(workspace: Workspace, arguments: argparse.Namespace) -> int:
    """Print what a run would do now; return 3 if a task would run, else 0."""
    found, warnings, rows = pipelines(workspace, arguments), list[str](), list[dict[str, Any]]()
    again = [named for name in arguments.rerun or () for named in named_in(found, name)]
    for pipeline in found:
        with pipeline.workspace:
            plan = pipeline.plan(unique_id for of, unique_id in again if of is pipeline)
            rows += [_facts(one, pipeline) for one in forecast(plan, _PATIENCE)]
            warnings += [*plan.changed_code(), *plan.made_elsewhere()]
    rows.sort(key=lambda row: _ORDER.index(row["outcome"]))
    if unexplained := sum(row["outcome"] == "run" and not row["roots"] for row in rows):
        warnings.append(f"the search for causes took too long for {unexplained:,} tasks; ask: why TASK --in PIPELINE")
    summary = _summary(rows)
    if arguments.output in MACHINES:
        show_document({"pipeline": arguments.pipeline, "tasks": rows, "warnings": warnings, **summary}, arguments.output)
    else:
        shown = rows[: arguments.most or None]
        show([_row(row) for row in shown], arguments.output, right=["expected"])
        if len(rows) > len(shown):
            print(f"and {len(rows) - len(shown):,} more; -n 0 lists all")
        print("\n".join([*warnings, summary["summary"]]))
    return WOULD_RUN if summary["run"] else 0


def _facts(one: Expected, pipeline: Pipeline) -> dict[str, Any]:
    task, planned = one.task, one.planned
    roots = () if one.why is None else one.why.roots[:_MOST_ROOTS]
    return {
        "task": repr(task),
        "task_id": pipeline.task_ids.get(task.unique_id),
        "values": label(task),
        "unique_id": task.unique_id,
        "outcome": planned.outcome.value,
        "reason": one.reason,
        "roots": [{"kind": root.kind, "task": root.task, "words": root.words} for root in roots],
        "expected_seconds": one.seconds,
        "seconds_saved": planned.seconds,
        "uris": [artifact.uri for artifact in planned.artifacts] or [target.uri for _, target in targets_of(task)],
    }


def _row(facts: dict[str, Any]) -> dict[str, Any]:
    expected = facts["expected_seconds"]
    return {
        "task": facts["task_id"] or facts["task"].partition("(")[0],
        "plan": facts["outcome"].replace("_", " "),
        "values": facts["values"],
        "expected": "" if facts["outcome"] != "run" else "unknown" if expected is None else in_words(expected),
        "why": facts["reason"],
    }


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the numbers of tasks and seconds, and a line with them."""
    counts = {outcome: sum(row["outcome"] == outcome for row in rows) for outcome in _ORDER}
    expected = [row["expected_seconds"] for row in rows if row["outcome"] == "run"]
    seconds, unknown = sum(filter(None, expected)), expected.count(None)
    saved = sum(row["seconds_saved"] for row in rows)
    words = (
        f"{counts['run']} to run, {counts['cached']} cached, {counts['not_needed']} not needed; {in_words(seconds)} expected"
    )
    words += f", and {unknown} that never ran before" if unknown else ""
    times = {"expected_seconds": seconds, "seconds_saved": saved, "never_ran": unknown}
    return {**counts, **times, "summary": f"{words}, {in_words(saved)} saved"}
