"""The tasks of a run as rows: outcome, reason with links, values, seconds, bytes. Table, graph and pages of tasks show these."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from airflow_kart.artifacts.state import NO_ARTIFACT
from airflow_kart.exceptions import KartError
from airflow_kart.locks import Holder, locks_for
from airflow_kart.plugin.airflow_runs import Instance, KartRun
from airflow_kart.plugin.words import OUTCOMES, Link, Words, cut, moment, run_href, run_words, seconds_text, task_href
from airflow_kart.storage.workspace import Workspace

_OF_STATES = {
    "failed": "failed",
    "upstream_failed": "failed",
    "running": "running",
    "deferred": "waiting",
    "up_for_reschedule": "waiting",
    "up_for_retry": "waiting",
}
_MOST_LOOKS = 20
"""Locks that a page looks at; each may cost a request."""
_MOST_NAMED = 3


@dataclass(frozen=True)
class TaskRow:
    """A task of a run."""

    task_id: str
    map_index: int
    href: str
    outcome: str
    """A key of :data:`~airflow_kart.plugin.words.OUTCOMES`."""
    label: str
    why: Words
    task_class: str = ""
    older_code: bool = False
    took: float | None = None
    saved: float | None = None
    bytes: int | None = None
    unique_id: str = ""
    uris: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The task id, of a mapped task instance with its index."""
        return self.task_id if self.map_index < 0 else f"{self.task_id} [{self.map_index}]"

    @property
    def text(self) -> str:
        """What a filter looks in."""
        words = "".join(one if isinstance(one, str) else one.text for one in self.why)
        return f"{self.name} {self.label} {OUTCOMES[self.outcome][1]} {words}".lower()


def rows_of(run: KartRun, base: str) -> list[TaskRow]:
    """Return the tasks of a run that make artifacts, those that need a person first, else in the order of the graph.

    Args:
        run: the run.
        base: the path of the pages.
    """
    asked = _Rows(run, base)
    known = dict.fromkeys([*run.plan, *run.structure.makers])
    by_task: dict[str, list[int]] = {}
    for task_id, map_index in run.instances:
        by_task.setdefault(task_id, []).append(map_index)
    rows = [asked.row(task_id, one) for task_id in known for one in sorted(by_task.get(task_id, [-1]))]
    order = list(OUTCOMES)
    return sorted(rows, key=lambda row: order.index(row.outcome))


def row_of(run: KartRun, base: str, task_id: str, map_index: int = -1) -> TaskRow:
    """Return one task of a run."""
    return _Rows(run, base).row(task_id, map_index)


class _Rows:
    def __init__(self, run: KartRun, base: str) -> None:
        self._run = run
        self._base = base
        self._outcomes: dict[str, str] = {}

    def row(self, task_id: str, map_index: int) -> TaskRow:
        run = self._run
        planned = run.plan.get(task_id, {})
        result = run.results.get((task_id, map_index), {})
        instance = run.instances.get((task_id, map_index))
        outcome, reason = self._outcome(task_id, instance, planned, result)
        row = TaskRow(
            task_id,
            map_index,
            task_href(self._base, run.dag_id, run.run_id, task_id, map_index),
            outcome,
            cut(str(planned.get("label") or (instance.note if instance is not None else ""))),
            [],
            str(planned.get("class") or ""),
            planned.get("older_code") is True and outcome in ("cached", "reused"),
            unique_id=str(result.get("unique_id") or planned.get("unique_id") or ""),
            uris=_uris(result, planned),
        )
        row = self._with_numbers(row, planned, result, instance)
        return replace(row, why=list(self._why(row, reason, planned, instance)))

    def _outcome(
        self, task_id: str, instance: Instance | None, planned: Mapping[str, Any], result: Mapping[str, Any]
    ) -> tuple[str, str]:
        """Return outcome and reason: by the state of now, else by what the task or the report said, else by the plan."""
        state = instance.state if instance is not None else ""
        said = self._run.said.get(task_id, ("", ""))
        if state in _OF_STATES:
            return _OF_STATES[state], said[1] or str(planned.get("reason") or "")
        for outcome, reason in (
            (result.get("outcome"), result.get("reason")),
            said,
            (planned.get("outcome"), planned.get("reason")),
        ):
            if outcome in OUTCOMES and not (outcome == "run" and state in ("success", "skipped")):
                return str(outcome), str(reason or "")
        return {"success": "ran", "skipped": "skipped"}.get(state, "run"), ""

    def _plain_outcome(self, task_id: str) -> str:
        if task_id not in self._outcomes:
            run = self._run
            found = self._outcome(
                task_id, run.instances.get((task_id, -1)), run.plan.get(task_id, {}), run.results.get((task_id, -1), {})
            )
            self._outcomes[task_id] = found[0]
        return self._outcomes[task_id]

    def _with_numbers(
        self, row: TaskRow, planned: Mapping[str, Any], result: Mapping[str, Any], instance: Instance | None
    ) -> TaskRow:
        report = self._run.report or {}
        seconds, size = (_of(report.get(name), row.task_id) for name in ("seconds", "bytes"))
        seconds = _number(result.get("seconds")) if seconds is None else seconds
        if size is None and (artifacts := result.get("artifacts")):
            size = sum(int(_number(one.get("bytes")) or 0) for one in artifacts if isinstance(one, Mapping))
        size = _number(planned.get("bytes")) if size is None else size
        row = replace(row, bytes=None if size is None else int(size))
        if row.outcome == "ran":
            return replace(row, took=seconds)
        if row.outcome in ("cached", "reused"):
            return replace(row, saved=_number(planned.get("seconds")) if seconds is None else seconds)
        if row.outcome == "failed" and instance is not None and instance.started and instance.ended:
            return replace(row, took=(instance.ended - instance.started).total_seconds())
        return row

    def _why(self, row: TaskRow, reason: str, planned: Mapping[str, Any], instance: Instance | None) -> Iterator[str | Link]:
        """Return the reason of an outcome in words with links."""
        state = instance.state if instance is not None else ""
        if row.outcome == "not_needed":
            yield from self._readers(row.task_id, reason)
        elif row.outcome == "failed" and state != "failed":
            failed = [one for one in self._run.structure.upstream(row.task_id) if self._plain_outcome(one) == "failed"]
            yield from self._links("it needs ", failed, " which failed") if failed else [cut(reason)]
        elif row.outcome == "failed":
            yield f"its run failed at try {instance.try_number if instance is not None else 1}; the log says why"
        elif row.outcome == "waiting":
            yield "it failed, and tries again soon" if state == "up_for_retry" else "another run is making it"
        elif row.outcome == "running":
            since = instance.started if instance is not None else None
            yield "since " + since.astimezone(dt.timezone.utc).strftime("%H:%M:%S") if since else ""
            yield f": {cut(str(planned.get('why', reason)))}" if reason else ""
        elif "why" in planned and reason in ("", NO_ARTIFACT):
            yield cut(str(planned["why"]).replace(" -> ", " → "))
        else:
            yield from self._made_by(reason, planned)

    def _made_by(self, reason: str, planned: Mapping[str, Any]) -> Iterator[str | Link]:
        """Return a reason, the run that it names as a link."""
        made_by = planned.get("made_by")
        if isinstance(made_by, list) and len(made_by) == 2:
            dag_id, run_id = map(str, made_by)
            before, named, after = reason.partition(f"by {dag_id} {run_id}")
            if named:
                here = (dag_id, run_id) == (self._run.dag_id, self._run.run_id)
                words = "this run" if here else run_words(run_id)
                yield f"{before}by "
                yield Link(
                    words if dag_id == self._run.dag_id else f"{cut(dag_id, 60)}, {words}",
                    run_href(self._base, dag_id, run_id),
                )
                yield cut(after)
                return
        yield cut(reason)

    def _readers(self, task_id: str, reason: str) -> Iterator[str | Link]:
        readers = self._run.structure.downstream(task_id)
        if not readers:
            yield cut(reason)
            return
        words = {OUTCOMES[self._plain_outcome(one)][1] for one in readers}
        told = f", and {'that is' if len(readers) == 1 else 'these are'} {' or '.join(sorted(words))}"
        yield from self._links("only ", readers, f" {'reads' if len(readers) == 1 else 'read'} it{told}")

    def _links(self, before: str, task_ids: Collection[str], after: str) -> Iterator[str | Link]:
        shown = list(task_ids)[:_MOST_NAMED]
        for number, one in enumerate(shown):
            yield before if number == 0 else ", "
            yield Link(one, task_href(self._base, self._run.dag_id, self._run.run_id, one))
        more = len(task_ids) - len(shown)
        yield f"{f' and {more:,} more' if more else ''}{',' if after.startswith(' which') else ''}{after}"


def with_holders(rows: list[TaskRow], workspace: Workspace | None, base: str, may: Callable[[str], bool]) -> list[TaskRow]:
    """Return rows of which the waiting ones say for whom they wait, as far as the locks tell in a few looks.

    Args:
        rows: the rows.
        workspace: of the run.
        base: the path of the pages.
        may: whether the user may read a DAG.
    """
    waiting = [row for row in rows if row.outcome == "waiting" and row.unique_id][:_MOST_LOOKS]
    if workspace is None or not waiting:
        return rows
    told: dict[tuple[str, int], Words] = {}
    try:
        locks = locks_for(workspace)
        for row in waiting:
            taken = locks.look(row.unique_id)
            if taken is not None and taken.holder is not None:
                told[row.task_id, row.map_index] = _holder_words(taken.holder, base, may)
    except (KartError, OSError):
        return rows
    return [replace(row, why=told.get((row.task_id, row.map_index), row.why)) for row in rows]


def _holder_words(holder: Holder, base: str, may: Callable[[str], bool]) -> Words:
    dag_id, run_id, task_id = (str((holder.airflow or {}).get(name) or "") for name in ("dag_id", "run_id", "task_id"))
    since = f", on {cut(holder.host, 80)} since {moment(holder.since)} UTC"
    if not dag_id:
        return [f"waits for process {holder.process}{since}"]
    if not may(dag_id):
        return ["waits for a run of a DAG that you may not read"]
    return ["waits for ", Link(f"{cut(dag_id, 60)}, {run_words(run_id)}", task_href(base, dag_id, run_id, task_id)), since]


def sums_of(rows: Collection[TaskRow]) -> dict[str, tuple[int, float]]:
    """Return number and seconds of each outcome that there is, in the order of rows."""
    found: dict[str, tuple[int, float]] = {}
    for outcome in OUTCOMES:
        own = [row for row in rows if row.outcome == outcome]
        if own:
            found[outcome] = len(own), sum(row.took or row.saved or 0.0 for row in own)
    return found


def summary_of(rows: Collection[TaskRow]) -> str:
    """Return a line: ``7 ran, 7 cached, 14 not needed; 5.9 s computed, 4.6 s saved``."""
    sums = sums_of(rows)
    counts = ", ".join(f"{count:,} {OUTCOMES[outcome][1]}" for outcome, (count, _) in sums.items())
    computed, saved = sums.get("ran", (0, 0.0))[1], sum(row.saved or 0.0 for row in rows)
    return f"{counts or 'No task'}; {seconds_text(computed)} computed, {seconds_text(saved)} saved"


def _uris(result: Mapping[str, Any], planned: Mapping[str, Any]) -> tuple[str, ...]:
    artifacts = result.get("artifacts")
    found = [one.get("uri") for one in artifacts if isinstance(one, Mapping)] if isinstance(artifacts, list) else []
    uris = found or planned.get("uris") or []
    return tuple(one for one in uris if isinstance(one, str)) if isinstance(uris, list) else ()


def _of(values: Any, task_id: str) -> float | None:
    return _number(values.get(task_id)) if isinstance(values, Mapping) else None


def _number(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
