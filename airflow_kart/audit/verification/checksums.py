"""The bytes of all artifacts of a workspace, read and compared with the checksums in their sidecars."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from airflow_kart.artifacts.checksum import sha256_of
from airflow_kart.artifacts.sidecar import Sidecar, read_sidecar, sidecar_uri
from airflow_kart.artifacts.staged import mark_as_damaged
from airflow_kart.audit.catalogue.record import Record
from airflow_kart.audit.catalogue.rows import Catalogue
from airflow_kart.exceptions import CorruptArtifactError
from airflow_kart.settings import check_threads
from airflow_kart.storage import Store
from airflow_kart.storage.threads import Threads
from airflow_kart.storage.workspace import Workspace

_AHEAD = 4
"""Artifacts per thread that wait to be read."""


@dataclass(frozen=True)
class Damaged:
    """An artifact that is not as its sidecar says."""

    uri: str
    task: str
    reason: str
    marked: bool = False
    """Whether the next build makes the artifact again because of this check."""


@dataclass(frozen=True)
class Checked:
    """What a check of checksums found."""

    artifacts: int
    bytes: int
    damaged: tuple[Damaged, ...]

    def __str__(self) -> str:
        """Return one line."""
        return f"{self.artifacts:,} artifacts with {self.bytes:,} bytes checked, {len(self.damaged):,} damaged"


def verify_checksums(
    artifacts: Iterable[Record] | None = None, *, mark: bool = False, tell: Callable[[int], object] = lambda _done: None
) -> Checked:
    """Read artifacts, and compare their bytes with the SHA-256 in their sidecars. Several threads read.

    Args:
        artifacts: by default all of the current workspace.
        mark: let the next build make damaged artifacts again; else nothing changes.
        tell: is told how many artifacts are done.

    Raises:
        StorageError: the store refused.
    """
    with Workspace.current() as workspace, Threads(check_threads(), "kart-checksums") as pool:
        done, size, damaged = 0, 0, []
        each = partial(_checked, workspace, mark)
        every = (
            Record(workspace, place, row) for place, row in Catalogue(workspace).rows()
        )  # with sidecars that are damaged
        for found in _in_turn(pool, each, every if artifacts is None else artifacts):
            done += 1
            size += found[0]
            damaged += [found[1]] if found[1] is not None else []
            tell(done)
    return Checked(done, size, tuple(damaged))


def _in_turn(
    pool: Threads, check: Callable[[Record], tuple[int, Damaged | None]], records: Iterable[Record]
) -> Iterator[tuple[int, Damaged | None]]:
    """Check records in the threads of a pool, without asking for all records first."""
    waiting: deque[Future[tuple[int, Damaged | None]]] = deque()
    for record in records:
        waiting.append(pool.submit(check, record))
        if len(waiting) > _AHEAD * check_threads():
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _checked(workspace: Workspace, mark: bool, record: Record) -> tuple[int, Damaged | None]:
    """Return how many bytes were read, and what is wrong."""
    store, uri = workspace.store_of(record.uri), record.uri
    try:
        sidecar = read_sidecar(store, uri)
        while sidecar is not None:
            size, wrong = _wrong(store, uri, sidecar)
            newer = read_sidecar(store, uri) if wrong is not None else sidecar
            if newer is None or newer.version == sidecar.version:  # nobody has replaced the artifact meanwhile
                return size, _damaged(record, newer, wrong, mark)
            sidecar = newer
    except CorruptArtifactError as error:
        return 0, Damaged(uri, str(record), str(error))
    return 0, None  # somebody has removed it


def _wrong(store: Store, uri: str, sidecar: Sidecar) -> tuple[int, str | None]:
    """Return the size, and the checksum if another than the sidecar's; an empty text for an artifact that is gone."""
    with contextlib.suppress(FileNotFoundError), store.open(uri) as stream:
        found = sha256_of(stream)
        return sidecar.artifact.bytes, None if found in sidecar.accepted_checksums else found
    return 0, ""


def _damaged(record: Record, sidecar: Sidecar | None, found: str | None, mark: bool) -> Damaged | None:
    if found is None or sidecar is None:
        return None
    if not found:
        return Damaged(record.uri, str(record), "the artifact is gone, only its sidecar is there")
    own = record.place.directory == record.workspace.directory
    marked = mark and own and sidecar.damage is None
    if marked:
        store = record.workspace.store_of(record.uri)
        with store.publishing([record.uri, sidecar_uri(record.uri)]):
            mark_as_damaged(store, record.uri, sidecar, found)
    reason = f"its SHA-256 is {found}, its sidecar says {sidecar.artifact.sha256}"
    return Damaged(record.uri, str(record), reason, marked)
