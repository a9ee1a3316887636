"""The parts of a sidecar that describe a task: class, parameters, upstream, source."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_kart import settings
from airflow_kart.artifacts.sidecar.jsonable import as_json
from airflow_kart.artifacts.sidecar.source import source_of
from airflow_kart.identity.code import AUTO
from airflow_kart.parameters import Parameter, ParameterVisibility
from airflow_kart.parameters.label import label
from airflow_kart.tasks.model import Task, kind_of
from airflow_kart.tasks.nesting import KeyPath
from airflow_kart.tasks.outputs import read_targets
from airflow_kart.tasks.redaction import Redaction
from airflow_kart.tasks.resolution import resolve


@dataclass(frozen=True, slots=True)
class TaskOwner:
    """A task as the owner of its targets."""

    task: Task

    @property
    def unique_id(self) -> str:
        """The task's unique id."""
        return self.task.unique_id

    def describe(self, input_checksums: Mapping[str, str]) -> dict[str, Any]:
        """Return the parts of a sidecar that describe the task."""
        return task_parts(self.task, input_checksums, Redaction(self.task))

    def object_metadata(self) -> dict[str, str]:
        """Return the metadata of the task's objects in a bucket: task, unique id, upstream, public parameters."""
        return object_metadata(self.task)

    def redact(self, text: str) -> str:
        """Return a text without the secrets of the task."""
        return Redaction(self.task).text(text)


def task_parts(task: Task, input_checksums: Mapping[str, str], redaction: Redaction) -> dict[str, Any]:
    """Return the parts of a sidecar that describe a task: the task itself, its upstream, its source and its log.

    Args:
        task: the task.
        input_checksums: the SHA-256 of each input's artifact, by uri, as far as known.
        redaction: takes secrets out of the log.
    """
    cls, resolution = type(task), resolve(task)
    fingerprint = resolution.fingerprint
    return {
        "task": {
            "class": resolution.class_name,
            "unique_id": task.unique_id,
            "code_version": cls.code_version if fingerprint is None else AUTO,
            "label": label(task),
            "parameters": _parameters(task),
        },
        "upstream": [upstream_part(path, required, input_checksums) for path, required in resolution.inputs],
        "source": source_of(cls, fingerprint),
        "task_log": redaction.json(as_json(dict(task.task_log))) if task.task_log else {},
    }


def upstream_part(
    path: KeyPath, required: Task, input_checksums: Mapping[str, str], *, dynamic: bool = False
) -> dict[str, Any]:
    """Return the part of a sidecar that describes one required task.

    Args:
        path: the keys of the task in ``requires()``, or in the value that ``run()`` yielded.
        required: the task.
        input_checksums: the SHA-256 of each input's artifact that is known, by uri.
        dynamic: whether ``run()`` asked for the task.
    """
    return {
        "key": list(path),
        "class": resolve(required).class_name,
        "unique_id": required.unique_id,
        "artifacts": [
            {"uri": uri, "sha256": input_checksums.get(uri, input_checksums.get(target.uri))}
            for target in read_targets(required)
            for uri in [target.located().uri]
        ],
        **({"dynamic": True} if dynamic else {}),
    }


def object_metadata(task: Task) -> dict[str, str]:
    """Return the metadata of a task's objects in a bucket: task, unique id, upstream, public parameters."""
    public = {
        f"kart-parameter-{name}": parameter.serialize(getattr(task, name))
        for name, parameter in type(task).get_parameters().items()
        if parameter.significant and not parameter.holds_tasks and parameter.visibility is not ParameterVisibility.PRIVATE
    }
    resolution = resolve(task)
    upstream = ",".join(dict.fromkeys(required.unique_id for _, required in resolution.inputs))
    return {
        "kart-task": resolution.class_name,
        "kart-unique-id": task.unique_id,
        **({"kart-upstream": upstream} if upstream else {}),
        **public,
    }


def _parameters(task: Task) -> dict[str, dict[str, Any]]:
    return {name: _parameter_part(getattr(task, name), parameter) for name, parameter in task.get_parameters().items()}


def _parameter_part(value: Any, parameter: Parameter[Any]) -> dict[str, Any]:
    described: dict[str, Any] = {"type": type(parameter).__name__, "significant": parameter.significant}
    if parameter.visibility is ParameterVisibility.PRIVATE:
        return {**described, "private": True, "digest": _private_digest(parameter.serialize(value))}
    written = parameter.to_json(value)
    if parameter.holds_tasks and value is not None:
        if isinstance(value, tuple):
            written = [_held_task(held, part) for held, part in zip(value, written, strict=True)]
        else:
            written = _held_task(value, written)
    return {**described, "value": written}


def _private_digest(text: str) -> str | None:
    """Return the HMAC-SHA256 (RFC 2104) of a text under ``[kart] private_digest_key``, or ``None`` without a key."""
    key = settings.kart_option("private_digest_key")
    return hmac.new(key.encode(), text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest() if key else None


def _held_task(held: Task, written: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON of a task that is a parameter, with the task's own parameters if no sidecar has them."""
    return written if kind_of(held).sidecar else {**written, "parameters": _parameters(held)}
