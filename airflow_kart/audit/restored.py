"""A task made again from its sidecar with the present code, and whether the task still is the same."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from airflow_kart.artifacts.external import ExternalTarget
from airflow_kart.artifacts.sidecar import Sidecar
from airflow_kart.artifacts.target import Target, TargetState
from airflow_kart.identity.names import logical_class_name
from airflow_kart.parameters.parametrized import held_tasks
from airflow_kart.tasks.content import content_of, input_content
from airflow_kart.tasks.model import Task
from airflow_kart.tasks.nesting import describe_path
from airflow_kart.tasks.outputs import read_targets
from airflow_kart.tasks.resolution import resolve
from airflow_kart.tasks.restoration import Restoration


class NotAdopted(Exception):  # noqa: N818 - not an error: the reason why one task is left as it was
    """A task's artifacts are left as they were."""


def again(cls: Any, parts: Mapping[str, Any], restoration: Restoration) -> Task:
    """Return the task of a sidecar's parameters, whatever its unique id is now.

    Raises:
        NotAdopted: a parameter that counted is gone, or the task holds a task that has changed and that it does not require.
        KartError: the parameters do not fit the class any more.
    """
    parameters = cls.get_parameters()
    for name, part in parts.items():
        if part.get("significant", True) and not (name in parameters and parameters[name].significant):
            raise NotAdopted(f"its parameter {name} is gone, or does not count any more: tasks of other values would be one")
    task = cast(Task, restoration.made(cls, parts, {}))
    required = {found.unique_id for _, found in resolve(task).inputs}
    recorded = {written.get("unique_id") for part in parts.values() for written in _held(part.get("value"))}
    for held in cast("Iterable[Task]", held_tasks(cast(Any, task))):
        if held.unique_id not in required and held.unique_id not in recorded:
            raise NotAdopted(f"it holds {held!r}, which has another id now")
    return task


def may_become_one(tasks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return equal texts for those tasks of sidecars that may be one task with the present code.

    Args:
        tasks: the parameters of each. Parameters that do not count in all tasks tell none apart, nor do ids of tasks held.
    """
    counted = [{name: one.get("value") for name, one in parts.items() if one.get("significant", True)} for parts in tasks]
    names = sorted(set[str]().union(*counted).intersection(*counted))
    return [json.dumps([_without_id(values[name]) for name in names]) for values in counted]


def _without_id(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: one for key, one in value.items() if key not in ("unique_id", "parameters")}
    return [_without_id(one) for one in value] if isinstance(value, list) else value


def _held(value: object) -> list[Mapping[str, Any]]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, Mapping)]


class Read(NamedTuple):
    """The inputs that a task had when its artifact was made, by their present uris."""

    checksums: dict[str, str]
    contents: dict[str, str]
    """Of inputs that still have these bytes, as :func:`~airflow_kart.tasks.content.input_content` returns them."""
    stayed: list[Sidecar]
    moved: list[Sidecar]
    """Of inputs that have another unique id now."""


def _now(target: Target, *, hashed: bool) -> tuple[TargetState, str | None]:
    """Return the state of an input and its SHA-256; of an external one, without ``hashed``, only if the workspace knows it."""
    state, located = target.state(), target.located()
    known = located.checksum(hashed=hashed) if isinstance(located, ExternalTarget) else None
    return state, known or state.sha256


def read_before(
    task: Task, sidecar: Sidecar, inputs_now: dict[str, tuple[TargetState, str | None]], *, hashed: bool = False
) -> Read:
    """Return the inputs that a task had when its artifact was made.

    An input that has another unique id now must be there with equal bytes: else a run would read something else.

    Args:
        task: the task.
        sidecar: of the artifact.
        inputs_now: the states and checksums of inputs that are known by now, by uri.
        hashed: whether to read external inputs for their checksums.

    Raises:
        NotAdopted: the task requires other inputs now.
    """
    inputs = resolve(task).inputs
    parts = {tuple(part["key"]): part for part in sidecar.content.get("upstream") or () if not part.get("dynamic")}
    if parts.keys() != {path for path, _ in inputs}:
        raise NotAdopted("its requires() names other inputs now")
    read = Read({}, {}, [], [])
    for path, required in inputs:
        part, targets = parts[path], read_targets(required)
        moved = part["unique_id"] != required.unique_id
        if part["class"] != logical_class_name(type(required)) or len(part["artifacts"]) != len(targets):
            raise NotAdopted(f"its input {describe_path(path)} is another now")
        for artifact, target in zip(part["artifacts"], targets, strict=True):
            if target.uri not in inputs_now:
                inputs_now[target.uri] = _now(target, hashed=moved or hashed)
            (state, now), then = inputs_now[target.uri], artifact["sha256"]
            if moved and not (state.complete and now == then):
                raise NotAdopted(
                    f"its input {required!r} has another id now, and no artifact of equal bytes there; adopt or run "
                    f"{type(required).__name__} first"
                )
            if then is not None:
                read.checksums[target.uri] = then
                if now == then:
                    read.contents[target.uri] = input_content(
                        required, target, then, state.sidecar.artifact if state.sidecar else None
                    )
            if state.sidecar is not None:
                (read.moved if moved else read.stayed).append(state.sidecar)
    return read


def content_then(task: Task, sidecar: Sidecar, contents: Mapping[str, str]) -> bytes:
    """Return the digest that seeded the random numbers of the run that made an artifact, also of code adopted since.

    Args:
        task: the task, with the present code.
        sidecar: of the artifact.
        contents: the inputs of then, as :func:`~airflow_kart.tasks.content.content_of` takes them.
    """
    records = [record for record in sidecar.adoptions if record["class"] == sidecar.class_name]
    first: Mapping[str, Any] = records[0] if records else {"old": sidecar.code, "unique_id": sidecar.unique_id}
    return content_of(task, contents, first["old"]) or bytes.fromhex(first["unique_id"])
