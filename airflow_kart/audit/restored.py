"""A task made again from its sidecar with the present code, and whether the task still is the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from airflow_kart.artifacts.sidecar import Sidecar
from airflow_kart.identity.names import logical_class_name
from airflow_kart.parameters.parametrized import held_tasks
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


def _held(value: object) -> list[Mapping[str, Any]]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, Mapping)]


def read_before(task: Task, sidecar: Sidecar) -> tuple[dict[str, str], list[Sidecar]]:
    """Return the checksums that a task's inputs had when its artifact was made, by their present uris.

    An input that has another unique id now must be there with equal bytes: else a run would read something else.

    Returns:
        The checksums, and the sidecars of all inputs where one of them has another id now.

    Raises:
        NotAdopted: the task requires other inputs now.
    """
    inputs = resolve(task).inputs
    parts = {tuple(part["key"]): part for part in sidecar.content.get("upstream") or () if not part.get("dynamic")}
    if parts.keys() != {path for path, _ in inputs}:
        raise NotAdopted("its requires() names other inputs now")
    checksums: dict[str, str] = {}
    moved_any = False
    for path, required in inputs:
        part, targets = parts[path], read_targets(required)
        moved = part["unique_id"] != required.unique_id
        moved_any = moved_any or moved
        if part["class"] != logical_class_name(type(required)) or len(part["artifacts"]) != len(targets):
            raise NotAdopted(f"its input {describe_path(path)} is another now")
        for artifact, target in zip(part["artifacts"], targets, strict=True):
            if moved:
                state = target.state()
                same_file = state.sha256 is None and target.located().uri == artifact["uri"]  # made by others
                if not (state.complete and (same_file or state.sha256 == artifact["sha256"])):
                    raise NotAdopted(
                        f"its input {required!r} has another id now, and no artifact of equal bytes there; adopt or run "
                        f"{type(required).__name__} first"
                    )
            if artifact["sha256"] is not None:
                checksums[target.uri] = artifact["sha256"]
    if not moved_any:
        return checksums, []
    states = (target.state() for _, required in inputs for target in read_targets(required))
    return checksums, [state.sidecar for state in states if state.sidecar is not None]
