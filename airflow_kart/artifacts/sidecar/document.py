"""The sidecar as a document: its parts, and a reader that trusts none of them.

``sidecar.schema.json`` (JSON Schema, draft 2020-12), which ships with the package, specifies the whole document. The
classes here type only the parts that the package reads back.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any, TypeAlias

from airflow_kart.artifacts.sidecar.code import MadeWith
from airflow_kart.artifacts.sidecar.jsonable import encoded
from airflow_kart.artifacts.sidecar.validation import wrong_part
from airflow_kart.exceptions import CorruptArtifactError
from airflow_kart.idioms.kept import kept
from airflow_kart.storage import Expected, Lookup, ObjectStat, Store

SIDECAR_SUFFIX = ".kart.json"
SCHEMA_VERSION = 2
_READABLE = (1, 2)  # documents of version 1 have neither digest nor publication
_LONGEST = 256 << 20


Publications: TypeAlias = tuple[tuple[str, str | None], ...]
"""SHA-256 and publication of artifacts that readers may find; ``None`` for an unknown publication."""


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
    """A sidecar: read from a store, or about to be written."""

    artifact: ArtifactRecord
    content: Mapping[str, Any]
    """The whole document, with the artifact's record, but for its own digest."""
    replaces: tuple[str, ...] | None = None
    """During a replacement: the SHA-256 of the older artifacts that readers may still find and load."""
    version: str | None = field(default=None, compare=False, repr=False)
    """The version of the sidecar as an object of its store; ``None`` before it is written."""

    @classmethod
    def of(cls, artifact: ArtifactRecord, parts: Mapping[str, object]) -> Sidecar:
        """Make the document of an artifact from its other parts."""
        return cls(artifact, {"schema_version": SCHEMA_VERSION, "artifact": dict(vars(artifact)), **parts})

    def to_bytes(self) -> bytes:
        """Return the document as UTF-8 JSON, with a digest of all bytes before the digest."""
        # A line for each part: readable, and unlike with an indent json's C encoder does the work.
        content = {**self.content, "schema_version": SCHEMA_VERSION}
        parts = "".join(
            [f'"{name}": {encoded(part) if name not in _OF_MANY else _of_many(part)},\n' for name, part in content.items()]
        )
        body = f"{{\n{parts}".encode("utf-8", "replace")
        return body + _digest_line(body)

    def replacing(self, before: Publications, *, named: bool = False) -> Sidecar:
        """Return the interim sidecar of a replacement, under which readers also accept the artifacts before.

        Args:
            before: the artifacts before.
            named: whether somebody asked for this very task to run again.
        """
        sha256s = tuple(sha256 for sha256, _ in before)
        interim = {"replaces": list(sha256s), "replaces_publications": [publication for _, publication in before]}
        content = {**self.content, **interim, **({"named": True} if named else {})}
        return replace(self, content=content, replaces=sha256s)

    def found_damaged(self, sha256: str) -> Sidecar:
        """Return the sidecar of an artifact whose bytes have another SHA-256 than the recorded one."""
        found_at = dt.datetime.now(dt.timezone.utc).isoformat()
        return replace(self, content={**self.content, "damaged": {"sha256": sha256, "found_at": found_at}})

    @property
    def publication(self) -> str | None:
        """The id that all outputs of one run share.

        ``None`` for an artifact that was dumped outside of a run, or by a version of this package without publications.
        """
        found: str | None = self.content.get("publication")
        return found

    @property
    def publications(self) -> Publications:
        """The artifacts that readers may find: the recorded one, then during a replacement the older ones."""
        older = zip_longest(self.replaces or (), self.content.get("replaces_publications") or ())
        return tuple(dict.fromkeys([(self.artifact.sha256, self.publication), *older]))

    @property
    def is_requested(self) -> bool:
        """Whether somebody asked for a recomputation that no run has begun to publish."""
        return self.replaces is not None and set(self.publications) == {(self.artifact.sha256, self.publication)}

    def describes(self, stat: ObjectStat | None) -> bool:
        """Whether an artifact of these facts is as the sidecar says, neither damaged nor half replaced; a request to run changes no byte."""
        untouched = self.damage is None and (self.replaces is None or self.is_requested)
        return untouched and stat is not None and stat.size == self.artifact.bytes

    @property
    def damage(self) -> str | None:
        """The reason why a marked artifact is incomplete, ``None`` for an unmarked one."""
        part = self._part("damaged")
        if not part:
            return None
        found = f"on {str(part.get('found_at'))[:10]} its SHA-256 was {part.get('sha256')}"
        return f"the artifact is damaged: {found}, its sidecar says {self.artifact.sha256}"

    @property
    def accepted_checksums(self) -> tuple[str, ...]:
        """The SHA-256 values that the artifact may have: the recorded one, and during a replacement the older ones."""
        return tuple(dict.fromkeys((self.artifact.sha256, *(self.replaces or ()))))

    @property
    def unique_id(self) -> str | None:
        """The unique id of the task that made the artifact."""
        return self._part("task").get("unique_id")

    @property
    def class_name(self) -> str | None:
        """The logical name of the class of the task that made the artifact."""
        return self._part("task").get("class")

    @kept
    def made_with(self) -> MadeWith:
        """The code that made the artifact."""
        return MadeWith.of(self._part("source"), self._part("upstream_code"), self._part("airflow"))

    @property
    def seconds(self) -> float:
        """How long the task ran, in seconds; 0.0 without a measurement."""
        return float(self._part("run").get("seconds") or 0.0)

    @property
    def published_at(self) -> str:
        """When the artifact was published (ISO 8601, UTC), or an empty text."""
        return str(self._part("run").get("finished_at") or "")

    @property
    def is_reused(self) -> bool:
        """Whether the artifact is a copy of an equal run's."""
        return "reused_from" in self.content

    @property
    def adoptions(self) -> list[Mapping[str, Any]]:
        """The records of the changes of code that people said do not matter to this artifact, the latest last."""
        return list(self.content.get("adopted") or ())

    @property
    def code(self) -> dict[str, str | None]:
        """Code version and fingerprint of the class."""
        return {
            "code_version": self._part("task").get("code_version"),
            "fingerprint": self.made_with.fingerprint,
        }

    @property
    def inputs(self) -> dict[str, str | None]:
        """The SHA-256 of each input artifact, by uri; ``None`` where the task did not load the input."""
        artifacts = [one for required in self.content.get("upstream") or () for one in required.get("artifacts") or ()]
        return {artifact["uri"]: artifact.get("sha256") for artifact in artifacts}

    @property
    def airflow_run(self) -> tuple[str, str] | None:
        """The DAG id and run id of the DAG run that made the artifact; ``None`` outside Airflow."""
        part = self._part("airflow")
        dag_id, run_id = part.get("dag_id"), part.get("run_id")
        return (str(dag_id), str(run_id)) if dag_id and run_id else None

    @property
    def airflow_try(self) -> tuple[object, object, int] | None:
        """The task id, map index and try of the task instance that made the artifact; ``None`` outside Airflow."""
        part = self._part("airflow")
        number = part.get("try_number")
        return (part.get("task_id"), part.get("map_index"), number) if isinstance(number, int) else None

    def _part(self, name: str) -> Mapping[str, Any]:
        return self.content.get(name) or {}


def upstream_code(inputs: Iterable[Sidecar]) -> dict[str, list[str]]:
    """Return the part of a sidecar with the fingerprints of all classes upstream, by logical name.

    Args:
        inputs: the sidecars of the artifacts that a task reads.
    """
    found: dict[str, set[str]] = {}
    for sidecar in inputs:
        made_with = sidecar.made_with
        if made_with.fingerprint is not None and sidecar.class_name is not None:
            found.setdefault(sidecar.class_name, set()).add(made_with.fingerprint)
        for name, fingerprints in made_with.upstream:
            found.setdefault(name, set()).update(fingerprints)
    return {name: sorted(found[name]) for name in sorted(found)}


def _of_many(part: object) -> str:
    """Return a part that many artifacts share as JSON; it is encoded once."""
    known = _SHARED.get(id(part))
    if known is None or known[0] is not part:
        if len(_SHARED) >= _MOST_SHARED:
            _SHARED.clear()
        known = _SHARED[id(part)] = part, encoded(part)
    return known[1]


_OF_MANY = frozenset({"environment", "source"})
_MOST_SHARED = 256
_SHARED: dict[int, tuple[object, str]] = {}
"""Parts and their lines, by the identity of the part."""


def _digest_line(body: bytes) -> bytes:
    return b'"digest": "%b"\n}\n' % hashlib.sha256(body).hexdigest().encode()


_DIGEST_LINE = len(_digest_line(b""))


def sidecar_uri(artifact_uri: str) -> str:
    """Return the uri of an artifact's sidecar."""
    return artifact_uri + SIDECAR_SUFFIX


def write_sidecar(store: Store, sidecar: Sidecar, expected: Expected) -> str:
    """Publish a sidecar; return its version.

    The process remembers the sidecars that it has written last, so that a later look costs one request, and no decoding.
    Versions of stores without conditional writes may be too coarse for that.

    Raises:
        ConflictError: another sidecar than the expected one is there.
        StorageError: the store refused.
    """
    uri = sidecar_uri(sidecar.artifact.uri)
    upload = store.upload(uri)
    try:
        upload.write(sidecar.to_bytes())
        version = upload.publish(expected)
    except BaseException:
        upload.discard()
        raise
    if not store.conditional:
        return version
    with contextlib.suppress(StopIteration, RuntimeError):  # another thread makes room at this moment
        while len(_WRITTEN) >= _MOST_REMEMBERED:
            _WRITTEN.pop(next(iter(_WRITTEN)), None)
    _WRITTEN[store, uri] = Sidecar(sidecar.artifact, sidecar.content, sidecar.replaces, version)
    return version


_MOST_REMEMBERED = 4096
_WRITTEN: dict[tuple[Lookup, str], Sidecar] = {}
atexit.register(_WRITTEN.clear)  # else the collections with which Python ends would look at every part of each document


def read_sidecar(store: Lookup, artifact_uri: str) -> Sidecar | None:
    """Read the sidecar of an artifact, or return ``None`` where there is none.

    Raises:
        CorruptArtifactError: the object is not a sidecar, or was changed after it was written.
    """
    uri = sidecar_uri(artifact_uri)
    written = _WRITTEN.get((store, uri))
    if written is not None:
        stat = store.stat(uri)
        if stat is not None and stat.version == written.version:
            return written
        _WRITTEN.pop((store, uri), None)
    found = store.read(uri)
    if found is None:
        return None
    content = _content(uri, found.data)
    replaces = content.get("replaces")
    return Sidecar(
        ArtifactRecord(**content["artifact"]), content, None if replaces is None else tuple(replaces), found.version
    )


def _content(uri: str, data: bytes) -> dict[str, Any]:
    """Return the document, verified."""
    if len(data) > _LONGEST:
        raise CorruptArtifactError(f"the sidecar {uri} is too long: {len(data):,} bytes", uri=uri)
    try:
        content: object = json.loads(data.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise CorruptArtifactError(f"the sidecar {uri} is not JSON ({error})", uri=uri) from error
    if not isinstance(content, dict):
        raise CorruptArtifactError(f"the sidecar {uri} is not a JSON object", uri=uri)
    version = content.get("schema_version")
    if type(version) is not int or version not in _READABLE:
        raise CorruptArtifactError(
            f"the sidecar {uri} has schema version {version!r:.100}; this airflow_kart reads version 1 to {SCHEMA_VERSION}",
            uri=uri,
        )
    require_digest(uri, data, version)
    if (wrong := wrong_part(content, data.count(b"{") + data.count(b"["))) is not None:
        raise CorruptArtifactError(f"the sidecar {uri} cannot be used: {wrong}; run the task again", uri=uri)
    content.pop("digest", None)
    return content


def require_digest(uri: str, data: bytes, version: int) -> None:
    """Require that nobody has changed a sidecar since a run wrote it.

    Args:
        uri: of the sidecar.
        data: its bytes.
        version: of its schema.

    Raises:
        CorruptArtifactError: somebody has changed it.
    """
    body, digest = data[:-_DIGEST_LINE], data[-_DIGEST_LINE:]
    if version > 1 and digest != _digest_line(body):
        raise CorruptArtifactError(
            f"the sidecar {uri} was changed after it was written: its digest does not fit; run the task again", uri=uri
        )


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")
