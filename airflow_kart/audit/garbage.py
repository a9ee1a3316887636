"""Garbage: the artifacts of a workspace that nothing keeps, and what killed processes left; found and removed.

Conditions keep artifacts, and an artifact keeps everything upstream of it, by unique ids and by uris. The outputs of a task stay
or go together. The decision is made from all sidecars as they are now, so nothing is removed if one of them cannot be asked.
"""

from __future__ import annotations

import datetime as dt
import heapq
import itertools
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from airflow_kart.artifacts import index
from airflow_kart.artifacts.sidecar import SIDECAR_SUFFIX, sidecar_uri
from airflow_kart.artifacts.sidecar.document import SCHEMA_VERSION, require_digest
from airflow_kart.audit.catalogue.naming import Named
from airflow_kart.audit.catalogue.row import UNREADABLE, Row, row_of
from airflow_kart.audit.catalogue.rows import Catalogue, Place, Tell, file_of, is_text
from airflow_kart.audit.piece import Links, Output, Piece
from airflow_kart.audit.pins import pinned_in
from airflow_kart.audit.removal import take_away
from airflow_kart.audit.walk import files, nested
from airflow_kart.exceptions import ConfigurationError, CorruptArtifactError, MissingArtifactError, StorageError
from airflow_kart.locks import locks_for
from airflow_kart.settings import check_threads
from airflow_kart.storage import UPLOADS, KeepsUploads, UnfinishedUpload, keeps_files
from airflow_kart.storage.threads import Threads
from airflow_kart.storage.turns import remove_empty
from airflow_kart.storage.workspace import Workspace

GRACE = dt.timedelta(hours=24)
_OURS = re.compile(r"_([0-9a-f]{32})(?:\.|$)")
_STATES = {"replaced": "a run replaces it", "requested": "was asked to run again"}
_GRACE = "new, or used lately"
_ELSEWHERE = "of another workspace"
_BETWEEN_LOOKS = 1.0
"""Seconds between two listings of pins, where a listing is a request to a bucket."""
_BATCH = 4
"""Pieces per thread that are begun at once: whoever interrupts waits for these."""


@dataclass(frozen=True)
class Conditions:
    """What stays of a workspace. An artifact stays if one of them keeps it; at least one has to be given."""

    only: Sequence[str] = ()
    """The names of what may go; by default everything."""
    keep: Sequence[str] = ()
    """Names."""
    keep_ids: Mapping[str, Iterable[str]] = field(default_factory=dict)
    """The unique ids of all tasks of a graph, by the words for the graph."""
    keep_last: int | None = None
    """The newest so many tasks of each class."""
    younger_than: dt.timedelta | None = None
    labels: Sequence[str] = ()
    """``name`` or ``name=value``."""
    grace: dt.timedelta = GRACE
    """Nothing that was made, rewritten or read by another task within this time goes, whatever else is said."""
    upstream: bool = True
    """Whether what stays keeps everything upstream."""

    def require_any(self) -> None:
        """Require a condition.

        Raises:
            ConfigurationError: there is none, or one cannot be.
        """
        if self.keep_last is not None and self.keep_last < 1:
            raise ConfigurationError(f"keep-last is {self.keep_last}; keep the newest 1 or more of each task")
        if not (self.only or self.keep or self.keep_ids or self.keep_last or self.labels) and self.younger_than is None:
            raise ConfigurationError(
                "nothing says what stays, and everything would go: name what to keep, an age, how many of each task, or what may go"
            )


class Garbage:
    """What stays of a workspace and what goes, decided now.

    Args:
        workspace: the workspace.
        conditions: what stays.
        tell: is told of the sidecars that the catalogue did not know.

    Raises:
        ConfigurationError: there is no condition.
        MissingArtifactError: a condition keeps nothing, and is perhaps misspelt.
        StorageError: the store refused.
    """

    def __init__(self, workspace: Workspace, conditions: Conditions, tell: Tell = lambda _: None) -> None:
        conditions.require_any()
        self._workspace, self._conditions = workspace, conditions
        self._below = f"{workspace.directory.rstrip('/')}/"
        self._since = dt.datetime.now(dt.timezone.utc) - conditions.grace
        self._keep = [Named.of(name) for name in conditions.keep]
        self._only = [Named.of(name) for name in conditions.only]
        self._ids: dict[str, list[str]] = {}
        for words, ids in conditions.keep_ids.items():
            for unique_id in ids:
                self._ids.setdefault(unique_id, []).append(words)
        self._met: set[str] = set()
        self._pieces: dict[tuple[str, str], Piece] = {}
        self._namespace = workspace.name_of_namespace
        self._nested = nested(workspace)
        self._pins = pinned_in(workspace)
        for place, row in Catalogue(workspace, fresh=True, tell=tell).rows():
            self._add(place, row)
        self._files = files(workspace)
        for place, name in list(self._unknown()):
            if (found := workspace.store.read(sidecar_uri(place.uri(name)))) is not None:
                self._add(place, row_of(sidecar_uri(place.uri(name)), name, found))
        self._require_met()
        own = [piece for piece in self._pieces.values() if piece.own]
        self._judge(own)
        self._reach()
        keys = {piece.content_key for piece in own if piece.stays and piece.content_key}
        store = workspace.store
        found_uploads = store.abandoned_uploads(self._below) if isinstance(store, KeepsUploads) and not self._only else ()
        self.pieces: list[Piece] = own if self._only else [*own, *self._strangers()]
        """Everything in the workspace's own directory."""
        self._empty = [folder for folder, names in self._files.items() if not names and self._is_ours(folder)]
        self._files.clear()
        self.entries: list[str] = index.stale(workspace, keys)
        """The keys of entries of the index that point to what goes, or to nothing."""
        self.uploads: list[UnfinishedUpload] = [upload for upload in found_uploads if upload.begun < self._since]
        """Uploads whose process was killed, and their number."""

    @property
    def going(self) -> list[Piece]:
        """What goes, as far as it is still there."""
        return [piece for piece in self.pieces if not (piece.stays or piece.gone)]

    def remove(self, tell: Callable[[int, int], object] = lambda _done, _of: None) -> None:
        """Remove what goes. An interrupted removal leaves nothing that the next one does not find.

        What a run holds or has made since stays, and so does what the store refuses to remove; each piece says why.

        Args:
            tell: is told how many pieces are done, and of how many.

        Raises:
            LockError: the locks cannot be reached.
            StorageError: the store refused the index or the uploads.
        """
        store, going, remove = self._workspace.store, self.going, self._removal()
        threads = 1 if keeps_files(store) else check_threads()
        with Threads(threads, "kart-gc") as pool:
            for start in range(0, len(going), threads * _BATCH):
                for _ in pool.map(remove, going[start : start + threads * _BATCH]):
                    pass
                tell(min(start + threads * _BATCH, len(going)), len(going))
        left = {piece.content_key for piece in self.pieces if piece.left}
        index.forget(self._workspace, [key for key in self.entries if key not in left])
        if self.uploads and isinstance(store, KeepsUploads):
            store.abort_abandoned(self._below, self._conditions.grace)
        self._remove_folders(going)

    def _removal(self) -> Callable[[Piece], None]:
        store, locks = self._workspace.store, locks_for(self._workspace)
        late = _LatePins(self._workspace, self._pins, self._pieces.values())

        def remove(piece: Piece) -> None:
            try:
                outputs = [(output.place.uri(output.name), output.version) for output in piece.outputs]
                take_away(store, locks, self._workspace.directory, piece.unique_id, outputs, needed=lambda: late.need(piece))
                piece.gone = True
            except StorageError as error:
                piece.left = str(error)

        return remove

    def _remove_folders(self, removed: Sequence[Piece]) -> None:
        """Forget the rows of emptied folders; on a disk, remove the folders."""
        store = self._workspace.store
        there = {output.place for piece in self.pieces if not piece.gone for output in piece.outputs}
        emptied = {output.place for piece in removed for output in piece.outputs} - there
        emptied |= {Place(self._workspace.directory, folder) for folder in self._empty}
        for place in sorted(emptied, reverse=True):
            store.remove(file_of(place))
            folder = place.folder
            while keeps_files(store) and folder and remove_empty(store.path(f"{self._below}{folder}")):
                folder = folder.rpartition("/")[0]

    def _add(self, place: Place, row: Row) -> None:
        own = place.directory == self._workspace.directory
        key = place.directory, row.unique_id or place.uri(row.name)
        piece = self._pieces.get(key) or self._pieces.setdefault(key, Piece(row.cls, row.unique_id, own))
        output = Output(place, row.name, row.version, row.bytes)
        piece.outputs.append(output)
        piece.made_at = max(piece.made_at, row.made_at)
        piece.content_key = row.content_key
        held = [one for value in row.parameters.values() if type(value) in (dict, list) for one in _held(value)]
        links = [*((one.unique_id, one.uris) for one in row.upstream), *((one, ()) for one in held)]
        required = tuple((sys.intern(unique_id), tuple(map(sys.intern, uris))) for unique_id, uris in links)
        if required != piece.required:
            piece.required += required
        piece.named = piece.named or any(named.matches(place, row) for named in self._only)
        for words in self._explicit(place, row):
            self._met.add(words)
            piece.stays = piece.stays or f"kept: {words}"
        if row.unique_id in self._pins:
            piece.stays = piece.stays or "pinned"
        if row.state in ("damaged", UNREADABLE):
            piece.outputs[-1] = output._replace(fault=row.state)
        if own and row.state in _STATES:
            piece.stays = _STATES[row.state]
        if own and self._is_elsewhere(place.folder):
            piece.stays = _ELSEWHERE
        if own and self._namespace and row.cls and not row.cls.startswith(f"{self._namespace}."):
            piece.stays = piece.stays or "of another namespace"
        if own and row.state == UNREADABLE and self._is_of_another_version(output):
            piece.stays = "its sidecar is of another version of this package"

    def _explicit(self, place: Place, row: Row) -> Iterator[str]:
        """Return the words of the conditions that name an artifact."""
        yield from (named.text for named in self._keep if named.matches(place, row))
        for label in self._conditions.labels:
            name, has_value, value = label.partition("=")
            if name in row.labels and (not has_value or row.labels[name] == value):
                yield f"label {label}"
        yield from self._ids.get(row.unique_id, ())

    def _is_of_another_version(self, output: Output) -> bool:
        """Whether a sidecar is as somebody wrote it, though it cannot be read."""
        uri = sidecar_uri(output.place.uri(output.name))
        found = self._workspace.store.read(uri)
        try:
            require_digest(uri, b"" if found is None else found.data, SCHEMA_VERSION)
        except CorruptArtifactError:
            return False
        return True

    def _unknown(self) -> Iterator[tuple[Place, str]]:
        """Return the sidecars that the catalogue could not read, or that a run has written since."""
        known: dict[str, set[str]] = {}
        for piece in self._pieces.values():
            for output in piece.outputs if piece.own else ():
                known.setdefault(output.place.folder, set()).add(sidecar_uri(output.name))
        for folder, names in self._files.items():
            for name in names.keys() - known.get(folder, set()):
                if name.endswith(SIDECAR_SUFFIX) and is_text(name):
                    yield Place(self._workspace.directory, folder), name.removesuffix(SIDECAR_SUFFIX)

    def _require_met(self) -> None:
        conditions = self._conditions
        for named in self._keep:
            if named.text not in self._met:
                raise self._workspace.artifacts(named.text).none()
        for words in (*conditions.keep_ids, *(f"label {label}" for label in conditions.labels)):
            if words not in self._met:
                here = self._workspace.directory
                raise MissingArtifactError(f"the workspace {here} has no artifact to keep of: {words}", task=words)

    def _blamed(self, piece: Piece) -> Piece | None:
        """Find faults. Of a task with whole artifacts and others, return the others as a piece of their own, which may go alone."""
        outputs = []
        for output in piece.outputs:
            inside = self._files.get(output.place.folder, {})
            there = inside.get(output.name)
            piece.changed_at = max(piece.changed_at, inside.get(sidecar_uri(output.name), (0, 0.0))[1])
            fault = output.fault
            if there is None:
                fault = fault or "no artifact, only a sidecar"
            elif there[0] != output.bytes and piece.stays not in _STATES.values():
                fault = fault or "another size"
            outputs.append(output._replace(fault=fault))
        broken = [output for output in outputs if output.fault]
        if not broken or len(broken) == len(outputs):
            piece.outputs, piece.fault = outputs, broken[0].fault if broken else ""
            return None
        piece.outputs = [output for output in outputs if not output.fault]
        others = replace(piece, outputs=broken, fault=broken[0].fault, content_key=None)
        self._pieces[broken[0].place.directory, f"{piece.unique_id} of no use"] = others
        return others

    def _judge(self, own: list[Piece]) -> None:
        """Find faults and ages, and what conditions keep."""
        since, younger = self._since.isoformat(), self._conditions.younger_than
        after = None if younger is None else (dt.datetime.now(dt.timezone.utc) - younger).isoformat()
        newest: dict[str, list[Piece]] = {}
        own += [broken for piece in own if (broken := self._blamed(piece)) is not None]
        for piece in own:
            if not piece.fault:
                newest.setdefault(piece.task, []).append(piece)
            recent = piece.made_at >= since or piece.changed_at >= self._since.timestamp()
            piece.in_use = recent or piece.stays in _STATES.values()
            if recent:
                piece.stays = piece.stays or _GRACE
            if not (piece.stays or piece.fault) and after is not None and piece.made_at >= after:
                piece.stays = "young"
            if not piece.stays and self._only and not piece.named:
                piece.stays = "not named"
        for pieces in newest.values():
            for piece in heapq.nlargest(self._conditions.keep_last or 0, pieces, key=lambda one: one.made_at):
                piece.stays = piece.stays or f"of the newest {self._conditions.keep_last}"

    def _reach(self) -> None:
        """Let what stays keep what is upstream. Pinned artifacts do so whatever the conditions say."""
        links, deep, pieces = Links(self._pieces.values()), self._conditions.upstream, self._pieces.values()
        keeping = [one for one in pieces if one.stays and (deep or one.unique_id in self._pins)]
        used = [(one, piece) for piece in pieces if piece.in_use and not deep for one in links.upstream(piece)]
        for one, piece in itertools.chain(used, links.all_upstream(keeping)):
            one.stays = one.stays or sys.intern(f"upstream of {piece.task.rpartition('.')[2]}")

    def _strangers(self) -> Iterator[Piece]:
        """Return the files without a sidecar in folders of artifacts: those of killed writers, and what is not ours."""
        kinds = {
            (folder, _OURS.sub("", name.removesuffix(SIDECAR_SUFFIX)))
            for folder, names in self._files.items()
            for name in names
            if name.endswith(SIDECAR_SUFFIX)
        }
        strange = [
            (Place(self._workspace.directory, folder), name, names[name])
            for folder, names in self._files.items()
            if self._is_ours(folder) or any(name.endswith(SIDECAR_SUFFIX) for name in names)
            for name in names
            if not name.endswith(SIDECAR_SUFFIX) and sidecar_uri(name) not in names
        ]
        required = (each for piece in self._pieces.values() for each in piece.required) if strange else ()
        inputs = {uri.rpartition("/")[2] for _, uris in required for uri in uris}
        for place, name, (size, changed_at) in strange:
            ours, moment = _OURS.search(name), dt.datetime.fromtimestamp(changed_at, dt.timezone.utc)
            piece = Piece("", ours[1] if ours else "", outputs=[Output(place, name, None, size)], fault="no sidecar")
            piece.made_at = moment.isoformat()
            if self._is_elsewhere(place.folder):
                piece.stays = _ELSEWHERE
            elif piece.unique_id in self._pins:
                piece.stays = "pinned"
            elif ours is None or name in inputs or (place.folder, _OURS.sub("", name)) not in kinds:
                piece.stays = "no artifact of a task"
            elif moment >= self._since:
                piece.stays = _GRACE
            yield piece

    def _is_elsewhere(self, folder: str) -> bool:
        """Whether a folder is of another workspace inside of this one."""
        return any(f"{folder}/".startswith(f"{other}/") for other in self._nested)

    def _is_ours(self, folder: str) -> bool:
        """Whether a folder on a disk has ever had artifacts."""
        store = self._workspace.store
        return keeps_files(store) and os.path.isdir(store.path(f"{self._below}{folder}/{UPLOADS}"))


class _LatePins:
    """What the pins that somebody sets during a removal keep."""

    def __init__(self, workspace: Workspace, pins: frozenset[str], pieces: Collection[Piece]) -> None:
        self._workspace, self._known, self._pieces = workspace, pins, pieces
        on_disks = all(keeps_files(workspace.store_of(one)) for one in (workspace.directory, *workspace.others))
        self._between, self._next = 0.0 if on_disks else _BETWEEN_LOOKS, 0.0
        self._needed: set[Piece] = set()
        self._strange = False
        self._turn = threading.Lock()

    def need(self, piece: Piece) -> bool:
        """Whether a late pin keeps a piece. Of an artifact that is newer than the list nobody knows the upstream: all stays."""
        with self._turn:
            if time.monotonic() >= self._next:
                new = pinned_in(self._workspace) - self._known
                self._next = time.monotonic() + self._between
                if new:
                    self._known |= new
                    pinned = [one for one in self._pieces if one.unique_id in new]
                    self._strange = self._strange or new != {one.unique_id for one in pinned}
                    self._needed.update(one for one, _ in Links(self._pieces).all_upstream(pinned))
            return self._strange or piece in self._needed


def _held(value: object) -> Iterator[str]:
    """Return the unique ids of the tasks in the JSON of parameters."""
    if isinstance(value, Mapping):
        if "task" in value and isinstance(value.get("unique_id"), str):
            yield value["unique_id"]
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _held(one)
