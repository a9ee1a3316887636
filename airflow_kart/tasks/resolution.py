"""Requirements, resolved: one instance for equal tasks, unique ids, no cycles.

``requires()`` may make the same upstream anew in every consumer. Resolving walks the tasks once, without recursion,
and keeps the first of equal instances, so the work grows with the number of distinct tasks and their edges however
many paths lead through them.
"""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, cast

from airflow_kart import settings
from airflow_kart.exceptions import CycleError, GraphError, IdentityError, KartError, RequirementError
from airflow_kart.identity.code import AUTO, code_version_of, fingerprint
from airflow_kart.identity.encoding import Identified, encode, unique_id
from airflow_kart.identity.names import logical_class_name, require_present
from airflow_kart.identity.notebook import this_notebook
from airflow_kart.parameters.parametrized import Parametrized, encoded_significant, held_tasks
from airflow_kart.tasks.declarations import refuse_async
from airflow_kart.tasks.model import Resolution, Task, task_state
from airflow_kart.tasks.nesting import KeyPath, NotALeafError, WrongKeyError, describe_path, leaves, map_leaves

_MANY_OBJECTS = 100_000


@dataclass(slots=True)
class _Visit:
    task: Task
    requirements: object
    inputs: list[tuple[KeyPath, Task]]
    pending: Iterator[Task]
    """The tasks that the task holds, then the inputs."""
    firsts: list[Task] = field(default_factory=list)
    """The first of the tasks that are equal to each of these, as far as the walk has come."""


class Classes(NamedTuple):
    """The classes of tasks that were resolved together."""

    names: dict[type[Task], str]
    versions: dict[type[Task], _Version]


def resolve(task: Task, known: dict[bytes, Task] | None = None, classes: Classes | None = None) -> Resolution:
    """Resolve a task and everything upstream; return the task's own part.

    Args:
        task: the task.
        known: tasks that were resolved before, by digest, to which the task and its upstream are added: equal tasks are
            resolved once.
        classes: those of the known tasks, to which the classes of the others are added.

    Raises:
        CycleError: a task requires itself.
        RequirementError: a ``requires()`` failed, or returned something that is not a task.
        IdentityError: a parameter's value has no canonical form, or a class's code cannot be fingerprinted.
        GraphError: there are more than ``[kart] max_tasks``.
    """
    state = task_state(task)
    if state.resolution is not None:
        return state.resolution
    _resolve(task, {} if known is None else known, Classes({}, {}) if classes is None else classes)
    return cast(Resolution, state.resolution)


def required_by(task: Task) -> object:
    """Return what a task requires, without resolving the task: neither ids nor anything further upstream.

    Raises:
        RequirementError: its ``requires()`` failed, or returned something that is not a task.
    """
    state = task_state(task)
    if state.resolution is not None:
        return state.resolution.requirements
    state.asked = visit = _visit(task)
    return visit.requirements


def require_usable(task: Task) -> None:
    """Refuse a task of a class that a notebook has changed since, or of another namespace than the current one.

    Raises:
        IdentityError: the task is of the past, or its unique id counts another namespace.
    """
    require_present(type(task), task)
    resolution = task_state(task).resolution
    if resolution is not None:
        _require_name(resolution, logical_class_name(type(task)), task)


def require_unchanged(task: Task, versions: dict[type[Task], _Version]) -> None:
    """Refuse a task whose class, or whose fingerprint, a notebook has changed since: the unique id names other code.

    Args:
        task: the task, resolved.
        versions: those that are known by now.

    Raises:
        IdentityError: the code has changed.
    """
    require_present(type(task), task)
    if this_notebook() is not None and resolve(task).fingerprint != _code_version(type(task), versions).fingerprint:
        raise IdentityError(
            f"{task!r} was made before its code was changed; make it again, and the tasks that hold it", task=repr(task)
        )


def _require_name(resolution: Resolution, name: str, task: Task) -> None:
    if resolution.class_name != name:
        raise IdentityError(
            f"{task!r} has got its unique id as {resolution.class_name}, and is {name} in the namespace here; a task keeps its "
            "id: make another one inside of `with Workspace(..., namespace=...)`, or in the DAG",
            task=repr(task),
        )


@contextmanager
def one_walk() -> Iterator[None]:
    """Read the configuration once, and pause the cyclic garbage collector."""
    with uncollected(), settings.one_reading():
        yield


@contextmanager
def uncollected() -> Iterator[None]:
    """Pause the cyclic garbage collector while thousands of objects are made that stay.

    The collector would look at each object of a growing graph again and again. The objects of a large graph live long, so
    they move to the oldest generation unseen: looking at all of them, in one generation after the other, takes a sixth of
    the time of a walk, and a quarter of that of a plan over a bucket.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            if gc.get_count()[0] > _MANY_OBJECTS and not gc.get_freeze_count():
                gc.freeze()
                gc.unfreeze()
            gc.enable()


@one_walk()
def _resolve(root: Task, first_of: dict[bytes, Task], known: Classes) -> None:
    classes, versions = known
    if type(root) not in classes:
        _add_class(classes, root)
    first = first_of.setdefault(root.parameter_digest, root)
    if (resolution := task_state(first).resolution) is not None:
        _require_name(resolution, classes[type(root)], root)
        task_state(root).resolution = resolution
        return
    visits = [_visit(root)]
    open_digests = {root.parameter_digest: None}
    limit = 0  # read where a task requires others
    while visits:
        visit = visits[-1]
        for task in visit.pending:
            if type(task) not in classes:
                _add_class(classes, task)
            digest = task.parameter_digest
            first = first_of.setdefault(digest, task)
            visit.firsts.append(first)
            resolution = task_state(first).resolution
            if resolution is not None:
                _require_name(resolution, classes[type(task)], task)
                if first is not task:
                    task_state(task).resolution = resolution
            elif digest in open_digests:
                raise CycleError(_cycle_message([open_visit.task for open_visit in visits], first), task=repr(first))
            else:
                limit = limit or settings.kart_int("max_tasks")
                if len(first_of) > limit:
                    raise GraphError(
                        f"{root!r} requires more than {limit:,} tasks; is there a requires() that never ends? The last ones are "
                        f"{', '.join(repr(open_visit.task) for open_visit in visits[-3:])}. [kart] max_tasks sets the limit",
                        task=repr(root),
                    )
                visits.append(_visit(task))
                open_digests[digest] = None
                break
        else:
            name = classes[type(visit.task)]
            task_state(visit.task).resolution = _resolution(visit, name, _code_version(type(visit.task), versions))
            visits.pop()
            open_digests.popitem()  # the task's own: the last one


def _add_class(classes: dict[type[Task], str], task: Task) -> None:
    """Refuse two classes that would share ids. A file may be loaded twice: then both of its classes are one to us."""
    found = type(task)
    refuse_async(found)
    require_present(found, task)
    name = logical_class_name(found)
    alike = [known for known, known_name in classes.items() if known_name == name]
    if any(known.__module__ == found.__module__ or "<locals>" in found.__qualname__ for known in alike):
        raise GraphError(
            f"two different classes are both named {name}, so their tasks would share artifacts; "
            "give them different names, or make what differs a parameter"
        )
    classes[found] = name


def _visit(task: Task) -> _Visit:
    """Ask a task what it requires, once."""
    state = task_state(task)
    if state.asked is not None:
        asked, state.asked = state.asked, None
        return cast("_Visit", asked)
    try:
        requirements = task.requires()
        if isinstance(requirements, Generator):
            requirements = list(requirements)
    except KartError:
        raise
    except Exception as error:
        raise RequirementError(f"{task!r}.requires() failed: {type(error).__name__}: {error}", task=repr(task)) from error
    try:
        inputs = cast("list[tuple[KeyPath, Task]]", list(leaves(requirements, Identified)))
    except NotALeafError as error:
        a_class = isinstance(error.found, type) and issubclass(error.found, Identified)
        at = describe_path(error.path)
        wrong = (
            error.wrong("a task") if isinstance(error, WrongKeyError) else f"{error.found!r} at {at}, which is not a task"
        )
        hint = f"; make an instance: {error.found.__name__}()" if a_class else ""  # type: ignore[attr-defined]
        raise RequirementError(
            f"{task!r}.requires() returned {wrong}{hint}; return tasks, or dicts, lists and tuples of tasks",
            task=repr(task),
        ) from None
    pending = [*cast("list[Task]", held_tasks(task)), *[found for _, found in inputs]]
    return _Visit(task, requirements, inputs, iter(pending))


class _Version(NamedTuple):
    """The code version that counts in the unique id, and for ``"auto"`` the fingerprint in it."""

    text: str | None
    fingerprint: str | None = None


def _code_version(cls: type[Task], versions: dict[type[Task], _Version]) -> _Version:
    if cls not in versions:
        version = code_version_of(cls)
        found = fingerprint(cls) if version == AUTO else None
        versions[cls] = _Version(version if found is None else f"{AUTO} {found}", found)
    return versions[cls]


def _resolution(visit: _Visit, class_name: str, version: _Version) -> Resolution:
    task = visit.task
    parameters = encoded_significant(cast(Parametrized, task))  # an equal task that came first has lent its id
    firsts = visit.firsts[len(visit.firsts) - len(visit.inputs) :]
    inputs = tuple([(path, first) for (path, _), first in zip(visit.inputs, firsts, strict=True)])
    in_order = iter(firsts)
    requirements = map_leaves(lambda _: next(in_order), visit.requirements, Identified)
    try:
        required = encode(requirements)
    except IdentityError as error:
        error.add_context(f"{task!r}.requires()", task=repr(task))
        raise
    own_id = unique_id(class_name, version.text, parameters, required)
    return Resolution(own_id, requirements, inputs, class_name, *version)


def _cycle_message(path: list[Task], again: Task) -> str:
    start = next(index for index, task in enumerate(path) if task.parameter_digest == again.parameter_digest)
    steps = " -> ".join(repr(task) for task in [*path[start:], again])
    return f"the tasks require each other in a circle: {steps}; take one of these requirements away"
