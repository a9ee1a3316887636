"""A row of the catalogue: what is asked of many artifacts, read from a sidecar."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import msgspec

from airflow_kart.artifacts.sidecar.document import require_digest
from airflow_kart.exceptions import CorruptArtifactError
from airflow_kart.storage import ObjectContent

UNREADABLE = "unreadable"
"""The state of a sidecar that cannot be read."""


class Upstream(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A required task."""

    cls: str
    unique_id: str
    uris: list[str]


class Brief(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """An artifact, as far as sums need it: the beginning of a row, which takes half of the time to read."""

    name: str
    """Of the artifact, in its folder."""
    version: str
    """Of the sidecar, in its store."""
    cls: str
    unique_id: str
    made_at: str
    bytes: int = 0
    rows: int | None = None
    seconds: float = 0.0
    dag_id: str | None = None
    run_id: str | None = None
    reused_from: str | None = None
    """The unique id of the equal run, or of the adopted artifact, that the bytes come from."""
    state: str = ""
    """``damaged``, ``replaced`` while a run replaces the artifact, ``requested`` when somebody asked for a run, or ``unreadable``."""
    airflow_task_id: str | None = None
    publication: str | None = None


class _Id(msgspec.Struct, array_like=True, gc=False, frozen=True):
    cls: str
    unique_id: str


class Links(Brief, array_like=True, gc=False, frozen=True):
    """The beginning of a row with the required tasks."""

    upstream: list[_Id] = []


class Row(Brief, array_like=True, gc=False, frozen=True):
    """An artifact."""

    upstream: list[Upstream] = []
    format: str = ""
    type: str = ""
    sha256: str = ""
    code_version: str | None = None
    fingerprint: str | None = None
    content_key: str | None = None
    labels: dict[str, str] = {}
    parameters: dict[str, Any] = {}
    private: list[str] = []
    """The names of private parameters."""


class _Artifact(msgspec.Struct, gc=False):
    bytes: int
    format: str
    sha256: str
    type: str = ""
    rows: int | None = None
    labels: dict[str, str] = {}


class _Parameter(msgspec.Struct, gc=False):
    value: Any = None
    private: bool = False


class _Task(msgspec.Struct, gc=False, rename={"cls": "class"}):
    unique_id: str | None = None
    cls: str | None = None
    code_version: str | None = None
    parameters: dict[str, _Parameter] = {}


class _Input(msgspec.Struct, gc=False):
    uri: str


class _Required(msgspec.Struct, gc=False, rename={"cls": "class"}):
    unique_id: str
    cls: str
    artifacts: list[_Input] = []


class _Run(msgspec.Struct, gc=False):
    seconds: float | None = None
    finished_at: str | None = None


class _Source(msgspec.Struct, gc=False):
    fingerprint: str | None = None


class _Airflow(msgspec.Struct, gc=False):
    dag_id: str | None = None
    run_id: str | None = None
    task_id: str | None = None


class _Origin(msgspec.Struct, gc=False):
    unique_id: str | None = None


class _Document(msgspec.Struct, gc=False):
    schema_version: int
    artifact: _Artifact
    task: _Task | None = None
    upstream: list[_Required] | None = None
    run: _Run | None = None
    source: _Source | None = None
    airflow: _Airflow | None = None
    publication: str | None = None
    content_key: str | None = None
    reused_from: _Origin | None = None
    damaged: dict[str, Any] | None = None
    replaces: list[str] | None = None
    replaces_publications: list[str | None] | None = None


_DECODE = msgspec.json.Decoder(_Document).decode


def row_of(uri: str, name: str, found: ObjectContent) -> Row:
    """Return the row of a sidecar; one that cannot be read has a row that says so.

    Args:
        uri: of the sidecar.
        name: of the artifact.
        found: the sidecar's bytes.
    """
    with contextlib.suppress(
        msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError, CorruptArtifactError
    ):
        read = _DECODE(found.data)
        require_digest(uri, found.data, read.schema_version)
        return _row(name, found.version, read)
    return Row(name, found.version, "", "", "", state=UNREADABLE)


def _row(name: str, version: str, read: _Document) -> Row:
    task, run, made = read.task or _Task(), read.run or _Run(), read.airflow or _Airflow()
    artifact, origin = read.artifact, read.reused_from
    return Row(
        name,
        version,
        task.cls or "",
        task.unique_id or "",
        run.finished_at or "",
        artifact.bytes,
        artifact.rows,
        run.seconds or 0.0,
        made.dag_id,
        made.run_id,
        None if origin is None else origin.unique_id,
        _state(read),
        made.task_id,
        read.publication,
        [Upstream(one.cls, one.unique_id, [each.uri for each in one.artifacts]) for one in read.upstream or ()],
        artifact.format,
        artifact.type,
        artifact.sha256,
        task.code_version,
        None if read.source is None else read.source.fingerprint,
        read.content_key,
        artifact.labels,
        {key: part.value for key, part in task.parameters.items() if not part.private},
        [key for key, part in task.parameters.items() if part.private],
    )


def _state(read: _Document) -> str:
    if read.damaged:
        return "damaged"
    if read.replaces is None:
        return ""
    own = (read.artifact.sha256, read.publication)
    older = zip(read.replaces, read.replaces_publications or [None] * len(read.replaces), strict=False)
    return "requested" if read.replaces and set(older) == {own} else "replaced"


def words_of(parameters: Mapping[str, Any], private: list[str]) -> str:
    """Return parameters as ``day=2013-03-01, depth=6``; a task as its class's name, a private value as stars."""
    shown = {**{name: short(value) for name, value in parameters.items()}, **dict.fromkeys(private, "***")}
    return ", ".join(f"{name}={value}" for name, value in shown.items())


def short(value: Any) -> str:
    """Return a parameter's JSON in words: a text as it is, a task held as its class and the beginning of its unique id."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and "unique_id" in value and "task" in value:
        return f"{str(value['task']).rpartition('.')[2]}({str(value['unique_id'])[:8]})"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return f"[{', '.join(map(short, value))}]"
    return msgspec.json.encode(value).decode()
