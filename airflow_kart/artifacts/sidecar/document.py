"""The sidecar as a document: its parts, and a reader that trusts none of them.

``sidecar.schema.json`` (JSON Schema, draft 2020-12), which ships with the package, specifies the whole document. The
classes here type only the parts that the package reads back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from airflow_kart.artifacts.sidecar.jsonable import Json, as_json
from airflow_kart.exceptions import CorruptArtifactError
from airflow_kart.storage import Lookup

__all__ = ["SCHEMA_VERSION", "SIDECAR_SUFFIX", "ArtifactRecord", "Sidecar", "read_sidecar", "sidecar_uri"]

SIDECAR_SUFFIX = ".kart.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class ArtifactRecord:
    """The sidecar's record of the artifact's bytes."""

    uri: str
    format: str
    bytes: int
    sha256: str
    xxh3: str
    type: str
    rows: int | None = None
    columns: dict[str, str] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sidecar:
    """A sidecar that was read, or is about to be written."""

    artifact: ArtifactRecord
    content: Mapping[str, Any]
    """The whole document, with the artifact's record."""
    replaces: tuple[str, ...] | None = None
    """During a replacement: the SHA-256 of the older artifacts that readers may still find and load."""
    version: str | None = field(default=None, compare=False, repr=False)
    """The version of the sidecar as an object of its store; ``None`` before it is written."""

    @classmethod
    def of(cls, artifact: ArtifactRecord, parts: Mapping[str, object]) -> Sidecar:
        """Make the document of an artifact from its other parts."""
        return cls(artifact, {"schema_version": SCHEMA_VERSION, "artifact": asdict(artifact), **parts})

    def to_bytes(self) -> bytes:
        """Return the document as UTF-8 JSON."""
        # A line for each part: readable, and unlike with an indent json's C encoder does the work.
        parts = ",\n".join(f"{_as_line(name)}: {_as_line(as_json(part, 1))}" for name, part in self.content.items())
        return f"{{\n{parts}\n}}\n".encode("utf-8", "replace")

    @property
    def accepted_checksums(self) -> tuple[str, ...]:
        """The SHA-256 values that the artifact may have: the recorded one, and during a replacement the older ones."""
        return tuple(dict.fromkeys((self.artifact.sha256, *(self.replaces or ()))))

    @property
    def unique_id(self) -> str | None:
        """The unique id of the task that made the artifact."""
        found = self._part("task").get("unique_id")
        return found if isinstance(found, str) else None

    @property
    def seconds(self) -> float:
        """How long the task ran, in seconds; 0.0 without a measurement."""
        found = self._part("run").get("seconds")
        return float(found) if isinstance(found, (int, float)) else 0.0

    @property
    def published_at(self) -> str:
        """When the artifact was published (ISO 8601, UTC), or an empty text."""
        return str(self._part("run").get("finished_at") or "")

    @property
    def inputs(self) -> dict[str, str | None]:
        """The SHA-256 of each input artifact, by uri; ``None`` where the task did not load the input."""
        upstream: Any = self.content.get("upstream")
        required = [part for part in upstream if isinstance(part, Mapping)] if isinstance(upstream, list) else []
        artifacts = [artifact for part in required for artifact in part.get("artifacts") or ()]
        return {
            artifact["uri"]: artifact.get("sha256")
            for artifact in artifacts
            if isinstance(artifact, Mapping) and "uri" in artifact
        }

    @property
    def airflow_run(self) -> tuple[str, str] | None:
        """The DAG id and run id of the DAG run that made the artifact; ``None`` outside Airflow."""
        part = self._part("airflow")
        dag_id, run_id = part.get("dag_id"), part.get("run_id")
        return (str(dag_id), str(run_id)) if dag_id and run_id else None

    def _part(self, name: str) -> Mapping[str, Any]:
        part = self.content.get(name)
        return part if isinstance(part, Mapping) else {}


def _as_line(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def sidecar_uri(artifact_uri: str) -> str:
    """Return the uri of an artifact's sidecar."""
    return artifact_uri + SIDECAR_SUFFIX


def read_sidecar(store: Lookup, artifact_uri: str) -> Sidecar | None:
    """Read the sidecar of an artifact, or return ``None`` where there is none.

    Raises:
        CorruptArtifactError: the object is not JSON, or not a sidecar.
    """
    uri = sidecar_uri(artifact_uri)
    found = store.read(uri)
    if found is None:
        return None
    try:
        content = json.loads(found.data)
    except (ValueError, RecursionError) as error:
        raise CorruptArtifactError(f"the sidecar {uri} is not JSON ({error})") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise CorruptArtifactError(
            f"the sidecar {uri} has schema version {version!r}; this airflow_kart reads version {SCHEMA_VERSION}"
        )
    replaces = content.get("replaces")
    if replaces is not None and not (isinstance(replaces, list) and all(isinstance(one, str) for one in replaces)):
        raise CorruptArtifactError(f"the sidecar {uri} does not list the checksums it replaces: {replaces!r}")
    before = None if replaces is None else tuple(replaces)
    return Sidecar(_artifact_record(uri, content), content, before, found.version)


def _artifact_record(uri: str, content: Mapping[str, Any]) -> ArtifactRecord:
    part = content.get("artifact")
    expected = {"uri": str, "format": str, "bytes": int, "sha256": str, "xxh3": str, "type": str}
    if not isinstance(part, dict) or any(not isinstance(part.get(name), kind) for name, kind in expected.items()):
        raise CorruptArtifactError(f"the sidecar {uri} does not describe an artifact: it needs {', '.join(expected)}")
    options, labels = part.get("options") or {}, part.get("labels") or {}
    if not isinstance(options, dict) or not isinstance(labels, dict):
        raise CorruptArtifactError(f"the sidecar {uri} has options or labels that are no object: {options!r}, {labels!r}")
    return ArtifactRecord(
        **{name: part[name] for name in expected},
        rows=part.get("rows"),
        columns=part.get("columns"),
        options=options,
        labels=labels,
    )
