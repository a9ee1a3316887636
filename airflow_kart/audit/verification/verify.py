"""Verification: tasks are made again in fresh processes, with the inputs and random numbers of then, and compared with their artifacts.

Nothing in the workspace changes. Where bytes differ, experiments find out why: :mod:`airflow_kart.audit.verification.experiments`.
"""

from __future__ import annotations

import datetime as dt
import itertools
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, cast

from airflow_kart.artifacts.sidecar import Sidecar
from airflow_kart.artifacts.sidecar.source import code_of
from airflow_kart.artifacts.target import Target, TargetState
from airflow_kart.audit.catalogue.record import Record
from airflow_kart.audit.differences.difference import Difference, data_differences
from airflow_kart.audit.restored import NotAdopted, again, content_then, read_before
from airflow_kart.audit.verification.experiments import ADDRESS, Experiments, Reason, Sums
from airflow_kart.audit.verification.fresh import Bench, Ended, Job, Way, scratch_of
from airflow_kart.exceptions import ConfigurationError, KartError
from airflow_kart.identity.code import changed_parts
from airflow_kart.identity.lookup import LOOKED_UP, find_class_named
from airflow_kart.storage import KeepsFiles
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.model import Task, kind_of
from airflow_kart.tasks.nesting import describe_path
from airflow_kart.tasks.outputs import own_targets, targets_of
from airflow_kart.tasks.provenance import task_parts
from airflow_kart.tasks.redaction import Redaction
from airflow_kart.tasks.resolution import one_walk
from airflow_kart.tasks.restoration import Restoration
from airflow_kart.tasks.task import TaskOnKart

Verdict = Literal["identical", "equal", "differs", "failed", "not verifiable"]
_MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class Verified:
    """What became of one task that was made again."""

    verdict: Verdict
    """``identical`` bytes; ``equal`` data in other bytes; data that ``differs``; a run that ``failed``; ``not verifiable``."""
    task: str
    unique_id: str
    uri: str
    reason: str = ""
    """Why the task is not verifiable, the error of a run that failed, or the causes in words."""
    causes: tuple[Reason, ...] = ()
    """Why bytes differ, what an experiment has proven first."""
    differences: tuple[Difference, ...] = ()
    """In the data, the first ones."""
    seconds: float = 0.0
    """How long the run took, with the start of its process."""


@dataclass(frozen=True)
class Verification:
    """What became of the tasks that were made again; as a text a line such as ``97 of 100 identical; 3 not verifiable``."""

    results: tuple[Verified, ...]

    @property
    def identical(self) -> int:
        """How many tasks have identical bytes."""
        return sum(one.verdict == "identical" for one in self.results)

    def __str__(self) -> str:
        """Return the numbers of all verdicts."""
        others = [one.verdict for one in self.results if one.verdict != "identical"]
        counts = [f"{others.count(verdict)} {verdict}" for verdict in dict.fromkeys(others)]
        return "; ".join([f"{self.identical} of {len(self.results)} identical", *counts])


def verify(
    tasks: TaskOnKart[Any] | Iterable[TaskOnKart[Any] | Record] | None = None,
    *,
    sample: int | None = None,
    seed: int | None = None,
    timeout: float = 3600.0,
    patience: float = 600.0,
    tell: Callable[[int], object] = lambda _done: None,
) -> Verification:
    """Make tasks of the current workspace again, each in a fresh process and a scratch directory, and compare.

    Args:
        tasks: tasks, or artifacts whose tasks are restored from their sidecars; by default all of the workspace.
        sample: so many of them, spread over the classes.
        seed: of the choice of the sample; by default another choice each time.
        timeout: seconds, after which a run is stopped.
        patience: seconds for experiments that find out why the bytes of one task differ; 0 for none.
        tell: is told how many tasks are done.

    Raises:
        ConfigurationError: the sample is no positive number.
        StorageError: the store refused.
    """
    if sample is not None and sample < 1:
        raise ConfigurationError(f"verify(sample={sample!r}): give the number of tasks to make again, at least 1")
    with Workspace.current() as workspace, one_walk(), Bench(timeout) as bench:
        given: Iterable[Any] | None = [tasks] if isinstance(tasks, TaskOnKart) else tasks
        found = workspace.artifacts() if given is None else given
        chosen = _one_each(found) if sample is None else sampled(found, sample, seed)
        verifier = _Verifier(workspace, bench, patience)
        results = []
        for each in chosen:
            results.append(verifier.verified(each))
            tell(len(results))
    return Verification(tuple(results))


def sampled(found: Iterable[Any], count: int, seed: int | None = None) -> list[Any]:
    """Return so many of some artifacts or tasks, in turn one of each class, and one output of each task."""
    chance = random.Random(seed)
    classes: dict[str, list[Any]] = {}
    for each in _one_each(found):
        classes.setdefault(each.task_class if isinstance(each, Record) else type(each).__qualname__, []).append(each)
    for each in classes.values():
        each.sort(key=lambda one: str(one.unique_id))
        chance.shuffle(each)
    turns = itertools.zip_longest(*classes.values())
    return [each for turn in turns for each in turn if each is not None][:count]


def _one_each(found: Iterable[Any]) -> Iterator[Any]:
    """Return the first artifact of each task; artifacts without a task cannot be made again."""
    seen: set[str] = set()
    for each in found:
        if each.unique_id and each.unique_id not in seen:
            seen.add(each.unique_id)
            yield each


class _NotVerifiable(Exception):  # noqa: N818 - no error: a verdict
    pass


class _Prepared(NamedTuple):
    task: Task
    targets: list[tuple[str, Target]]
    """The task's own outputs, with the words for their keys."""
    sidecars: list[Sidecar]
    job: Job


class _Verifier:
    def __init__(self, workspace: Workspace, bench: Bench, patience: float) -> None:
        self._workspace, self._bench, self._patience = workspace, bench, patience
        self._restoration: Restoration | None = None

    def verified(self, given: Any) -> Verified:
        started = time.monotonic()
        is_record = isinstance(given, Record)
        words, uri = (str(given), given.uri) if is_record else (repr(given), "")
        result = Verified("not verifiable", words, given.unique_id, uri)
        try:
            prepared = self._prepared(self._restored(given) if is_record else given, restored=is_record)
            result = replace(result, uri=uri or prepared.targets[0][1].uri)
            with tempfile.TemporaryDirectory(prefix="kart-verify-", ignore_cleanup_errors=True) as scratch:
                result = self._compared(result, prepared, scratch)
        except (_NotVerifiable, NotAdopted, KartError) as error:
            result = replace(result, reason=str(error))
        return replace(result, seconds=time.monotonic() - started)

    def _restored(self, record: Record) -> Task:
        cls: Any = find_class_named(record.task_class)
        if cls is None:
            raise _NotVerifiable(f"there is no class {record.task_class} here; {LOOKED_UP}")
        _require_code(cls, record.sidecar)
        parameters = record.sidecar.content["task"].get("parameters") or {}
        self._restoration = self._restoration or Restoration(self._workspace, any_id=True)
        return again(cls, parameters, self._restoration)

    def _prepared(self, task: Task, *, restored: bool) -> _Prepared:
        """Return what an experiment needs.

        Raises:
            _NotVerifiable: the artifact is not as it was made, or something that made it is gone.
        """
        targets = _own(task)
        if not self._workspace.store.shared:
            raise _NotVerifiable("the workspace is in the memory of this process, where no fresh process can read inputs")
        if kind_of(task).external or not targets:
            raise _NotVerifiable("nothing is made by it")
        targets = [(key, target.located()) for key, target in targets]
        states = [target.state() for _, target in targets]
        for (_, target), state in zip(targets, states, strict=True):
            if not state.complete or state.sidecar is None:
                raise _NotVerifiable(f"{target.uri}: {state.reason}")
        there = [state.sidecar for state in states if state.sidecar is not None]
        first = there[0]
        _require_code(type(task), first)
        if restored:
            self._require_private(task, first)
        if task.unique_id != first.unique_id:
            raise _NotVerifiable(f"its class, or what it requires, has changed: its unique id is {task.unique_id} now")
        states_now: dict[str, tuple[TargetState, str | None]] = {}
        read = read_before(task, first, states_now, hashed=True)
        for uri, then in read.checksums.items():
            if uri not in read.contents:
                state, now = states_now[uri]
                what = "has other bytes now" if state.complete and now != then else f"is gone ({state.reason})"
                raise _NotVerifiable(f"its input {uri} {what}")
        content = content_then(task, first, read.contents)
        from airflow_kart.formats.pickle import dumps

        store, run, module = self._workspace.store, first.content.get("run") or {}, type(task).__module__
        began = dt.datetime.fromisoformat(run["started_at"]).timestamp() if run.get("started_at") else 0.0
        job = Job(
            pickled=dumps((task, self._workspace, content)),
            unique_id=task.unique_id,
            then=(began, str((first.content.get("environment") or {}).get("host") or "localhost")),
            module=(module, str(getattr(sys.modules.get(module), "__file__", None) or "")),
            known=tuple(map(store.path, read.checksums)) if isinstance(store, KeepsFiles) else (),
        )
        return _Prepared(task, targets, there, job)

    def _require_private(self, task: Task, sidecar: Sidecar) -> None:
        """Refuse a restored task that has a default in place of a private value.

        Raises:
            _NotVerifiable: nobody knows the private value.
        """
        described = task_parts(task, {}, Redaction(task))["task"]["parameters"]
        for name, part in (sidecar.content["task"].get("parameters") or {}).items():
            known = part.get("digest")
            if part.get("private") and (known is None or described.get(name, {}).get("digest") != known):
                raise _NotVerifiable(f"its parameter {name} is private, so no sidecar has its value; give the task itself")

    def _compared(self, result: Verified, prepared: _Prepared, scratch: str) -> Verified:
        redact = Redaction(prepared.task).text
        old: Sums = tuple(sidecar.artifact.sha256 for sidecar in prepared.sidecars)
        kept = os.path.join(scratch, "first")
        made, ended = self._make(prepared, kept, Way())
        if made is None:
            return replace(result, verdict="failed" if ended.loaded else "not verifiable", reason=redact(ended.error or ""))
        if _inputs(made[0]) != _inputs(prepared.sidecars[0]):
            return replace(
                result, reason="it read other inputs than then: run() asked for others, or they have other bytes now"
            )
        first: Sums = tuple(sidecar.artifact.sha256 for sidecar in made)
        if first == old:
            return replace(result, verdict="identical")
        differences, notes = self._differences(prepared, kept)
        number = 0

        def make(way: Way) -> tuple[Sums | None, Ended]:
            nonlocal number
            number += 1
            place = os.path.join(scratch, str(number))
            found, ended = self._make(prepared, place, way)
            shutil.rmtree(place, ignore_errors=True)
            return (None if found is None else tuple(one.artifact.sha256 for one in found)), ended

        seeds = {"random.seed", "numpy.random.seed"} <= set(type(prepared.task).seed_functions)
        experiments = Experiments(make, (prepared.sidecars[0], made[0]), self._patience, seeds=seeds)
        if differences and all(_without_addresses(one.before) == _without_addresses(one.after) for one in differences):
            causes = [ADDRESS]
        else:
            found = experiments.causes(old, first, ended.uses)
            causes = [replace(cause, words=redact(cause.words)) for cause in found]
        told = [f"{'' if one.proven else 'likely '}{one.kind}: {one.words}" for one in causes]
        told += ["the patience ended before the experiments"] if experiments.stopped else []
        verdict: Verdict = "equal" if differences == [] else "differs"
        reason = "; ".join([*told, *notes])
        return replace(result, verdict=verdict, reason=reason, causes=tuple(causes), differences=tuple(differences or ()))

    def _make(self, prepared: _Prepared, scratch: str, way: Way) -> tuple[list[Sidecar] | None, Ended]:
        os.makedirs(scratch)
        ended = self._bench.made(prepared.job, scratch, way)
        if ended.error is not None:
            return None, ended
        return [cast(Sidecar, target.sidecar()) for _, target in self._own_in(scratch, prepared.task)], ended

    def _own_in(self, scratch: str, task: Task) -> list[tuple[str, Target]]:
        with scratch_of(self._workspace, scratch):
            return _own(task)

    def _differences(self, prepared: _Prepared, scratch: str) -> tuple[list[Difference] | None, list[str]]:
        """Return the differences between the objects, ``None`` where nobody can tell, and notes."""
        found: list[Difference] = []
        notes: list[str] = []
        if max(sidecar.artifact.bytes for sidecar in prepared.sidecars) > _MOST_BYTES:
            return None, [f"data not compared: more than {_MOST_BYTES:,} bytes"]
        for (key, target), (_, made) in zip(prepared.targets, self._own_in(scratch, prepared.task), strict=True):
            try:
                inside, more = data_differences(target.retrieve().value, made.retrieve().value)
            except KartError as error:
                return None, [f"data not compared: {error}"]
            found += [replace(one, name=f"{key}{one.name}") for one in inside]
            notes += more
        return found, notes


def _require_code(cls: Any, sidecar: Sidecar) -> None:
    """Refuse a class whose code has changed.

    Raises:
        _NotVerifiable: the code has changed.
    """
    now = dict(code_of(cls))
    fingerprint = now.pop("", None)
    if fingerprint is not None and sidecar.code["fingerprint"] not in (None, fingerprint):
        parts = (sidecar.content.get("source") or {}).get("parts")
        names = changed_parts(parts, now)[0] if parts else []
        raise _NotVerifiable(f"its code has changed since{': ' if names else ''}{', '.join(names[:5])}")


def _inputs(sidecar: Sidecar) -> list[Any]:
    return [
        (part.get("key"), part.get("unique_id"), [one.get("sha256") for one in part.get("artifacts") or ()])
        for part in sidecar.content.get("upstream") or ()
    ]


def _own(task: Task) -> list[tuple[str, Target]]:
    """Return the targets that a task writes itself, with words for their keys."""
    found = targets_of(task)
    own = {target.uri for target in own_targets(task, [target for _, target in found])}
    return [(describe_path(path) if path else "", target) for path, target in found if target.uri in own]


def _without_addresses(value: object) -> str:
    return re.sub(r"0x[0-9a-f]{6,}", "0x", str(value))
