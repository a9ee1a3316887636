"""Publication: the outputs of one run, written aside and made visible together.

Order matters, since a process can die anywhere. A new artifact is published before its sidecar: without a sidecar it
does not count. To replace an artifact, the new sidecar goes first and names the checksum of both the new artifact and
the one it replaces, so that readers accept whichever they find; then the artifact; then the sidecar as it stays. An
interrupted replacement leaves something readable that does not count as complete, so the task runs again.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import posixpath
from collections import deque
from collections.abc import Collection, Mapping
from contextlib import ExitStack, closing
from contextvars import ContextVar, Token
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from typing_extensions import Self

from airflow_kart.exceptions import ConfigurationError, CorruptArtifactError, FormatError, KartError
from airflow_kart.formats import Format, describe, options_of
from airflow_kart.sidecar import ArtifactRecord, Sidecar, environment, read_sidecar, sidecar_uri
from airflow_kart.storage import Store, Upload

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

__all__ = ["Publication", "begin_replacement"]

_IN_LINE = 128 << 10  # a smaller chunk is hashed before a thread would have taken it
_COPIED = 4 << 20  # copying what is larger would take more memory than it is worth
_AHEAD = 8  # chunks that wait to be hashed


class Publication:
    """The outputs of one run, staged until they are published.

    As a context manager it is the current publication of the block, and discards what was not published.

    Args:
        uris: the uris it expects; :meth:`~airflow_kart.target.Target.dump` publishes others at once.
    """

    def __init__(self, uris: Collection[str]) -> None:
        self._uris = frozenset(uris)
        self._staged: dict[str, _Staged] = {}
        self._entered: Token[Publication | None] | None = None
        self.input_checksums: dict[str, str] = {}
        """The SHA-256 of each artifact loaded inside the block, by uri."""

    @classmethod
    def current(cls) -> Publication | None:
        """Return the publication of the surrounding block."""
        return _CURRENT.get()

    @classmethod
    def expecting(cls, uri: str) -> Publication | None:
        """Return the publication that a uri is an output of, or ``None``; a task's own threads find its publication too.

        Raises:
            ConfigurationError: the thread belongs to no run, and two runs of the process have this output.
        """
        current = _CURRENT.get()
        if current is not None:
            return current if current.expects(uri) else None
        found = [publication for publication in list(_ENTERED) if publication.expects(uri)]
        if len(found) > 1:
            raise ConfigurationError(
                f"two runs in this process make {uri} and cannot tell whose thread this is; dump in run()'s own"
            )
        return found[0] if found else None

    def expects(self, uri: str) -> bool:
        """Whether the uri is one of this run's outputs."""
        return uri in self._uris

    @property
    def missing(self) -> list[str]:
        """The expected uris that nothing was dumped to, sorted."""
        return sorted(self._uris - self._staged.keys())

    def stage(self, uri: str, store: Store, target_format: Format, obj: Any) -> None:
        """Write an object aside; a second object for the same uri replaces the first.

        Raises:
            FormatError: the format cannot write the object.
            StorageError: the store refused.
        """
        upload = store.upload(uri)
        with closing(_ChecksumStream(upload)) as stream:
            try:
                description = target_format.dump(obj, stream) or describe(obj)
                upload.finish()
            except FormatError as error:
                upload.discard()
                raise FormatError(f"could not dump to {uri}: {error}") from error
            except (KartError, OSError, MemoryError):
                upload.discard()
                raise
            except Exception as error:
                upload.discard()
                raise FormatError(f"could not dump to {uri}: {type(error).__name__}: {error}") from error
            except BaseException:  # the process is asked to stop
                upload.discard()
                raise
            sha256 = stream.hexdigest
        if uri in self._staged:
            self._staged[uri].upload.discard()
        record = ArtifactRecord(
            uri=uri,
            format=target_format.name,
            bytes=stream.size,
            sha256=sha256,
            options=options_of(target_format),
            **asdict(description),
        )
        self._staged[uri] = _Staged(store, upload, record)

    def publish(self, parts: Mapping[str, Any]) -> list[Sidecar]:
        """Make every staged output visible, and write its sidecar from its record and the given parts.

        Raises:
            StorageError: the store refused; what was not published yet stays invisible.
        """
        now = dt.datetime.now(dt.timezone.utc).isoformat()
        rest = {**parts, "environment": environment()}
        rest["run"] = {"finished_at": now, **rest.get("run", {})}
        published = []
        with ExitStack() as turn:
            for uri in sorted(self._staged, key=posixpath.split):  # by directory: every publication in one order
                turn.enter_context(self._staged[uri].store.publishing([uri]))
            for uri in list(self._staged):
                published.append(self._staged[uri].publish(rest))
                del self._staged[uri]
        return published

    def __enter__(self) -> Self:
        """Make this the current publication."""
        self._entered = _CURRENT.set(self)
        _ENTERED.append(self)
        return self

    def __exit__(self, *_exception: object) -> None:
        """Discard what was not published."""
        if self._entered is not None:
            _CURRENT.reset(self._entered)
            _ENTERED.remove(self)
        for staged in self._staged.values():
            staged.upload.discard()


def begin_replacement(store: Store, sidecar: Sidecar) -> None:
    """Say of an artifact that it is to be made again: it stays readable, but does not count as complete any more."""
    begun = Sidecar.of(
        sidecar.artifact,
        {name: part for name, part in sidecar.content.items() if name not in ("schema_version", "artifact", "replaces")},
        replaces=sidecar.accepted_checksums,
    )
    _write_sidecar(store, begun)


class _Staged:
    """One output, written but not visible."""

    def __init__(self, store: Store, upload: Upload, record: ArtifactRecord) -> None:
        self.upload = upload
        self.store = store
        self._record = record

    def publish(self, parts: Mapping[str, Any]) -> Sidecar:
        final = Sidecar.of(self._record, parts)
        before = self._before(final)
        if before:
            _write_sidecar(self.store, Sidecar.of(self._record, parts, replaces=before))
        self.upload.publish()
        _write_sidecar(self.store, final)
        return final

    def _before(self, final: Sidecar) -> tuple[str, ...]:
        """Return the checksums by which the artifact that is about to be replaced may be recognised.

        What another task left in the same file, or a sidecar that cannot be read, is taken away first: a reader must
        never find it under this task's sidecar.
        """
        try:
            sidecar = read_sidecar(self.store, self._record.uri)
            foreign = sidecar is not None and sidecar.unique_id != final.unique_id
        except CorruptArtifactError:
            sidecar, foreign = None, True
        if foreign:
            self.store.remove(sidecar_uri(self._record.uri))
        if sidecar is None or foreign:
            return ()
        return tuple(sha256 for sha256 in sidecar.accepted_checksums if sha256 != self._record.sha256)


def _write_sidecar(store: Store, sidecar: Sidecar) -> None:
    upload = store.upload(sidecar_uri(sidecar.artifact.uri))
    try:
        upload.write(sidecar.to_bytes())
        upload.publish()
    except BaseException:
        upload.discard()
        raise


class _ChecksumStream(io.RawIOBase):
    """A write-only stream into an upload that counts and hashes what goes through.

    Small chunks are hashed in line. Larger ones are hashed by a thread, while this one writes them and makes the next:
    as copies, since a chunk is its writer's again when ``write`` returns, or, where a copy would be too large, as they
    are, and then ``write`` waits.
    """

    def __init__(self, upload: Upload) -> None:
        super().__init__()
        self._upload = upload
        self._hasher: ThreadPoolExecutor | None = None
        self._hashing: deque[Future[None]] = deque()
        self.restart()

    def restart(self) -> None:
        self._wait()
        if getattr(self, "size", 0):
            self._upload.restart()
        self._sha256 = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        view = memoryview(data)
        if view.nbytes:
            view = view.cast("B")
            if view.nbytes > _COPIED:
                self._hash_later(view)
                try:
                    self._upload.write(view)
                finally:
                    self._wait()
            else:
                self._upload.write(view)
                if view.nbytes < _IN_LINE and not self._hashing:
                    self._sha256.update(view)
                else:
                    self._hash_later(data if type(data) is bytes else bytes(view))
            self.size += view.nbytes
        return view.nbytes

    def close(self) -> None:
        """End the thread."""
        if self._hasher is not None:
            self._hasher.shutdown(cancel_futures=True)
            self._hasher = None
        super().close()

    @property
    def hexdigest(self) -> str:
        self._wait()
        return self._sha256.hexdigest()

    def _hash_later(self, data: bytes | memoryview) -> None:
        if self._hasher is None:
            from concurrent.futures import ThreadPoolExecutor

            self._hasher = ThreadPoolExecutor(1, "kart-sha256")
        self._wait(_AHEAD)
        self._hashing.append(self._hasher.submit(self._sha256.update, data))

    def _wait(self, ahead: int = 0) -> None:
        """Wait until no more than some chunks are still to be hashed."""
        while self._hashing and (len(self._hashing) > ahead or self._hashing[0].done()):
            self._hashing.popleft().result()


_ENTERED: list[Publication] = []
_CURRENT: ContextVar[Publication | None] = ContextVar("airflow_kart_publication", default=None)
