"""Publication: the outputs of one run, staged aside and made visible together.

A run may find, at its publication, that another run of the same task has published all of the outputs in the meantime.
Then the run adopts these: the same work is published once. While another run is in the midst of its publication, the run
waits; after a time limit the other run counts as dead, and the run replaces its outputs.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import posixpath
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace

from typing_extensions import Self

from airflow_kart.artifacts.checks import Checks
from airflow_kart.artifacts.checksum import ChecksumStream
from airflow_kart.artifacts.generated import guarded, own_errors
from airflow_kart.artifacts.sidecar import ArtifactRecord, Sidecar, sidecar_uri
from airflow_kart.artifacts.sidecar.environment import environment
from airflow_kart.artifacts.staged import Occupant, StagedOutput, Unmoved, sidecar_versions
from airflow_kart.exceptions import (
    ConfigurationError,
    ConflictError,
    CorruptArtifactError,
    FormatError,
    KartError,
    ObjectChangedError,
    StorageError,
)
from airflow_kart.formats import Format, describe, options_of
from airflow_kart.idioms.ambient import Ambient
from airflow_kart.storage import CopiesFast, Store, Upload
from airflow_kart.storage.regular_file import refused_temporary_files

_PATIENCE = 30.0  # seconds, for another run between artifact and sidecar: two requests
_MOST_TRIES = 20
_BUFFER = 1 << 20

logger = logging.getLogger(__name__)


class Publication:
    """The outputs of one run, staged until they are published.

    As a context manager, the publication is current within the block, and discards unpublished uploads at its end.

    Args:
        outputs: the store of each expected uri; :meth:`~airflow_kart.artifacts.target.Target.dump` publishes other uris at
            once.
        seen: the versions of their sidecars as of the moment when the run was decided on, by uri; by default, of now.
    """

    def __init__(self, outputs: Mapping[str, Store], seen: Mapping[str, str | None] | None = None) -> None:
        self._seen = sidecar_versions(outputs) if seen is None else seen
        self._staged: dict[str, StagedOutput] = {}
        self.adopted = False
        """Whether another run published the outputs first, and this run adopted them."""
        self.input_checksums: dict[str, str] = {}
        """The SHA-256 of each artifact loaded inside the block, by uri."""
        self.input_sidecars: Mapping[str, Sidecar] = {}
        """Sidecars that the run has read before, by artifact. A load believes the checksum in them, and reads the sidecar anew
        where the bytes have another one."""
        self.redact: Callable[[str], str] | None = None
        """Takes the secrets of the run out of a text."""
        self._read: dict[str, tuple[frozenset[str], list[str]]] = {}  # by unique id: common publications, uris

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

    def record_input(
        self, uri: str, sha256: str, made_by: str | None = None, publications: Collection[str | None] = ()
    ) -> None:
        """Record a loaded artifact for the sidecars.

        Args:
            uri: the artifact.
            sha256: of the loaded bytes.
            made_by: the unique id of the task that made the artifact.
            publications: those that published these bytes; ``None`` among them for an unknown one.
        """
        self.input_checksums[uri] = sha256
        if made_by is not None and publications and None not in publications:
            known = frozenset(publication for publication in publications if publication is not None)
            common, uris = self._read.get(made_by, (known, []))
            self._read[made_by] = (common & known, [*uris, uri])

    def require_inputs_of_one_run_each(self) -> None:
        """Refuse to go on with inputs that one task made in several runs: their contents may not fit each other.

        Raises:
            ObjectChangedError: a task ran again between two loads of its outputs.
        """
        for common, uris in self._read.values():
            if not common:
                listed = ", ".join(dict.fromkeys(uris))
                raise ObjectChangedError(
                    f"another run replaced inputs between two loads of them ({listed}), so the result would mix two runs; "
                    "run the task again",
                    uri=uris[-1],
                )

    @property
    def missing(self) -> list[str]:
        """The expected uris that nothing was dumped to, sorted."""
        return sorted(self._seen.keys() - self._staged.keys())

    @property
    def is_empty(self) -> bool:
        """Whether nothing was dumped yet."""
        return not self._staged

    @own_errors
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
            Exception: the task's own, where the object is a generator.
        """
        obj = checks.before_dump(guarded(obj))
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
            **vars(description),
        )
        self._staged[uri] = StagedOutput(store, upload, record)

    def stage_copy(self, uri: str, store: Store, source: Store, record: ArtifactRecord, metadata: Mapping[str, str]) -> None:
        """Stage the bytes of an artifact that is there already, with its record: by a link or inside the store where that works.

        No byte moves where the artifact is at the uri already. The caller sees to the artifact's sidecar, whether another run
        has replaced the artifact meanwhile.

        Args:
            uri: the uri to publish at.
            store: keeps the uri.
            source: keeps the artifact.
            record: the artifact's, with its uri.
            metadata: object metadata; stores without metadata ignore it.

        Raises:
            CorruptArtifactError: the bytes are not those of the record.
            FileNotFoundError: the artifact is gone.
            StorageError: a store refused.
        """
        upload = copy_of(uri, store, source, record, metadata)
        self._staged[uri] = StagedOutput(store, upload, replace(record, uri=uri))

    def publish(self, parts: Mapping[str, object], *, of_run: bool = True) -> list[Sidecar]:
        """Make every staged output visible, each with a sidecar of its record and the given parts.

        Args:
            parts: of the sidecars.
            of_run: whether the outputs are all that one run made, and get a publication id to be known by.

        Returns:
            The sidecars of the published artifacts, which may be another run's.

        Raises:
            StorageError: the store refused, or other runs keep publishing; the artifacts then do not count as complete.
        """
        now = dt.datetime.now(dt.timezone.utc).isoformat()
        run, task = _part(parts, "run"), _part(parts, "task")
        same = {"publication": os.urandom(16).hex()} if of_run else {}
        rest = {**same, "environment": environment(), **parts, "run": {"finished_at": now, **run}}
        of = len(self._seen)
        numbers = {uri: {"output": {"number": number, "of": of}} for number, uri in enumerate(self._seen)} if of > 1 else {}
        in_order = list(self._staged.values())
        if len(in_order) > 1:  # the same order for every run
            in_order.sort(key=lambda staged: posixpath.split(staged.uri))
        unfinished = in_order
        with ExitStack() as turn:
            for store, uris in _written_by_store(in_order):
                turn.enter_context(store.publishing(uris))
            for tries in range(_MOST_TRIES):
                unfinished = [staged for staged in in_order if not staged.finished]
                occupants = {staged: self._look(staged) for staged in in_order}
                others = self._done_by_others(list(occupants.values()), task.get("unique_id"), rest.get("publication"))
                if others:
                    return others
                try:
                    final = {one: Sidecar.of(one.record, {**rest, **numbers.get(one.uri, {})}) for one in in_order}
                    published = _publish_together(final, {staged: occupants[staged] for staged in unfinished})
                except ConflictError as error:
                    logger.info("another run is publishing too: %s", error)
                    time.sleep(min(0.05 * 2**tries, 2.0))
                else:
                    self._staged.clear()
                    return published
        uri = unfinished[0].uri
        raise StorageError(f"could not publish {uri}: other runs kept publishing there; run the task again", uri=uri)

    def _look(self, staged: StagedOutput) -> Occupant:
        """Look at an output's uri; wait while another run is between two steps of its publication, unless that run is dead."""
        end = time.monotonic() + _PATIENCE
        while True:
            occupant = staged.look(self._seen.get(staged.uri))
            if occupant.begun is None or staged.store.turns_exclude or time.monotonic() > end or _long_ago(occupant.begun):
                return occupant
            time.sleep(0.25)

    def _done_by_others(self, occupants: Sequence[Occupant], unique_id: object, own: object) -> list[Sidecar]:
        """Return the sidecars of all outputs if another run of the task has published them since this run began."""
        done = [occupant.sidecar for occupant in occupants if occupant.done and occupant.sidecar is not None]
        if len(done) < len(occupants) or any(sidecar.unique_id != unique_id for sidecar in done):
            return []
        publications = {sidecar.publication for sidecar in done}
        if len(publications) > 1 or (own is not None and own in publications):
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


def copy_of(uri: str, store: Store, source: Store, record: ArtifactRecord, metadata: Mapping[str, str]) -> Upload | Unmoved:
    """Return an upload with the bytes of an artifact; arguments and errors as of :meth:`Publication.stage_copy`."""
    upload: Upload | Unmoved | None = None
    if source is store and record.uri == uri:
        found = store.stat(uri)
        if found is None:
            raise FileNotFoundError(uri)
        upload = Unmoved(found.version)
    elif source is store and isinstance(store, CopiesFast):
        upload = store.copied(record.uri, uri, metadata=metadata)
    if upload is None:
        upload = store.upload(uri, metadata=metadata)
        try:
            with closing(ChecksumStream(upload)) as stream, source.open(record.uri) as opened:
                shutil.copyfileobj(opened, stream, _BUFFER)
                upload.finish()
            if stream.hexdigest != record.sha256:
                raise CorruptArtifactError(
                    f"{record.uri} is damaged: its bytes are not those of its sidecar", uri=record.uri
                )
        except BaseException:
            upload.discard()
            raise
    return upload


def _publish_together(final: Mapping[StagedOutput, Sidecar], occupants: Mapping[StagedOutput, Occupant]) -> list[Sidecar]:
    """Take each step for all outputs before the next step: until the last one, one sidecar at least is interim or missing.

    Args:
        final: the final sidecar of each output of the run, in order.
        occupants: of the outputs that are not finished yet.

    Raises:
        ConflictError: another writer was first. A later call goes on with the step that failed.
        StorageError: the store refused.
    """
    for output, occupant in occupants.items():
        output.announce(final[output], occupant, alone=len(final) == 1)
    for output in occupants:
        output.publish()
    for output in occupants:
        output.finish(final[output])
    return list(final.values())


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
