"""The one way to run one task: decide, check inputs, seed, run, publish, record.

``build()``, ``airflow tasks test`` and a worker all come through here. A task whose ``run()`` asks for more tasks has
them made here too, in the midst of its own run.
"""

from __future__ import annotations

import datetime as dt
import logging
import sys
import time
from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any

from airflow_kart.artifacts.publication import Publication
from airflow_kart.artifacts.sidecar.environment import peak_memory_bytes
from airflow_kart.artifacts.sidecar.source import source_of
from airflow_kart.artifacts.staged import sidecar_versions
from airflow_kart.artifacts.state import NO_ARTIFACT
from airflow_kart.artifacts.target import Target
from airflow_kart.exceptions import CycleError, OutputNotDumpedError, RequirementError
from airflow_kart.runtime.inputs import inputs_of
from airflow_kart.runtime.log_tail import LogTail
from airflow_kart.runtime.outcome import REUSED, Outcome
from airflow_kart.runtime.plan import ASKED_AGAIN, Plan, make_plan
from airflow_kart.runtime.progress import Event, Listener
from airflow_kart.runtime.result import RunResult
from airflow_kart.runtime.reuse import Making
from airflow_kart.runtime.seed import States, seeded
from airflow_kart.runtime.session import Session
from airflow_kart.runtime.single_flight import TakenElsewhere, holding, whereabouts
from airflow_kart.runtime.skipping import Skips, is_skip
from airflow_kart.runtime.steps import Steps, result_of
from airflow_kart.tasks.completeness import Completeness, is_complete, look_at
from airflow_kart.tasks.graph import Graph, Node
from airflow_kart.tasks.inputs import outputs_of
from airflow_kart.tasks.model import Task, kind_of, task_state
from airflow_kart.tasks.nesting import KeyPath, NotALeafError, leaves, map_leaves
from airflow_kart.tasks.outputs import own_targets, targets_of
from airflow_kart.tasks.redaction import Redaction
from airflow_kart.tasks.resolution import resolve
from airflow_kart.tasks.task import TaskOnKart

logger = logging.getLogger(__name__)

_Asked = list[tuple[KeyPath, Task]]
"""The tasks that a ``run()`` asked for, with their keys."""


def run_task(
    task: Task,
    *,
    force: bool = False,
    reason: str = "",
    planned: bool = False,
    named: bool | None = None,
    session: Session | None = None,
) -> RunResult:
    """Run one task, unless its outputs are complete. If another run makes them, wait for these.

    Args:
        task: the task. Its inputs are read, never made here.
        force: run even if the outputs are complete; these stay readable until the new ones are complete.
        reason: why the task runs, if a plan has decided that, for the log and the sidecar.
        planned: skip the completeness check of the inputs; a plan has just decided that this task runs.
        named: somebody asked for this very task: the artifact of an equal run does not stand in for it; by default as ``force``.
        session: the run's place in Airflow, its way to wait, its listener.

    Raises:
        TakenElsewhere: another run makes the task, or one that its ``run()`` asked for, and the session does not wait.
        LockError: the lock was not to be had, or was lost.
        MissingInputError: an input is not there.
        OutputNotDumpedError: ``run()`` ended without dumping an output.
        Exception: whatever ``run()`` raises. Nothing is published then.
    """
    named = force if named is None else named
    return result_of(_task_steps(task, session or Session(), force=force, reason=reason, planned=planned, named=named))


def reuse_task(task: Task, *, reason: str, session: Session) -> RunResult | None:
    """Let a task take the artifact of an equal run, although its outputs may be complete; never run the task.

    Args:
        task: the task; a plan has decided that the task runs.
        reason: as for :func:`run_task`.
        session: as for :func:`run_task`.

    Returns:
        The result, also of a wrapper; ``None`` if only ``run()`` makes the outputs.

    Raises:
        TakenElsewhere, LockError, MissingInputError: as :func:`run_task`.
    """
    steps = _task_steps(task, session, force=True, reason=reason, planned=True, named=False, runs=False)
    result = result_of(steps)
    return result if result.outcome in REUSED else None


def make_all(
    plan: Plan, *, except_for: Collection[str] = (), session: Session | None = None, skips: Skips | None = None
) -> list[RunResult]:
    """Run, one after the other, the tasks that a plan says have to run.

    Args:
        plan: the outcome of each task.
        except_for: unique ids of tasks that others run.
        session: as for :func:`run_task`.
        skips: takes the tasks that ask to be skipped, and the others run; without it, such a request is raised.
    """
    with States() as states:
        shared = replace(session or Session(), states=states)
        return result_of(_plan_steps(plan, shared, except_for=except_for, skips=skips))


def _plan_steps(
    plan: Plan,
    session: Session,
    *,
    except_for: Collection[str] = (),
    asked_by: tuple[Task, ...] = (),
    skips: Skips | None = None,
) -> Steps[list[RunResult]]:
    results: list[RunResult] = []
    for node in plan.with_outcome(Outcome.RUN):
        if node.unique_id in except_for or (skips is not None and node.unique_id in skips.reasons):
            continue
        decided = plan.tasks[node.unique_id]
        try:
            result = yield _task_steps(
                node.task,
                session,
                force=decided.forced,
                reason=decided.reason,
                planned=True,
                named=decided.named,
                asked_by=asked_by,
            )
            results.append(result)
        except Exception as error:
            if skips is None or not is_skip(error):
                raise
            for task, reason in skips.add(node.task, error):
                session.listener.happens(Event("skipped", task.unique_id, repr(task), reason))
                results.append(RunResult(task, Outcome.SKIPPED, reason, 0.0))
    return results


def _task_steps(
    task: Task,
    session: Session,
    *,
    force: bool,
    reason: str,
    planned: bool,
    named: bool,
    asked_by: tuple[Task, ...] = (),
    runs: bool = True,
) -> Steps[RunResult]:
    """Run a task as :func:`run_task` does.

    Args:
        task: the task.
        session: the run's place in Airflow, its way to wait, its listener.
        force: as in :func:`run_task`.
        reason: as in :func:`run_task`.
        planned: as in :func:`run_task`.
        named: as in :func:`run_task`.
        asked_by: the tasks in the midst of whose runs this one runs, the outermost first.
        runs: whether to call ``run()`` where no equal run is known; otherwise the outcome of such a task is to run.
    """
    outputs = targets_of(task)
    targets = tuple(target for _, target in outputs)
    written = {target.uri for target in own_targets(task, targets)}
    own = outputs if len(written) == len(outputs) else tuple(each for each in outputs if each[1].uri in written)
    if kind_of(task).external or not own:  # a wrapper, or a task that passes its inputs' targets on: nothing is made here
        found = _look(task, own_only=planned)
        if not found.complete:
            inputs_of(task, session)
            if kind_of(task).external:
                task.run()  # says that it is made elsewhere
        return RunResult.cached(task, found)
    if not (force or planned):
        found = is_complete(task)
        if found.complete:
            return RunResult.cached(task, found)
    listener, words, redaction = session.listener, repr(task), Redaction(task)
    with holding(task, words, session) as hold:
        seen = sidecar_versions({target.uri: target.store for _, target in own})
        if not force and (reason != NO_ARTIFACT or any(seen.values()) or any(target.others for _, target in own)):
            found = _look(task, own_only=planned)  # another run may have made it in the meantime
            if found.complete:
                listener.happens(Event("cached", task.unique_id, words, found.reason, found.seconds))
                return RunResult.cached(task, found)
            reason = reason or found.reason
        reason = reason or ASKED_AGAIN
        try:
            making = Making(task, words, own, session, hold, redaction, inputs_of(task, session, hashed=runs), seen)
            result = yield from _reuse_or_make(making, reason, named, runs, asked_by)
        except BaseException as error:
            _tell_end(listener, task, error, redaction)
            raise
        if result.outcome is Outcome.RUN:
            return result
        reused = result.outcome is Outcome.REUSED
        listener.happens(Event("reused" if reused else "ran", task.unique_id, words, "", result.seconds))
        return result if len(targets) == 1 else _in_order(result, targets)


def _in_order(result: RunResult, targets: Sequence[Target]) -> RunResult:
    """Return a result with the artifacts of all targets in order, also of those of inputs that the task passes on."""
    made = {artifact.uri: artifact for artifact in result.artifacts}
    passed_on = (target.state().artifact for target in targets if target.uri not in made)
    made |= {artifact.uri: artifact for artifact in passed_on if artifact is not None}
    return result._replace(artifacts=tuple(made[target.uri] for target in targets if target.uri in made))


def _reuse_or_make(making: Making, reason: str, named: bool, runs: bool, asked_by: tuple[Task, ...]) -> Steps[RunResult]:
    """Take the artifacts of an equal run, unless the task is named; where there is none, call ``run()``, if ``runs``."""
    task = making.task
    task_state(task).content = content = making.content()
    key = making.key(content)
    reused = making.reuse(key) if key is not None and not named else None
    if reused is not None:
        logger.log(logging.INFO if runs else logging.DEBUG, "%r is reused: %s", task, reused[0])
        return RunResult.published(task, Outcome.REUSED, *reused)
    if not runs:
        return RunResult(task, Outcome.RUN, reason, 0.0)
    making.session.listener.happens(Event("runs", task.unique_id, making.words, reason))
    return (yield from _make(making, reason, key, asked_by))


def _tell_end(listener: Listener, task: Task, error: BaseException, redaction: Redaction) -> None:
    if isinstance(error, TakenElsewhere):
        listener.happens(Event("waits", task.unique_id, repr(task), whereabouts(error.taken)))
    elif not is_skip(error):  # the caller that goes on without a skipped task tells of the skip
        told = redaction.text(f"{type(error).__name__}: {error}")
        listener.happens(Event("failed", task.unique_id, repr(task), told))


def _look(task: Task, *, own_only: bool) -> Completeness:
    """Return whether a task is complete; with ``own_only`` by its own artifacts alone, although its class may ask for more."""
    return look_at([Node(task)])[0] if own_only else is_complete(task)


def _make(making: Making, reason: str, key: str | None, asked_by: tuple[Task, ...]) -> Steps[RunResult]:
    """Call ``run()``, and publish the dumped outputs; ``key`` is the content key."""
    task, session, redaction = making.task, making.session, making.redaction
    cls: type = type(task)
    source_of(cls, resolve(task).fingerprint)  # read now and remembered: the file may be edited while the task runs
    logger.info("%r runs: %s", task, reason)
    task.task_log.clear()
    redaction.tell_airflow()
    with making.publication() as publication, LogTail(redaction) as tail:
        started, clock = dt.datetime.now(dt.timezone.utc), time.perf_counter()
        try:
            with seeded(task, None if asked_by else session.states) as seed:
                yielded = yield from _run(task, session, publication, redaction, (*asked_by, task))
            _require_outputs(task, publication)
            publication.require_inputs_of_one_run_each()
        except Exception as error:
            if not isinstance(error, TakenElsewhere) and not is_skip(error):
                _note(error, f"while running {task!r} (unique id {task.unique_id})")
            raise
        seconds = time.perf_counter() - clock
        replaced = making.inputs.replaced()  # run() may have opened them by their paths
        for uri in replaced:
            publication.input_checksums.pop(uri, None)
        if yielded or replaced or publication.input_checksums != making.inputs.checksums:
            key = None  # the result is made of more, or of other bytes than were there at first
        making.hold.check()
        published = publication.publish(
            {
                **making.described(publication, yielded),
                "run": {
                    "started_at": started.isoformat(),
                    "finished_at": dt.datetime.now(dt.timezone.utc).isoformat(),
                    "seconds": seconds,
                    "reason": reason,
                    "seed": seed,
                    "peak_memory_bytes": peak_memory_bytes(),
                },
                "log_tail": tail.lines,
                **({"content_key": key} if key is not None else {}),
            }
        )
    if key is not None and not publication.adopted:
        making.remember(key)
    done = "left the artifacts of another run in place:" if publication.adopted else "published"
    logger.info("%r ran in %.2f s and %s %s", task, seconds, done, ", ".join(target.uri for _, target in making.targets))
    return RunResult.published(task, Outcome.RAN, reason, published)


def _run(
    task: Task, session: Session, publication: Publication, redaction: Redaction, asked_by: tuple[Task, ...]
) -> Steps[_Asked]:
    """Call ``run()``, make the tasks that ``run()`` asks for, and return these.

    An error of such a task is raised at the ``yield``: ``run()`` may go on without. If another run holds the lock of such a
    task, and the session does not wait, the generator is closed and begins anew another time. After its first dump the
    generator waits instead.

    Raises:
        TakenElsewhere: another run holds the lock of a task that ``run()`` asked for.
        RequirementError: ``run()`` asked for something that is not a task.
        CycleError: ``run()`` asked for a task that needs this one.
    """
    try:
        running = task.run()
    except StopIteration as error:
        raise RuntimeError(f"{task!r}.run() raised StopIteration: next() found nothing") from error
    if not isinstance(running, Iterator):
        return []
    asked: _Asked = []
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
            waiting = session if publication.is_empty else replace(session, waits=True)
            found = yield _asked_steps(wanted, waiting, redaction, asked_by)
            outputs = map_leaves(outputs_of, wanted, TaskOnKart)
            asked += [((len(asked), *path), required) for path, required in found]
        except TakenElsewhere:
            if isinstance(running, Generator):
                running.close()
            raise
        except Exception as error:
            if not isinstance(running, Generator):
                raise
            failure = error


def _asked_steps(wanted: object, session: Session, redaction: Redaction, asked_by: tuple[Task, ...]) -> Steps[_Asked]:
    """Make the tasks that a ``run()`` asked for; return these with their keys. The last of ``asked_by`` asks."""
    try:
        found: _Asked = [(path, required) for path, required in leaves(wanted, TaskOnKart)]
    except NotALeafError as error:
        raise RequirementError(
            f"{asked_by[-1]!r}.run() yielded {error.wrong('a task')}; yield tasks, or dicts, lists and tuples of tasks",
            task=repr(asked_by[-1]),
        ) from None
    required = [each for _, each in found]
    redaction.include(required)
    plan = make_plan(Graph.of(required))
    unfinished = {task.unique_id for task in asked_by}
    for node in plan.with_outcome(Outcome.RUN):
        if node.unique_id in unfinished:
            raise CycleError(
                f"{asked_by[-1]!r}.run() yielded what needs {node.task!r}, which has not ended yet: it waits for what it asked "
                "for; take one of these requirements away",
                task=repr(asked_by[-1]),
            )
    plan.begin_reruns()
    yield _plan_steps(plan, session, asked_by=asked_by)
    return found


def _note(error: Exception, text: str) -> None:
    """Add a line to an error's traceback, where Python can (from 3.11 on)."""
    if sys.version_info >= (3, 11):
        error.add_note(text)


def _require_outputs(task: Task, publication: Publication) -> None:
    if publication.missing:
        raise OutputNotDumpedError(
            f"{task!r}.run() ended without dumping {', '.join(publication.missing)}; call self.dump(...) for every output, "
            "in the thread that run() is called in",
            task=repr(task),
            uri=publication.missing[0],
        )
