"""Publication: the outputs of one run, staged aside and made visible together.

A run may find, at its publication, that another run of the same task has published all of the outputs in the meantime.
Then the run adopts these: the same work is published once. While another run is in the midst of its publication, the run
waits; after a time limit the other run counts as dead, and the run replaces its outputs.
"""

from __future__ import annotations

import datetime as dt
import logging
import posixpath
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict

from typing_extensions import Self

from airflow_kart.ambient import Ambient
from airflow_kart.artifacts.checks import Checks
from airflow_kart.artifacts.checksum import ChecksumStream
from airflow_kart.artifacts.sidecar import ArtifactRecord, Sidecar, environment, sidecar_uri
from airflow_kart.artifacts.staged import Occupant, StagedOutput, sidecar_version
from airflow_kart.exceptions import ConfigurationError, ConflictError, FormatError, KartError, StorageError
from airflow_kart.formats import Format, describe, options_of
from airflow_kart.storage import Store
from airflow_kart.storage.regular_file import refused_temporary_files

__all__ = ["Publication"]

_PATIENCE = 30.0  # seconds, for another run between artifact and sidecar: two requests
_MOST_TRIES = 20

logger = logging.getLogger(__name__)


class Publication:
    """The outputs of one run, staged until they are published.

    As a context manager, the publication is current within the block, and discards unpublished uploads at its end.

    Args:
        outputs: the store of each expected uri; :meth:`~airflow_kart.artifacts.target.Target.dump` publishes other uris at
            once.
    """

    def __init__(self, outputs: Mapping[str, Store]) -> None:
        self._seen = {uri: sidecar_version(store, uri) for uri, store in outputs.items()}
        self._staged: dict[str, StagedOutput] = {}
        self.adopted = False
        """Whether another run published the outputs first, and this run adopted them."""
        self.input_checksums: dict[str, str] = {}
        """The SHA-256 of each artifact loaded inside the block, by uri."""

    @classmethod
    def current(cls) -> Publication | None:
        """Return the publication of the surrounding block."""
        return _PUBLICATIONS.current

    @classmethod
    def expecting(cls, uri: str) -> Publication | None:
        """Return the publication that expects a uri, or ``None``; a task's own threads find its publication too.

        Raises:
            ConfigurationError: the thread belongs to no run, and two runs of the process have this output.
        """
        current = _PUBLICATIONS.current
        if current is not None:
            return current if current.expects(uri) else None
        found = [publication for publication in _PUBLICATIONS.entered if publication.expects(uri)]
        if len(found) > 1:
            raise ConfigurationError(
                f"two runs in this process make {uri} and cannot tell whose thread this is; dump in run()'s own",
                uri=uri,
            )
        return found[0] if found else None

    def expects(self, uri: str) -> bool:
        """Whether the uri is one of this run's outputs."""
        return uri in self._seen

    @property
    def missing(self) -> list[str]:
        """The expected uris that nothing was dumped to, sorted."""
        return sorted(self._seen.keys() - self._staged.keys())

    def stage(
        self,
        uri: str,
        store: Store,
        target_format: Format,
        obj: object,
        *,
        checks: Checks,
        labels: Mapping[str, str],
        metadata: Mapping[str, str],
    ) -> None:
        """Write an object aside; a second object for the same uri replaces the first.

        Args:
            uri: the uri to publish at.
            store: keeps the uri.
            target_format: encodes the object.
            obj: the object.
            checks: are asked of the object.
            labels: the task's own labels, for the sidecar.
            metadata: object metadata; stores without metadata ignore it.

        Raises:
            FormatError: the format cannot write the object.
            ArtifactError: the object does not pass the target's checks.
            StorageError: the store refused.
        """
        obj = checks.before_dump(obj)
        upload = store.upload(uri, metadata=metadata)
        with closing(ChecksumStream(upload)) as stream:
            try:
                description = target_format.dump(obj, stream) or describe(obj)
                checks.written(description)
                upload.finish()
            except FormatError as error:
                upload.discard()
                error.add_context(f"could not dump to {uri}", uri=uri)
                raise
            except KartError as error:
                upload.discard()
                error.uri = error.uri or uri
                raise
            except OSError as error:
                upload.discard()
                refused_temporary_files("dump to", uri, error)
                raise
            except MemoryError:
                upload.discard()
                raise
            except Exception as error:
                upload.discard()
                raise FormatError(f"could not dump to {uri}: {type(error).__name__}: {error}", uri=uri) from error
            except BaseException:  # an interrupt, or the end of the process
                upload.discard()
                raise
            sha256, xxh3 = stream.hexdigest, stream.xxh3
        if uri in self._staged:
            self._staged[uri].upload.discard()
        record = ArtifactRecord(
            uri=uri,
            format=target_format.name,
            bytes=stream.size,
            sha256=sha256,
            xxh3=xxh3,
            options=options_of(target_format),
            labels=dict(labels),
            **asdict(description),
        )
        self._staged[uri] = StagedOutput(store, upload, record)

    def publish(self, parts: Mapping[str, object]) -> list[Sidecar]:
        """Make every staged output visible, each with a sidecar of its record and the given parts.

        Returns:
            The sidecars of the published artifacts, which may be another run's.

        Raises:
            StorageError: the store refused, or other runs keep publishing; outputs not yet published stay invisible.
        """
        now = dt.datetime.now(dt.timezone.utc).isoformat()
        run, task = _part(parts, "run"), _part(parts, "task")
        rest = {**parts, "environment": environment(), "run": {"finished_at": now, **run}}
        in_order = sorted(self._staged.values(), key=lambda staged: posixpath.split(staged.uri))  # the same for every run
        published: list[Sidecar] = []
        with ExitStack() as turn:
            for store, uris in _written_by_store(in_order):
                turn.enter_context(store.publishing(uris))
            for tries in range(_MOST_TRIES):
                occupants = [self._look(staged) for staged in in_order[len(published) :]]
                if not published and (others := self._done_by_others(occupants, task.get("unique_id"))):
                    return others
                try:
                    for staged, occupant in zip(in_order[len(published) :], occupants, strict=True):
                        published.append(staged.publish(rest, occupant))
                except ConflictError as error:
                    logger.info("another run is publishing too: %s", error)
                    time.sleep(min(0.05 * 2**tries, 2.0))
                else:
                    self._staged.clear()
                    return published
        uri = in_order[len(published)].uri
        raise StorageError(f"could not publish {uri}: other runs kept publishing there; run the task again", uri=uri)

    def _look(self, staged: StagedOutput) -> Occupant:
        """Look at an output's uri; wait while another run is between two steps of its publication, unless that run is dead."""
        end = time.monotonic() + _PATIENCE
        while True:
            occupant = staged.look(self._seen.get(staged.uri))
            if occupant.begun is None or staged.store.turns_exclude or time.monotonic() > end or _long_ago(occupant.begun):
                return occupant
            time.sleep(0.25)

    def _done_by_others(self, occupants: Sequence[Occupant], unique_id: object) -> list[Sidecar]:
        """Return the sidecars of all outputs if another run of the task has published them since this run began."""
        done = [occupant.sidecar for occupant in occupants if occupant.done and occupant.sidecar is not None]
        if len(done) < len(occupants) or any(sidecar.unique_id != unique_id for sidecar in done):
            return []
        logger.warning("another run published %s in the meantime; this run adopts its artifacts", ", ".join(self._staged))
        self.adopted = True
        return done

    def __enter__(self) -> Self:
        """Make this the current publication."""
        _PUBLICATIONS.enter(self)
        return self

    def __exit__(self, *_exception: object) -> None:
        """Discard what was not published."""
        _PUBLICATIONS.leave(self)
        for staged in self._staged.values():
            staged.upload.discard()


def _part(parts: Mapping[str, object], name: str) -> Mapping[str, object]:
    part = parts.get(name)
    return part if isinstance(part, Mapping) else {}


def _written_by_store(outputs: Sequence[StagedOutput]) -> list[tuple[Store, list[str]]]:
    """Return each store with all uris to publish there; each run takes its turns at once, and those of stores in one order."""
    found: dict[Store, list[str]] = {}
    for output in outputs:
        found.setdefault(output.store, []).extend([output.uri, sidecar_uri(output.uri)])
    return sorted(found.items(), key=lambda each: (type(each[0]).__name__, id(each[0])))


def _long_ago(moment: dt.datetime) -> bool:
    return (dt.datetime.now(dt.timezone.utc) - moment).total_seconds() > _PATIENCE


_PUBLICATIONS: Ambient[Publication] = Ambient("airflow_kart_publication")
