"""What a task requires, resolved: one instance for equal tasks, unique ids, no cycles.

``requires()`` may make the same upstream anew in every consumer. Resolving walks the tasks once, without recursion,
and keeps the first of equal instances, so the work grows with the number of distinct tasks and their edges however
many paths lead through them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_kart.exceptions import CycleError, GraphError, IdentityError, KartError, RequirementError
from airflow_kart.identity.code import fingerprint
from airflow_kart.identity.encoding import encode, encode_id, unique_id
from airflow_kart.identity.names import logical_class_name
from airflow_kart.tasks.nesting import KeyPath, NotALeafError, describe_path, leaves, map_leaves

__all__ = ["MOST_TASKS", "Lineage", "resolve"]

MOST_TASKS = 100_000
"""How many tasks may lie below one: more is taken for a ``requires()`` that never ends."""


@dataclass(frozen=True)
class Lineage:
    """What resolving found out about one task."""

    unique_id: str
    requirements: Any
    """``requires()``, with one instance for equal tasks and lists for tuples."""
    inputs: tuple[tuple[KeyPath, Any], ...]
    """Each required task with the path of keys that leads to it."""


@dataclass
class _Visit:
    task: Any
    requirements: Any
    inputs: list[tuple[KeyPath, Any]]
    pending: Iterator[Any]


def resolve(root: Any) -> Lineage:
    """Resolve a task and everything below it; return the task's own part.

    Args:
        root: a :class:`~airflow_kart.tasks.task.TaskOnKart`.

    Raises:
        CycleError: a task requires itself.
        RequirementError: a ``requires()`` failed, or returned something that is not a task.
        IdentityError: a parameter's value has no canonical form, or a class's code cannot be fingerprinted.
        GraphError: there are more than :data:`MOST_TASKS`.
    """
    if root.lineage_cache is None:
        _resolve(root)
    return root.lineage_cache  # type: ignore[no-any-return]  # set by _resolve


def _resolve(root: Any) -> None:
    task_class = _task_class(root)
    classes = {type(root): logical_class_name(type(root))}
    versions: dict[tuple[type[Any], str | None], str | None] = {}
    first_of: dict[bytes, Any] = {root.parameter_digest: root}
    visits = [_visit(root, task_class)]
    open_digests = {root.parameter_digest}
    while visits:
        visit = visits[-1]
        for task in visit.pending:
            if type(task) not in classes:
                _add_class(classes, type(task))
            first = first_of.setdefault(task.parameter_digest, task)
            if first.lineage_cache is not None:
                task.lineage_cache = first.lineage_cache
            elif first.parameter_digest in open_digests:
                raise CycleError(_cycle_message([open_visit.task for open_visit in visits], first))
            else:
                if len(first_of) > MOST_TASKS:
                    raise GraphError(
                        f"more than {MOST_TASKS:,} tasks lie below {root!r}; is there a requires() that never ends? "
                        f"The last ones are {', '.join(repr(open_visit.task) for open_visit in visits[-3:])}"
                    )
                visits.append(_visit(task, task_class))
                open_digests.add(task.parameter_digest)
                break
        else:
            visit.task.lineage_cache = _lineage(visit, first_of, task_class, _code_version(visit.task, versions))
            open_digests.discard(visits.pop().task.parameter_digest)


def _add_class(classes: dict[type[Any], str], found: type[Any]) -> None:
    """Refuse two classes that would share ids. A file may be loaded twice: then both of its classes are one to us."""
    name = logical_class_name(found)
    alike = [known for known, known_name in classes.items() if known_name == name]
    if any(known.__module__ == found.__module__ or "<locals>" in found.__qualname__ for known in alike):
        raise GraphError(
            f"two different classes are both named {name}, so their tasks would share artifacts; "
            "give them different names, or make what differs a parameter"
        )
    classes[found] = name


def _task_class(task: Any) -> type[Any]:
    """Return the class that marks tasks: the one that defines ``unique_id``."""
    return next(cls for cls in type(task).__mro__ if "unique_id" in vars(cls))


def _visit(task: Any, task_class: type[Any]) -> _Visit:
    try:
        requirements = task.requires()
        if isinstance(requirements, Generator):
            requirements = list(requirements)
    except KartError:
        raise
    except Exception as error:
        raise RequirementError(f"{task!r}.requires() failed: {type(error).__name__}: {error}") from error
    try:
        inputs = list(leaves(requirements, task_class))
    except NotALeafError as error:
        a_class = isinstance(error.found, type) and issubclass(error.found, task_class)
        hint = f"; make an instance: {error.found.__name__}()" if a_class else ""  # type: ignore[attr-defined]
        raise RequirementError(
            f"{task!r}.requires() returned {error.found!r} at {describe_path(error.path)}, which is not a task{hint}; "
            "return tasks, or dicts, lists and tuples of tasks"
        ) from None
    return _Visit(task, requirements, inputs, iter([*task.held_tasks(), *(found for _, found in inputs)]))


def _code_version(task: Any, known: dict[tuple[type[Any], str | None], str | None]) -> str | None:
    """Return what counts in the unique id for the task's code: its ``code_version``, or for ``"auto"`` a fingerprint."""
    version: str | None = task.code_version
    key = (type(task), version)
    if key not in known:
        known[key] = f"auto {fingerprint(type(task))}" if version == "auto" else version
    return known[key]


def _lineage(visit: _Visit, first_of: Mapping[bytes, Any], task_class: type[Any], code_version: str | None) -> Lineage:
    task = visit.task

    def encode_task(held: Any) -> bytes:
        return encode_id(first_of[held.parameter_digest].lineage_cache.unique_id)

    def first(required: Any) -> Any:
        return first_of[required.parameter_digest]

    parameters = {
        name: encode(getattr(task, name), encode_task) if encoded is None else encoded
        for name, encoded in task.encoded_parameters.items()
    }
    requirements = map_leaves(first, visit.requirements, task_class)
    try:
        required = encode(requirements, encode_task)
    except IdentityError as error:
        raise IdentityError(f"{task!r}.requires(): {error}") from error
    return Lineage(
        unique_id(logical_class_name(type(task)), code_version, parameters, required),
        requirements,
        tuple((path, first(found)) for path, found in visit.inputs),
    )


def _cycle_message(path: list[Any], again: Any) -> str:
    start = next(index for index, task in enumerate(path) if task.parameter_digest == again.parameter_digest)
    steps = " -> ".join(repr(task) for task in [*path[start:], again])
    return f"the tasks require each other in a circle: {steps}; take one of these requirements away"
