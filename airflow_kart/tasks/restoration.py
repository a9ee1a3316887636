"""Restoration: a task made anew from the sidecar of its artifact."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_kart.artifacts.sidecar import SIDECAR_SUFFIX, Sidecar, read_sidecar
from airflow_kart.exceptions import (
    CorruptArtifactError,
    IdentityError,
    MissingArtifactError,
    MissingParameterError,
    ParameterValueError,
)
from airflow_kart.identity.names import find_class_named, logical_class_name
from airflow_kart.parameters import Parameter
from airflow_kart.storage.workspace import Workspace

__all__ = ["restore"]

_UNIQUE_ID = re.compile(r"[0-9a-f]{32}")


def restore(cls: Any, unique_id: str, given: Mapping[str, Any]) -> Any:
    """Return the task of a unique id.

    Args:
        cls: the task's class, or a base class.
        unique_id: its 32 hex digits.
        given: values of private parameters, which no sidecar holds.

    Raises:
        MissingArtifactError: the workspace has no artifact of this id.
        IdentityError: the class has changed since, so that its task would have another id.
        ParameterError: a parameter does not fit the class any more, or a private one was not given.
    """
    return _Sidecars(Workspace.current()).restore(cls, unique_id, given)


class _Sidecars:
    """The sidecars of a workspace, found by unique id: by file name, or else by content."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._named: dict[str, list[str]] = {}
        self._unnamed: list[str] = []
        self._unfinished: set[str] = set()  # of tasks that wait for their parameters; no task is its own parameter
        for uri in workspace.store.list(f"{workspace.directory.rstrip('/')}/"):
            if uri.endswith(SIDECAR_SUFFIX):
                artifact = uri[: -len(SIDECAR_SUFFIX)]
                ids = _UNIQUE_ID.findall(posixpath.basename(artifact))
                for unique_id in ids:
                    self._named.setdefault(unique_id, []).append(artifact)
                if not ids:
                    self._unnamed.append(artifact)

    def restore(self, cls: Any, unique_id: str, given: Mapping[str, Any]) -> Any:
        sidecar = self._find(cls, unique_id)
        part: Any = sidecar.content["task"]
        if "class" not in part or "parameters" not in part or unique_id in self._unfinished:
            raise CorruptArtifactError(
                f"{cls.__qualname__}.restore({unique_id!r}): the sidecar of {sidecar.artifact.uri} does not describe a task",
                uri=sidecar.artifact.uri,
            )
        self._unfinished.add(unique_id)
        try:
            return self._restored(cls, unique_id, sidecar, part, given)
        finally:
            self._unfinished.discard(unique_id)

    def _restored(self, cls: Any, unique_id: str, sidecar: Sidecar, part: Any, given: Mapping[str, Any]) -> Any:
        found: Any = cls if logical_class_name(cls) == part["class"] else find_class_named(part["class"])
        if found is None or not issubclass(found, cls):
            raise IdentityError(
                f"{cls.__qualname__}.restore({unique_id!r}): the artifact {sidecar.artifact.uri} was made by {part['class']}, "
                + ("which cannot be found here" if found is None else f"which is no {cls.__qualname__}")
            )
        task = self._made(found, part["parameters"], given)
        if task.unique_id != unique_id:
            raise IdentityError(
                f"{cls.__qualname__}.restore({unique_id!r}): with the parameters of its sidecar {task!r} has the unique id "
                f"{task.unique_id} now; its class, or what it requires, has changed since {sidecar.published_at[:19]} UTC"
            )
        return task

    def _made(self, cls: Any, parts: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
        """Return the task with the parameters that a sidecar has."""
        return cls(
            **{
                name: self._value(cls, name, parameter, parts.get(name), given)
                for name, parameter in cls.get_parameters().items()
                if name in parts or name in given
            }
        )

    def _find(self, cls: Any, unique_id: str) -> Sidecar:
        for artifact in self._candidates(unique_id):
            try:
                sidecar = read_sidecar(self._workspace.store, artifact)
            except CorruptArtifactError:
                continue
            if sidecar is not None and sidecar.unique_id == unique_id:
                return sidecar
        raise MissingArtifactError(
            f"{cls.__qualname__}.restore({unique_id!r}): the workspace {self._workspace.directory} has no artifact of this id"
        )

    def _candidates(self, unique_id: str) -> Iterator[str]:
        yield from self._named.get(unique_id, ())
        yield from self._unnamed

    def _value(
        self, cls: Any, name: str, parameter: Parameter[Any], part: Mapping[str, Any] | None, given: Mapping[str, Any]
    ) -> Any:
        if name in given:
            return given[name]
        if part is None or "value" not in part:
            raise MissingParameterError(
                f"{cls.__qualname__}.{name} is private, so no sidecar holds it; give it: restore(unique_id, {name}=...)"
            )
        if not parameter.holds_tasks:
            return parameter.read(part["value"], cls.__qualname__, name)
        written = part["value"]
        if isinstance(written, list):
            return [self._task(cls, name, item) for item in written]
        return None if written is None else self._task(cls, name, written)

    def _task(self, cls: Any, name: str, written: Any) -> Any:
        """Return a task that was a parameter, from the parameter's JSON or from the task's own sidecar."""
        if not _is_written_task(written):
            raise ParameterValueError(f"{cls.__qualname__}.{name}: the sidecar has {written!r:.200}, which is no task")
        task_class: Any = find_class_named(written["task"])
        if task_class is None:
            raise ParameterValueError(f"{cls.__qualname__}.{name}: there is no task class {written['task']} here")
        if "parameters" in written:
            return self._made(task_class, written["parameters"], {})
        return self.restore(task_class, written["unique_id"], {})


def _is_written_task(written: object) -> bool:
    """Whether a value names a task: by class, and either by unique id or with all parameters."""
    if not isinstance(written, dict) or not isinstance(written.get("task"), str):
        return False
    parts = written.get("parameters")
    if parts is None:
        return isinstance(written.get("unique_id"), str)
    return isinstance(parts, dict) and all(isinstance(part, dict) for part in parts.values())
