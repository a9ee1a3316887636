"""``plan``: what a run would do now."""

from __future__ import annotations

import argparse
from typing import Any

from airflow_kart.audit.forecast import Expected, forecast
from airflow_kart.cli.output import MACHINES, show, show_document
from airflow_kart.cli.pipeline import Pipeline, named_in
from airflow_kart.cli.pipelines import pipelines, shown
from airflow_kart.cli.workspace import ANSWER_IS_NO
from airflow_kart.parameters.label import label
from airflow_kart.runtime.outcome import Outcome
from airflow_kart.runtime.tally import in_words
from airflow_kart.storage.workspace import Workspace

_PATIENCE = 5.0
"""Seconds for the search of causes."""
_MOST_ROOTS = 10
_ORDER = (Outcome.RUN, Outcome.CACHED, Outcome.NOT_NEEDED)


def show_plan(workspace: Workspace, arguments: argparse.Namespace) -> int:
    """Print what a run would do now; return 3 if a task would run, else 0."""
    found, warnings, told = pipelines(workspace, arguments), list[str](), list[tuple[Expected, Pipeline]]()
    again = [named for name in arguments.rerun or () for named in named_in(found, name)]
    for pipeline in found:
        with pipeline.workspace:
            plan = pipeline.plan(unique_id for of, unique_id in again if of is pipeline)
            told += [(one, pipeline) for one in forecast(plan, _PATIENCE)]
            warnings += [*plan.changed_code(), *plan.made_elsewhere()]
    told.sort(key=lambda each: _ORDER.index(each[0].planned.outcome))
    if unexplained := sum(one.planned.outcome is Outcome.RUN and one.why is None for one, _ in told):
        warnings.append(f"the search for causes took too long for {unexplained:,} tasks; ask: why TASK --in PIPELINE")
    summary = _summary([one for one, _ in told])
    if arguments.output in MACHINES:
        tasks = [_facts(one, pipeline) for one, pipeline in told]
        show_document(
            {"pipeline": shown(arguments.pipeline), "tasks": tasks, "warnings": warnings, **summary}, arguments.output
        )
    else:
        first = told[: arguments.most or None]
        show([_row(one, pipeline) for one, pipeline in first], arguments.output, right=["expected"])
        if len(told) > len(first):
            print(f"and {len(told) - len(first):,} more; -n 0 lists all")
        print("\n".join([*warnings, summary["summary"]]))
    return ANSWER_IS_NO if summary["run"] else 0


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
        "uris": [artifact.uri for artifact in planned.artifacts or pipeline.graph.nodes[task.unique_id].targets],
    }


def _row(one: Expected, pipeline: Pipeline) -> dict[str, Any]:
    runs = one.planned.outcome is Outcome.RUN
    return {
        "task": pipeline.task_ids.get(one.task.unique_id) or type(one.task).__name__,
        "plan": one.planned.outcome.value.replace("_", " "),
        "values": label(one.task),
        "expected": "" if not runs else "unknown" if one.seconds is None else in_words(one.seconds),
        "why": one.reason,
    }


def _summary(told: list[Expected]) -> dict[str, Any]:
    """Return the numbers of tasks and seconds, and a line with them."""
    counts = {outcome.value: sum(one.planned.outcome is outcome for one in told) for outcome in _ORDER}
    expected = [one.seconds for one in told if one.planned.outcome is Outcome.RUN]
    seconds, unknown = sum(filter(None, expected)), expected.count(None)
    saved = sum(one.planned.seconds for one in told)
    words = (
        f"{counts['run']} to run, {counts['cached']} cached, {counts['not_needed']} not needed; {in_words(seconds)} expected"
    )
    words += f", and {unknown} that never ran before" if unknown else ""
    times = {"expected_seconds": seconds, "seconds_saved": saved, "never_ran": unknown}
    return {**counts, **times, "summary": f"{words}, {in_words(saved)} saved"}
