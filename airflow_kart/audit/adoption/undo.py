"""An adoption taken back: copies go, and sidecars are as they were."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from airflow_kart.artifacts.sidecar import Sidecar, read_sidecar
from airflow_kart.audit.pins import pin_of
from airflow_kart.audit.records import REPLACED, Adopted, Tell, held, name_in, rewritten
from airflow_kart.audit.removal import PINNED, remove_outputs
from airflow_kart.audit.restored import NotAdopted
from airflow_kart.audit.walk import sidecars
from airflow_kart.exceptions import ConflictError, IdentityError
from airflow_kart.locks import Locks, locks_for
from airflow_kart.storage.workspace import Workspace


def undo_adoption(cls: type | str, *, dry_run: bool = False, tell: Tell = lambda _done, _of: None) -> list[Adopted]:
    """Take the latest adoption of a class back, in the current workspace; another call takes back the one before.

    What a run has replaced since stays, and so does a copy that is pinned, or whose original is gone. What runs made from
    the adopted artifacts stays too; what stands in for runs, as a copy of an adopted artifact, goes.

    Args:
        cls: the class, its logical name, or the end of that name; the class itself need not be there.
        dry_run: change nothing.
        tell: is told of the progress.

    Returns:
        What became, or would become, of each artifact.

    Raises:
        IdentityError: the workspace has no artifact of such a class, or no adoption of it.
        KartError: a store or a lock failed; another call goes on.
    """
    with Workspace.current() as workspace:
        name, below = name_in(workspace, cls), f"{workspace.directory.rstrip('/')}/"
        records: dict[str, Mapping[str, Any]] = {}
        users: dict[str, _User] = {}
        whole: dict[str, str] = {}
        for found in sidecars(workspace, name):
            uri, sidecar = found.uri, found.sidecar
            code = dict(sidecar.made_with.upstream).get(name, ())
            own = (sidecar.made_with.fingerprint,) if sidecar.class_name == name else ()
            users[uri] = _User(sidecar.class_name or "", sidecar.unique_id or "", _upstream(sidecar, name, below), code, own)
            if found.is_whole:
                whole[uri] = sidecar.artifact.sha256
            record = _last(sidecar, name)
            if record is not None:
                records[uri] = record
        if not records:
            raise IdentityError(f"the workspace {workspace.directory} has no adoption of {name}", task=name)
        latest = max(records.values(), key=lambda record: str(record["at"]))["id"]
        adopted = dict.fromkeys(uri for uri, record in records.items() if record["id"] == latest)
        origins = {uri: _origin(uri, users[uri].unique_id, users[uri].name, records[uri]) for uri in adopted}
        copies = {uri: origin for uri, origin in origins.items() if origin is not None}
        last = {users[uri].unique_id for uri, origin in copies.items() if whole.get(origin) != records[uri]["sha256"]}
        results: list[Adopted] = []
        locks = locks_for(workspace)
        for number, uri in enumerate(adopted, 1):
            results.append(_undone(workspace, locks, uri, name, latest, last=last, dry_run=dry_run))
            tell(number, len(adopted))
        undone = {one.uri for one in results if one.outcome == "undone"}
        codes = {records[uri]["new"]["fingerprint"] for uri in adopted}
        known = {user.unique_id for user in users.values() if user.code or user.own}
        right = {user.unique_id for uri, user in users.items() if uri not in undone and codes & {*user.code, *user.own}}
        for uri, user in users.items():  # also of what a killed undo has taken back: inputs without the code that they gave
            lost = any(key not in right for key, is_of in user.upstream.items() if is_of or key in known)
            if lost and uri not in undone and codes.intersection(user.code):
                why = "it was made from adopted artifacts; rerun= makes it again"
                results.append(Adopted("kept", user.name, user.unique_id, None, uri, why))
        return results


class _User(NamedTuple):
    """An artifact that may have been made from adopted ones."""

    name: str
    unique_id: str
    upstream: Mapping[str, bool]
    """By unique id, whether the input is of the adopted class and in this workspace."""
    code: tuple[str, ...]
    """The fingerprints of the adopted class that went in."""
    own: tuple[str | None, ...]
    """Of an artifact of the class: its fingerprint."""


def _upstream(sidecar: Sidecar, name: str, below: str) -> dict[str, bool]:
    parts = sidecar.content.get("upstream") or ()
    here = (any(one["uri"].startswith(below) for one in part.get("artifacts") or ()) for part in parts)
    return {part["unique_id"]: part.get("class") == name and is_here for part, is_here in zip(parts, here, strict=True)}


def _origin(uri: str, unique_id: str, class_name: str, record: Mapping[str, Any]) -> str | None:
    """Return the artifact that a copy is of; ``None`` for one adopted at its place, or downstream. Equal runs made copies, too."""
    origin = uri.replace(unique_id, record["unique_id"])
    return None if "before" in record and (origin == uri or record["class"] != class_name) else origin


def _undone(
    workspace: Workspace, locks: Locks, uri: str, name: str, adoption: str, *, last: Collection[str], dry_run: bool
) -> Adopted:
    store = workspace.store
    sidecar = read_sidecar(store, uri)
    record = _last(sidecar, name) if sidecar is not None else None
    if sidecar is None or record is None or record["id"] != adoption:
        return Adopted("kept", name, "", None, uri, REPLACED)
    own_id = str(sidecar.unique_id)
    words = f"{str(sidecar.class_name).rpartition('.')[2]}({sidecar.content['task'].get('label') or ''})"
    outcome, reason = "undone", f"was adopted by {record['by']}: {record['reason']}"
    try:
        if own_id in last:
            raise NotAdopted(
                f"the artifact of {record['unique_id']}, which it was copied from, is gone: this is the last copy"
            )
        in_place = _origin(uri, own_id, str(sidecar.class_name), record) is None
        with contextlib.nullcontext() if dry_run else held(locks, own_id, f"the end of an adoption, {words}"):
            if not in_place and pin_of(store, workspace.directory, own_id) is not None:
                raise ConflictError(f"{PINNED}; unpin this copy first", uri=uri)
            if in_place and not dry_run:
                rewritten(store, uri, sidecar, _before(sidecar, record), sidecar.version)
            elif not dry_run:
                remove_outputs(store, [(uri, sidecar.version)])
    except (NotAdopted, ConflictError) as error:
        outcome, reason = "kept", str(error)
    return Adopted(outcome, words, record["unique_id"], own_id, uri, reason)


def _last(sidecar: Sidecar, name: str) -> Mapping[str, Any] | None:
    """Return the record of the latest adoption of a class."""
    return next((record for record in reversed(sidecar.adoptions) if record["class"] == name), None)


def _before(sidecar: Sidecar, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a sidecar as they were; of the code upstream, that of the record's class alone."""
    parts = dict(record["before"])
    if parts.get("upstream_code") is not None:
        parts["upstream_code"] = {**(sidecar.content.get("upstream_code") or {}), **parts["upstream_code"]}
    left = [one for one in sidecar.adoptions if one is not record]
    return {**parts, "adopted": left or None}
