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
    StorageError,
)
from airflow_kart.identity.encoding import Identified
from airflow_kart.identity.lookup import LOOKED_UP, find_class_named
from airflow_kart.identity.names import logical_class_name
from airflow_kart.parameters import Parameter
from airflow_kart.parameters.base import described
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.resolution import Classes, resolve

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
    return Restoration(Workspace.current()).restore(cls, unique_id, given)


class Restoration:
    """Makes tasks from the sidecars of a workspace and of those that it reads, by unique id: by file name, or else by content.

    Args:
        workspace: the workspace.
        any_id: accept tasks that have other ids now: their code has changed. Private parameters that do not count in ids
            then get their defaults.
    """

    def __init__(self, workspace: Workspace, *, any_id: bool = False) -> None:
        self._workspace = workspace
        self._any_id = any_id
        self._made_before: dict[str, Any] = {}
        self._resolved: tuple[dict[bytes, Any], Classes] = {}, Classes({}, {})
        self._named: dict[str, list[str]] = {}
        self._unnamed: list[str] = []
        self._open: list[str] = []  # the tasks being restored, each for the one before
        for uri in (uri for each in (workspace.directory, *workspace.others) for uri in self._listed(each)):
            if uri.endswith(SIDECAR_SUFFIX):
                artifact = uri[: -len(SIDECAR_SUFFIX)]
                ids = _UNIQUE_ID.findall(posixpath.basename(artifact))
                for unique_id in ids:
                    self._named.setdefault(unique_id, []).append(artifact)
                if not ids:
                    self._unnamed.append(artifact)

    def _listed(self, directory: str) -> Iterator[str]:
        try:
            yield from self._workspace.store_of(directory).list(f"{directory.rstrip('/')}/")
        except StorageError:
            if directory == self._workspace.directory:
                raise

    def restore(self, cls: Any, unique_id: str, given: Mapping[str, Any]) -> Any:
        """Return the task of a unique id; see :func:`restore`."""
        sidecar = self._find(cls, unique_id)
        name, parameters = _described(sidecar)
        found: Any = cls if logical_class_name(cls) == name else find_class_named(name)
        if found is None or not issubclass(found, cls):
            raise IdentityError(
                f"{cls.__qualname__}.restore({unique_id!r}): {name} made the artifact {sidecar.artifact.uri}; "
                + (f"there is no such class here; {LOOKED_UP}" if found is None else f"it is no {cls.__qualname__}"),
                task=cls.__qualname__,
                uri=sidecar.artifact.uri,
            )
        task = self.made(found, parameters, given)
        if task.unique_id != unique_id and not self._any_id:
            raise IdentityError(
                f"{cls.__qualname__}.restore({unique_id!r}): with the parameters of its sidecar {task!r} has the unique id "
                f"{task.unique_id} now; its class, or what it requires, has changed since {sidecar.published_at[:19]} UTC"
            )
        return task

    def made(self, cls: Any, parts: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
        """Return the task with the parameters that a sidecar has."""
        if not isinstance(parts, Mapping):
            raise ParameterValueError(
                f"the sidecar's parameters of a {cls.__qualname__} are {described(parts)}, not an object"
            )
        task = cls(
            **{
                name: self._value(cls, name, parameter, parts.get(name), given)
                for name, parameter in cls.get_parameters().items()
                if name in given or (name in parts and not self._is_left_out(parameter, parts[name]))
            }
        )
        resolve(task, *self._resolved)
        return task

    def _is_left_out(self, parameter: Parameter[Any], part: object) -> bool:
        return self._any_id and not parameter.significant and isinstance(part, Mapping) and "value" not in part

    def _find(self, cls: Any, unique_id: str) -> Sidecar:
        for artifact in (*self._named.get(unique_id, ()), *self._unnamed):
            try:
                sidecar = read_sidecar(self._workspace.store_of(artifact), artifact)
            except CorruptArtifactError:
                continue
            if sidecar is not None and sidecar.unique_id == unique_id:
                return sidecar
        raise MissingArtifactError(
            f"{cls.__qualname__}.restore({unique_id!r}): the workspace {self._workspace.directory} has no artifact of this id"
        )

    def _value(
        self, cls: Any, name: str, parameter: Parameter[Any], part: Mapping[str, Any] | None, given: Mapping[str, Any]
    ) -> Any:
        if name in given:
            return given[name]
        if not isinstance(part, Mapping) or "value" not in part:
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
        where = f"{cls.__qualname__}.{name}"
        part = written if isinstance(written, Mapping) else {}
        class_name, unique_id, parameters = part.get("task"), part.get("unique_id"), part.get("parameters")
        if not isinstance(class_name, str) or not isinstance(unique_id, str):
            raise ParameterValueError(
                f"{where}: the sidecar does not describe a task: {described(written)}", task=cls.__qualname__, parameter=name
            )
        task_class: Any = find_class_named(class_name)
        if task_class is None or not issubclass(task_class, Identified):
            raise ParameterValueError(
                f"{where}: there is no task class {class_name} here; {LOOKED_UP}", task=cls.__qualname__, parameter=name
            )
        if unique_id in self._open:
            raise ParameterValueError(
                f"{where}: the sidecars say that the task {unique_id} holds itself", task=cls.__qualname__, parameter=name
            )
        if parameters is None and unique_id in self._made_before:
            return self._made_before[unique_id]
        self._open.append(unique_id)
        try:
            if parameters is not None:
                return self.made(task_class, parameters, {})
            task = self._made_before[unique_id] = self.restore(task_class, unique_id, {})
            return task
        finally:
            self._open.remove(unique_id)


def _described(sidecar: Sidecar) -> tuple[str, Mapping[str, Any]]:
    """Return the name of the class and the parameters that a sidecar holds.

    Raises:
        CorruptArtifactError: the sidecar holds no such things.
    """
    part = sidecar.content.get("task") or {}
    name, parameters = part.get("class"), part.get("parameters")
    if name is None or parameters is None:
        uri = sidecar.artifact.uri
        raise CorruptArtifactError(f"the sidecar of {uri} does not name a task class and its parameters", uri=uri)
    return name, parameters
