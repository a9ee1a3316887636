"""The one way to run one task: decide, check inputs, seed, run, publish, record.

``build()``, ``airflow tasks test`` and a worker all come through here. A task whose ``run()`` asks for more tasks has
them made here too, in the midst of its own run.
"""

from __future__ import annotations

import datetime as dt
import logging
import sys
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_kart.artifacts.publication import Publication
from airflow_kart.artifacts.sidecar.environment import peak_memory_bytes
from airflow_kart.artifacts.sidecar.source import source_of
from airflow_kart.artifacts.target import Target
from airflow_kart.exceptions import CycleError, MissingInputError, OutputNotDumpedError, RequirementError
from airflow_kart.locks import Hold
from airflow_kart.runtime.log_tail import LogTail
from airflow_kart.runtime.plan import Outcome, Plan, make_plan, planned_for
from airflow_kart.runtime.progress import SILENT, Event, Watcher
from airflow_kart.runtime.seed import seeded
from airflow_kart.runtime.single_flight import IN_TURN, Turns
from airflow_kart.tasks.graph import Graph
from airflow_kart.tasks.kinds import ExternalTask
from airflow_kart.tasks.nesting import KeyPath, NotALeafError, describe_path, leaves, map_leaves
from airflow_kart.tasks.outputs import needed_targets, targets_of
from airflow_kart.tasks.provenance import upstream_part
from airflow_kart.tasks.task import TaskOnKart

__all__ = ["RunResult", "make_all", "run_task"]

logger = logging.getLogger(__name__)

HowToMake = Callable[[TaskOnKart[Any]], str]


@dataclass(frozen=True)
class RunResult:
    """What came of one task."""

    outcome: Outcome
    reason: str
    seconds: float
    """How long the task ran, or for a cached one how long it ran when it did."""
    targets: tuple[Target, ...]


def run_task(
    task: TaskOnKart[Any],
    *,
    force: bool = False,
    coordinates: Mapping[str, Any] | None = None,
    how_to_make: HowToMake | None = None,
    asked_by: tuple[TaskOnKart[Any], ...] = (),
    planned: bool = False,
    turns: Turns = IN_TURN,
    watcher: Watcher = SILENT,
) -> RunResult:
    """Run one task, unless its outputs are complete, or another run is at it: then those are waited for.

    Args:
        task: the task. What it requires is read, never made here.
        force: run even where the outputs are complete; they stay readable until the new ones are.
        coordinates: where in Airflow this happens, for the sidecar.
        how_to_make: says how to make a missing input, for the error that lists it.
        asked_by: the tasks in the midst of whose runs this one runs, the outermost first.
        planned: whether a plan said just now that it has to run, so that nothing below it needs to be asked again.
        turns: how it gets its turn, where others may be making the task.
        watcher: is told what happens to it.

    Raises:
        LockError: its turn was not to be had, or was lost.
        MissingInputError: an input is not there.
        OutputNotDumpedError: ``run()`` ended without dumping an output.
        Exception: whatever ``run()`` raises. Nothing is published then.
    """
    targets = tuple(target for _, target in targets_of(task))
    if isinstance(task, ExternalTask) or task.is_wrapper:  # nothing is made here, nor can it be made again
        found = planned_for(task, itself_only=planned)
        if found.outcome is not Outcome.CACHED:
            _input_checksums(task, how_to_make)
            if not task.is_wrapper:
                task.run()  # says that it is made elsewhere
        return RunResult(Outcome.CACHED, found.reason, found.seconds, targets)
    if not (force or planned):
        found = planned_for(task)
        if found.outcome is Outcome.CACHED:
            return RunResult(Outcome.CACHED, found.reason, found.seconds, targets)
    with turns.at(task, coordinates, watcher) as hold:
        reason = "asked to run again"
        if not force:  # looked at again: another run may have made it in the meantime
            found = planned_for(task, itself_only=planned)
            if found.outcome is Outcome.CACHED:
                watcher.happens(Event("cached", task.unique_id, repr(task), found.reason))
                return RunResult(Outcome.CACHED, found.reason, found.seconds, targets)
            reason = found.reason
        watcher.happens(Event("runs", task.unique_id, repr(task), reason))
        try:
            checksums = _input_checksums(task, how_to_make)
            result = _make(task, targets, reason, hold, checksums=checksums, coordinates=coordinates, asked_by=asked_by)
        except BaseException as error:
            watcher.happens(Event("failed", task.unique_id, repr(task), f"{type(error).__name__}: {error}"))
            raise
        watcher.happens(Event("ran", task.unique_id, repr(task)))
        return result


def _make(
    task: TaskOnKart[Any],
    targets: tuple[Target, ...],
    reason: str,
    hold: Hold,
    *,
    checksums: Mapping[str, str],
    coordinates: Mapping[str, Any] | None,
    asked_by: tuple[TaskOnKart[Any], ...],
) -> RunResult:
    """Call ``run()``, and publish what it dumped; ``checksums`` are those of its inputs."""
    source_of(type(task))  # read now and remembered: the file may be edited while the task runs
    logger.info("%r runs: %s", task, reason)
    task.task_log.clear()
    with Publication({target.uri: target.store for target in targets}) as publication, LogTail() as tail:
        publication.input_checksums.update(checksums)
        started, clock = dt.datetime.now(dt.timezone.utc), time.perf_counter()
        try:
            with seeded(task) as seed:
                yielded = _run(task, coordinates, asked_by)
            _require_outputs(task, publication)
        except Exception as error:
            _note(error, f"while running {task!r} (unique id {task.unique_id})")
            raise
        seconds = time.perf_counter() - clock
        described = task.describe(publication.input_checksums)
        described["upstream"] += [
            upstream_part(path, required, publication.input_checksums, dynamic=True) for path, required in yielded
        ]
        hold.check()
        publication.publish(
            {
                **described,
                "run": {
                    "started_at": started.isoformat(),
                    "finished_at": dt.datetime.now(dt.timezone.utc).isoformat(),
                    "seconds": seconds,
                    "reason": reason,
                    "seed": seed,
                    "peak_memory_bytes": peak_memory_bytes(),
                },
                "airflow": dict(coordinates) if coordinates else None,
                "log_tail": tail.lines,
            }
        )
    done = "left the artifacts of another run in place:" if publication.adopted else "published"
    logger.info("%r ran in %.2f s and %s %s", task, seconds, done, ", ".join(target.uri for target in targets))
    return RunResult(Outcome.RAN, reason, seconds, targets)


def make_all(
    plan: Plan,
    *,
    coordinates: Mapping[str, Any] | None = None,
    except_for: Collection[str] = (),
    asked_by: tuple[TaskOnKart[Any], ...] = (),
    turns: Turns = IN_TURN,
    watcher: Watcher = SILENT,
) -> list[RunResult]:
    """Run what a plan says has to run, here and one after the other.

    Args:
        plan: what happens to each task.
        coordinates: where in Airflow this happens, for the sidecars.
        except_for: unique ids of tasks that somebody else runs.
        asked_by: the tasks in the midst of whose runs this happens, the outermost first.
        turns: how they get their turns, where others may be making them.
        watcher: is told what happens to them.
    """
    return [
        run_task(
            node.task,
            force=plan.tasks[node.unique_id].forced,
            coordinates=coordinates,
            asked_by=asked_by,
            planned=True,
            turns=turns,
            watcher=watcher,
        )
        for node in plan.with_outcome(Outcome.RUN)
        if node.unique_id not in except_for
    ]


def _run(
    task: TaskOnKart[Any], coordinates: Mapping[str, Any] | None, asked_by: tuple[TaskOnKart[Any], ...]
) -> list[tuple[KeyPath, TaskOnKart[Any]]]:
    """Call ``run()``, make what it asks for on its way, and return that with its keys.

    What fails on the way is raised where ``run()`` asked for it, so that it may go on without.

    Raises:
        RequirementError: it asked for something that is not a task.
        CycleError: it asked for something that needs the task itself.
    """
    running = task.run()
    if not isinstance(running, Iterator):
        return []
    asked: list[tuple[KeyPath, TaskOnKart[Any]]] = []
    outputs: Any = None
    failure: Exception | None = None
    while True:
        try:
            if not isinstance(running, Generator):
                wanted = next(running)
            else:
                wanted = running.send(outputs) if failure is None else running.throw(failure)
        except StopIteration:
            return asked
        outputs = failure = None
        try:
            found = _make_asked(wanted, coordinates, (*asked_by, task))
            outputs = map_leaves(lambda required: required.output(), wanted, TaskOnKart)
            asked += [((len(asked), *path), required) for path, required in found]
        except Exception as error:
            if not isinstance(running, Generator):
                raise
            failure = error


def _make_asked(
    wanted: Any, coordinates: Mapping[str, Any] | None, asked_by: tuple[TaskOnKart[Any], ...]
) -> list[tuple[KeyPath, TaskOnKart[Any]]]:
    """Make what a ``run()`` asked for; return the tasks with their keys. The last of ``asked_by`` is the one that asks."""
    try:
        found = list(leaves(wanted, TaskOnKart))
    except NotALeafError as error:
        raise RequirementError(
            f"{asked_by[-1]!r}.run() yielded {error}, which is not a task; yield tasks, or dicts, lists and tuples of tasks"
        ) from None
    plan = make_plan(Graph.of([required for _, required in found]))
    unfinished = {task.unique_id for task in asked_by}
    for node in plan.with_outcome(Outcome.RUN):
        if node.unique_id in unfinished:
            raise CycleError(
                f"{asked_by[-1]!r}.run() yielded what needs {node.task!r}, which has not ended yet: it waits for what it asked "
                "for; take one of these requirements away"
            )
    plan.begin_reruns()
    make_all(plan, coordinates=coordinates, asked_by=asked_by)
    return found


def _input_checksums(task: TaskOnKart[Any], how_to_make: HowToMake | None) -> dict[str, str]:
    """Return the checksums of the artifacts a task reads, by uri, as far as sidecars tell them.

    Raises:
        MissingInputError: some are not there; the message lists each with its uri and how to make it.
    """
    checksums: dict[str, str] = {}
    missing: list[str] = []
    count = 0
    for path, required, target in needed_targets(task):
        state = target.state()
        if state.readable:
            if state.sha256 is not None:
                checksums[target.uri] = state.sha256
            continue
        count += 1
        missing.append(f"  {describe_path(path)} {required!r}\n    at {target.uri}: {state.reason}")
        if how_to_make is not None:
            missing.append(f"    make it with: {how_to_make(required)}")
    if missing:
        raise MissingInputError(f"{task!r} needs {count} input(s) that are not there:\n" + "\n".join(missing))
    return checksums


def _note(error: Exception, text: str) -> None:
    """Add a line to an error's traceback, where Python can (from 3.11 on)."""
    if sys.version_info >= (3, 11):
        error.add_note(text)


def _require_outputs(task: TaskOnKart[Any], publication: Publication) -> None:
    if publication.missing:
        raise OutputNotDumpedError(
            f"{task!r}.run() ended without dumping {', '.join(publication.missing)}; call self.dump(...) for every output, "
            "in the thread that run() is called in"
        )
