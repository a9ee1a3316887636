"""The tasks of a run as rows: outcome, reason with links, values, seconds, bytes. Table, graph and pages of tasks show these."""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from airflow_kart.artifacts.state import NO_ARTIFACT
from airflow_kart.exceptions import KartError
from airflow_kart.locks import Holder, locks_for
from airflow_kart.plugin.airflow_runs import Instance, KartRun
from airflow_kart.plugin.words import (
    OUTCOMES,
    Link,
    Words,
    arrows,
    cut,
    moment,
    run_href,
    run_words,
    seconds_text,
    task_href,
)
from airflow_kart.runtime.outcome import NOT_IN_GRAPH
from airflow_kart.storage.workspace import Workspace

_OF_STATES = {
    "failed": "failed",
    "upstream_failed": "failed",
    "running": "running",
    "deferred": "waiting",
    "up_for_reschedule": "waiting",
    "up_for_retry": "waiting",
}
_TO_COME = (None, "scheduled", "queued", "restarting")
_REUSED = ("cached", "reused")
_BY_HAND = "somebody marked it as {} in Airflow"
_MOST_LOOKS = 20
"""Locks that a page looks at; each may cost a request."""
_LARGEST = 1e18
_MOST_NAMED = 3
_MADE_BY = re.compile(r"(made \S+ \S+ UTC by )(\S+) ([^\s,]+)(.*)", re.DOTALL)


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
    state: str | None = None
    """In Airflow."""
    reason: str = ""
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
    def why_href(self) -> str:
        """The address of the chain of causes."""
        return _below(self.href, "why")

    @property
    def again_href(self) -> str:
        """Where a form asks for another run."""
        return again_href(self.href)

    @property
    def text(self) -> str:
        """What a filter looks in."""
        words = "".join(one if isinstance(one, str) else one.text for one in self.why)
        return f"{self.name} {self.label} {OUTCOMES[self.outcome][1]} {words}".lower()


def again_href(href: str) -> str:
    """Return where a form asks for another run of a task instance with a page."""
    return _below(href, "again")


def _below(href: str, name: str) -> str:
    path, mark, asked = href.partition("?")
    return f"{path}/{name}{mark}{asked}"


def rows_of(run: KartRun, base: str) -> list[TaskRow]:
    """Return the tasks of a run that make artifacts, those that need a person first, else in the order of the graph.

    Args:
        run: the run.
        base: the path of the pages.
    """
    known = dict.fromkeys([*run.structure.makers, *run.plan])  # a database may keep the plan in another order
    rows = [row_of(run, base, task_id, one) for task_id in known for one in run.indexes.get(task_id, [-1])]
    order = list(OUTCOMES)
    return sorted(rows, key=lambda row: order.index(row.outcome))


def row_of(run: KartRun, base: str, task_id: str, map_index: int = -1) -> TaskRow:
    """Return one task of a run."""
    planned, result = run.plan.get(task_id, {}), run.results.get((task_id, map_index), {})
    instance = run.instances.get((task_id, map_index))
    outcome, reason = _outcome(run, task_id, map_index)
    seconds, size = (number_of(run.reported(name, task_id)) for name in ("seconds", "bytes"))
    seconds = number_of(result.get("seconds", planned.get("seconds"))) if seconds is None else seconds
    artifacts = [one for one in _list(result.get("artifacts")) if isinstance(one, Mapping)]
    if size is None:
        size = sum(number_of(one.get("bytes")) or 0 for one in artifacts) if artifacts else number_of(planned.get("bytes"))
    if outcome == "failed" and instance is not None and instance.started and instance.ended:
        seconds = (instance.ended - instance.started).total_seconds()
    return TaskRow(
        task_id,
        map_index,
        task_href(base, run.dag_id, run.run_id, task_id, map_index),
        outcome,
        cut(planned.get("label") or (instance.note if instance is not None else "")),
        list(_why(run, base, task_id, instance, (outcome, reason))),
        instance.state if instance is not None else None,
        reason,
        str(planned.get("class") or ""),
        planned.get("older_code") is True and outcome in _REUSED,
        seconds if outcome in ("ran", "failed") else None,
        seconds if outcome in _REUSED else None,
        None if size is None else int(size),
        str(result.get("unique_id") or planned.get("unique_id") or ""),
        tuple(str(one.get("uri")) for one in artifacts) or tuple(map(str, _list(planned.get("uris")))),
    )


def _outcome(run: KartRun, task_id: str, map_index: int = -1) -> tuple[str, str]:
    """Return outcome and reason: by the state of now, else by what the task or the report said, else by the plan.

    A result or a report that the state of now contradicts is about an earlier try, or a person has set the state since. Mapped
    task instances together have the outcome of the one that needs a person first.
    """
    indexes = run.indexes.get(task_id, [-1])
    if map_index not in indexes and indexes != [-1]:
        found = Counter(_outcome(run, task_id, one)[0] for one in indexes)
        parts = [f"{found[one]:,} {word}" for one, (_, word) in OUTCOMES.items() if one in found]
        return next(one for one in OUTCOMES if one in found), f"{len(indexes):,} task instances: {', '.join(parts)}"
    instance, planned = run.instances.get((task_id, map_index)), run.plan.get(task_id, {})
    result, said = run.results.get((task_id, map_index), {}), run.said.get(task_id, ("", ""))
    state, tries = (instance.state, instance.try_number) if instance is not None else (None, 1)
    told = [(str(result.get("outcome")), result.get("reason")), said]
    if state == "failed":
        by_hand = tries == 0 or any(outcome in ("ran", *_REUSED) for outcome, _ in told)
        return "failed", _BY_HAND.format("failed") if by_hand else f"its run failed at try {tries}; the log says why"
    if state in _OF_STATES:
        return _OF_STATES[state], said[1] or str(planned.get("reason") or "")
    if state == "success" and ((tries == 0 and not result) or said[0] == "failed"):
        return "skipped", _BY_HAND.format("success")
    for outcome, reason in [*([] if state in _TO_COME else told), (str(planned.get("outcome")), planned.get("reason"))]:
        if outcome in OUTCOMES and not (outcome in ("run", "failed") and state in ("success", "skipped", "removed")):
            return outcome, str(reason or "")
    return {"success": "ran", "skipped": "skipped", "removed": "skipped"}.get(state or "", "run"), ""


def _why(run: KartRun, base: str, task_id: str, instance: Instance | None, found: tuple[str, str]) -> Iterator[str | Link]:
    """Return the reason of an outcome in words with links."""
    (outcome, reason), planned = found, run.plan.get(task_id, {})
    state = instance.state if instance is not None else None
    others = run.structure.downstream(task_id)
    if outcome == "not_needed" and others and reason != NOT_IN_GRAPH:
        words = " or ".join(sorted({OUTCOMES[_outcome(run, one)[0]][1] for one in others}))
        one = len(others) == 1
        told = f" {'reads' if one else 'read'} it, and {'that is' if one else 'these are'} {words}"
        yield from _links(run, base, "only ", others, told)
    elif instance is None and task_id in run.indexes:
        yield reason
    elif outcome == "failed" and state != "failed":
        failed = [one for one in run.structure.upstream(task_id) if _outcome(run, one)[0] == "failed"]
        failed = [*_failed_before(run, task_id), *failed]
        yield from _links(run, base, "it needs ", failed, ", which failed") if failed else [cut(reason)]
    elif outcome == "failed":
        yield reason
    elif outcome == "waiting":
        yield "it failed, and tries again soon" if state == "up_for_retry" else "another run is making it"
    elif outcome == "running":
        since = instance.started if instance is not None else None
        yield f"since {since.astimezone(dt.timezone.utc):%H:%M:%S}: " if since else ""
        yield cut(arrows(str(planned.get("why", reason))))
    elif "why" in planned and outcome != "skipped" and reason in ("", NO_ARTIFACT):
        yield cut(arrows(str(planned["why"])))
    elif reason == NO_ARTIFACT and outcome == "ran":
        yield "no artifact was there for its values"
    else:
        yield from _made_by(run, base, reason)


def _failed_before(run: KartRun, task_id: str) -> list[str]:
    """Return the failed tasks upstream that make no artifact, with none between that makes one."""
    found: dict[str, bool] = {}
    pending = run.structure.before(task_id)
    while pending:
        one = pending.pop()
        states = {run.instances[one, index].state for index in run.indexes.get(one, ())}
        if one not in found and "upstream_failed" in states:
            pending += run.structure.before(one)
        found[one] = "failed" in states
    return [one for one, has_failed in found.items() if has_failed]


def failed_besides(run: KartRun, base: str, rows: Collection[TaskRow]) -> list[Link]:
    """Return the failed tasks that make no artifact, without reports, which fail where another task did."""
    failed = dict.fromkeys(one.task_id for one in run.instances.values() if one.state == "failed")
    makers = {row.task_id for row in rows}
    reports = {node.task_id for node in run.structure.nodes.values() if node.kind == "report"}
    found = [one for one in failed if one not in makers and one not in reports] or (
        [] if makers & set(failed) else list(failed)
    )
    return [_link(run, base, one) for one in found]


def _link(run: KartRun, base: str, task_id: str) -> Link:
    """Return the link to a task: where the task has no page here, to Airflow's own."""
    has_page = task_id in run.plan or task_id in run.structure.makers
    return Link(task_id, task_href(base if has_page else base.removesuffix("/kart"), run.dag_id, run.run_id, task_id))


def maker_of(reason: str) -> tuple[str, str] | None:
    """Return the DAG and the run that a reason names as the maker of an artifact."""
    found = _MADE_BY.match(reason)
    return (found[2], found[3]) if found is not None else None


def _made_by(run: KartRun, base: str, reason: str) -> Iterator[str | Link]:
    """Return a reason, the run that it names as a link."""
    found = _MADE_BY.match(reason)
    if found is None:
        yield cut(reason)
        return
    before, dag_id, run_id, after = found.groups()
    if dag_id != run.dag_id and not run.may(dag_id):
        yield f"{before}a run of a DAG that you may not read{cut(after)}"
        return
    words = "this run" if (dag_id, run_id) == (run.dag_id, run.run_id) else run_words(run_id)
    yield before
    yield Link(words if dag_id == run.dag_id else f"{cut(dag_id, 60)}, {words}", run_href(base, dag_id, run_id))
    yield cut(after)


def _links(run: KartRun, base: str, before: str, task_ids: list[str], after: str) -> Iterator[str | Link]:
    for number, one in enumerate(task_ids[:_MOST_NAMED]):
        yield ", " if number else before
        yield _link(run, base, one)
    more = len(task_ids) - _MOST_NAMED
    yield f"{f' and {more:,} more' if more > 0 else ''}{after}"


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


def sums_of(rows: Collection[TaskRow]) -> dict[str, tuple[int, float, int]]:
    """Return number, seconds and bytes of each outcome that there is, in the order of rows."""
    found = {outcome: [row for row in rows if row.outcome == outcome] for outcome in OUTCOMES}
    return {
        outcome: (len(own), sum(row.took or row.saved or 0.0 for row in own), sum(row.bytes or 0 for row in own))
        for outcome, own in found.items()
        if own
    }


def summary_of(rows: Collection[TaskRow]) -> str:
    """Return a line: ``7 ran, 7 cached, 14 not needed; 5.9 s computed, 4.6 s saved``."""
    sums = sums_of(rows)
    counts = ", ".join(f"{count:,} {OUTCOMES[outcome][1]}" for outcome, (count, _, _) in sums.items())
    computed, saved = (sum(sums[one][1] for one in ones if one in sums) for ones in (("ran",), _REUSED))
    return f"{counts or 'No task'}; {seconds_text(computed)} computed, {seconds_text(saved)} saved"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def number_of(value: Any) -> float | None:
    """Return a number of a document of which nothing is sure; ``None`` for all else."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < _LARGEST else None  # which no NaN is, nor an infinity
