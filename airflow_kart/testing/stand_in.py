"""Stand-ins: values in place of a task's artifacts, written in the formats of its targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

from airflow_kart.artifacts.target import Target
from airflow_kart.exceptions import ConfigurationError, KartError
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.model import Task, kind_of
from airflow_kart.tasks.resolution import resolve
from airflow_kart.tasks.task import TaskOnKart

NOTHING: object = type("Nothing", (), {"__repr__": lambda _self: "nothing"})()
"""The default for inputs: ``None`` may be a value."""

K = TypeVar("K")
L = TypeVar("L")


def dump_inputs(task: Task, values: object) -> None:
    """Dump a value for each required task, in the current workspace.

    Args:
        task: the task that will load the values.
        values: nested as the task's ``requires()`` nests the tasks, for a required task with several outputs as its
            ``output()``, and for a wrapper as the wrapper's ``requires()``, or ``None`` where the values of the grouped
            tasks are given elsewhere.

    Raises:
        ConfigurationError: the values have another nesting, or a target lies outside the workspace.
        FormatError: a target's format cannot write its value.
    """
    dumped: dict[str, tuple[str, object]] = {}
    for where, required, value in _pairs(resolve(task).requirements, values, TaskOnKart, f"{task!r}: inputs", "requires()"):
        for target, part in _parts(required, value, where):
            before = dumped.setdefault(target.uri, (where, part))
            checksum = _checksum(target)
            _dump(target, part, where)
            if before[1] is not part and _checksum(target) != checksum:
                raise ConfigurationError(
                    f"{before[0]} and {where} differ, but both are {required!r}; give one value for both"
                )


def dump_stand_in(task: Task, value: object) -> None:
    """Dump a value in place of a task's result, in the current workspace.

    Args:
        task: the task.
        value: nested as the task's ``output()`` nests the targets, for a wrapper as ``requires()`` nests the tasks.

    Raises:
        ConfigurationError: the value has another nesting, or a target lies outside the workspace.
        FormatError: a target's format cannot write its value.
    """
    for target, part in _parts(task, value, f"the stand-in for {task!r}"):
        _dump(target, part, f"the stand-in for {task!r}")


def refuse_outside(target: Target) -> None:
    """Refuse a target with a fixed uri outside the current workspace: a test must not write there.

    Raises:
        ConfigurationError: the target lies outside.
    """
    if not target.uri.startswith(f"{Workspace.current().directory}/"):
        raise ConfigurationError(
            f"{target.uri} lies outside the workspace, wherever that is, so a test does not write there; "
            "make the target with make_target",
            uri=target.uri,
        )


def _parts(task: Task, value: object, where: str) -> Iterator[tuple[Target, object]]:
    if kind_of(task).wrapper:
        if value is None:  # the values of the grouped tasks are given elsewhere
            return
        grouped = _pairs(resolve(task).requirements, value, TaskOnKart, where, f"requires() of {task!r}")
        for inner_where, required, part in grouped:
            yield from _parts(required, part, inner_where)
        return
    for _, target, part in _pairs(task.output(), value, Target, where, f"output() of {task!r}"):
        refuse_outside(target)
        yield target, part


def _dump(target: Target, value: object, where: str) -> None:
    try:
        target.dump(value)
    except KartError as error:
        error.add_context(where)
        raise


def _checksum(target: Target) -> str | None:
    sidecar = target.sidecar()
    return sidecar.artifact.sha256 if sidecar is not None else None


def _pairs(shape: object, values: object, leaf: type[L], where: str, whose: str) -> Iterator[tuple[str, L, object]]:
    """Yield each leaf of a nesting with the value at the same place, and words for that place."""
    if isinstance(shape, leaf):
        if values is NOTHING:
            raise ConfigurationError(f"{where} lack the value of {shape!r}; give it by itself, as {whose} is not nested")
        yield where, shape, values
    elif isinstance(shape, Mapping):
        found = {} if _empty(values) else values
        if not isinstance(found, Mapping):
            raise ConfigurationError(
                f"{where}: {whose} has the keys {_listed(shape)} here; give a mapping, not a {type(values).__name__}"
            )
        _compare_keys(shape, found, where, whose)
        for key, item in shape.items():
            yield from _pairs(item, found[key], leaf, f"{where}[{key!r}]", whose)
    elif isinstance(shape, (list, tuple)):
        found = [] if _empty(values) else values
        if not isinstance(found, (list, tuple)) or len(found) != len(shape):
            given = f"{len(found)}" if isinstance(found, (list, tuple)) else f"a {type(values).__name__}"
            raise ConfigurationError(f"{where}: {whose} has a list of {len(shape)} here; give as many, not {given}")
        for index, (item, value) in enumerate(zip(shape, found, strict=True)):
            yield from _pairs(item, value, leaf, f"{where}[{index}]", whose)
    elif not _empty(values):
        raise ConfigurationError(f"{where}: {whose} has nothing here; leave it out")


def _compare_keys(shape: Mapping[K, object], found: Mapping[K, object], where: str, whose: str) -> None:
    missing = {key: None for key in shape if key not in found}
    unknown = {key: None for key in found if key not in shape}
    if missing or unknown:
        wrong = [f"lack {_listed(missing)}"] if missing else []
        wrong += [f"have {_listed(unknown)} too many"] if unknown else []
        raise ConfigurationError(f"{where} {' and '.join(wrong)}; {whose} has {_listed(shape) or 'no keys'}")


def _empty(values: object) -> bool:
    return values is NOTHING or values is None or (isinstance(values, (Mapping, list, tuple)) and not values)


def _listed(keys: Mapping[K, object]) -> str:
    return ", ".join(map(repr, keys))
