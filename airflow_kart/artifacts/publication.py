"""Publication: the outputs of one run, written aside and made visible together.

A run that finds, when it wants to publish, that another run of the same task has published all of the outputs since it
began, leaves those in place: the same work is published once. Where another run has only begun to publish, it is waited
for; one that does not end in time has died, and is replaced.
"""

from __future__ import annotations

import datetime as dt
import logging
import posixpath
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict
from typing import Any

from typing_extensions import Self

from airflow_kart.ambient import Ambient
from airflow_kart.artifacts.checks import Checks
from airflow_kart.artifacts.checksum import ChecksumStream
from airflow_kart.artifacts.sidecar import ArtifactRecord, Sidecar, environment
from airflow_kart.artifacts.staged import Place, StagedOutput, sidecar_version
from airflow_kart.exceptions import ConfigurationError, ConflictError, FormatError, KartError, StorageError
from airflow_kart.formats import Format, describe, options_of
from airflow_kart.storage import Store

__all__ = ["Publication"]

_PATIENCE = 30.0  # seconds, for another run between its artifact and its sidecar, which takes two requests
_MOST_TRIES = 20

logger = logging.getLogger(__name__)


class Publication:
    """The outputs of one run, staged until they are published.

    As a context manager it is the current publication of the block, and discards what was not published.

    Args:
        outputs: the stores of the uris it expects; :meth:`~airflow_kart.artifacts.target.Target.dump` publishes others at once.
    """

    def __init__(self, outputs: Mapping[str, Store]) -> None:
        self._seen = {uri: sidecar_version(store, uri) for uri, store in outputs.items()}
        self._staged: dict[str, StagedOutput] = {}
        self.adopted = False
        """Whether another run published the outputs first, and theirs were left in place."""
        self.input_checksums: dict[str, str] = {}
        """The SHA-256 of each artifact loaded inside the block, by uri."""

    @classmethod
    def current(cls) -> Publication | None:
        """Return the publication of the surrounding block."""
        return _PUBLICATIONS.current

    @classmethod
    def expecting(cls, uri: str) -> Publication | None:
        """Return the publication that a uri is an output of, or ``None``; a task's own threads find its publication too.

        Raises:
            ConfigurationError: the thread belongs to no run, and two runs of the process have this output.
        """
        current = _PUBLICATIONS.current
        if current is not None:
            return current if current.expects(uri) else None
        found = [publication for publication in _PUBLICATIONS.entered if publication.expects(uri)]
        if len(found) > 1:
            raise ConfigurationError(
                f"two runs in this process make {uri} and cannot tell whose thread this is; dump in run()'s own"
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
        obj: Any,
        *,
        checks: Checks,
        labels: Mapping[str, str],
        metadata: Mapping[str, str],
    ) -> None:
        """Write an object aside; a second object for the same uri replaces the first.

        Args:
            uri: where it is to be published.
            store: what keeps the uri.
            target_format: how it is written.
            obj: the object.
            checks: what is asked of it.
            labels: the task's own, for the sidecar.
            metadata: for the object, in stores whose objects can have some.

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

    def publish(self, parts: Mapping[str, Any]) -> list[Sidecar]:
        """Make every staged output visible, and write its sidecar from its record and the given parts.

        Returns:
            The sidecars of what is there now, which another run may have made.

        Raises:
            StorageError: the store refused, or others keep publishing here; what was not published stays invisible.
        """
        now = dt.datetime.now(dt.timezone.utc).isoformat()
        rest = {**parts, "environment": environment()}
        rest["run"] = {"finished_at": now, **rest.get("run", {})}
        unique_id = rest.get("task", {}).get("unique_id")
        in_order = sorted(self._staged.values(), key=lambda staged: posixpath.split(staged.uri))  # the same for every run
        published: list[Sidecar] = []
        with ExitStack() as turn:
            for staged in in_order:
                turn.enter_context(staged.store.publishing([staged.uri]))
            for tries in range(_MOST_TRIES):
                places = [self._look(staged) for staged in in_order[len(published) :]]
                if not published and (others := self._done_by_others(places, unique_id)):
                    return others
                try:
                    for staged, place in zip(in_order[len(published) :], places, strict=True):
                        published.append(staged.publish(rest, place))
                except ConflictError as error:
                    logger.info("another run is publishing too: %s", error)
                    time.sleep(min(0.05 * 2**tries, 2.0))
                else:
                    self._staged.clear()
                    return published
        raise StorageError(
            f"could not publish {in_order[len(published)].uri}: other runs kept publishing there; run the task again"
        )

    def _look(self, staged: StagedOutput) -> Place:
        """Look where an output goes; wait while another run is between its steps there, unless it must have died."""
        end = time.monotonic() + _PATIENCE
        while True:
            place = staged.look(self._seen.get(staged.uri))
            if place.begun is None or staged.store.turns_exclude or time.monotonic() > end or _long_ago(place.begun):
                return place
            time.sleep(0.25)

    def _done_by_others(self, places: Sequence[Place], unique_id: str | None) -> list[Sidecar]:
        """Return the sidecars of all outputs, where another run of the task has published them since this one began."""
        done = [place.sidecar for place in places if place.done and place.sidecar is not None]
        if len(done) < len(places) or any(sidecar.unique_id != unique_id for sidecar in done):
            return []
        logger.warning("another run published %s meanwhile; its artifacts stay", ", ".join(self._staged))
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


def _long_ago(moment: dt.datetime) -> bool:
    return (dt.datetime.now(dt.timezone.utc) - moment).total_seconds() > _PATIENCE


_PUBLICATIONS: Ambient[Publication] = Ambient("airflow_kart_publication")
