"""What an adoption and its undoing share: classes by name, locks, rewritten sidecars, and what became of a task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from airflow_kart.artifacts.sidecar import Sidecar, write_sidecar
from airflow_kart.audit.restored import NotAdopted
from airflow_kart.audit.walk import sidecars
from airflow_kart.exceptions import ConflictError, IdentityError
from airflow_kart.identity.lookup import LOOKED_UP, find_class_named
from airflow_kart.identity.names import logical_class_name
from airflow_kart.locks import Hold, Holder, Locks, Taken
from airflow_kart.runtime.single_flight import whereabouts
from airflow_kart.storage import Store
from airflow_kart.storage.workspace import Workspace

REPLACED = "another run replaced it meanwhile"
Tell = Callable[[int, int], object]
"""Is told how many tasks are done, and of how many."""


@dataclass(frozen=True)
class Adopted:
    """What became of the artifacts of one task."""

    outcome: str
    """``adopted``; ``there`` where the artifacts were complete already; ``skipped``; of an undo ``undone`` or ``kept``."""
    task: str
    unique_id: str
    """Before the adoption."""
    new_id: str | None
    uri: str
    reason: str


def name_in(workspace: Workspace, given: type | str) -> str:
    """Return the logical name of a class, a text being the name or the end of it.

    Raises:
        IdentityError: the workspace has no artifact of such a class, or of several.
    """
    if isinstance(given, type):
        return logical_class_name(given)
    names = {found.sidecar.class_name or "" for found in sidecars(workspace, given)}
    names = {name for name in names if f".{name}".endswith(f".{given}")}
    if given not in names and len(names) != 1:
        which = f"artifacts of several: {', '.join(sorted(names))}" if names else "no artifact of such a class"
        raise IdentityError(f"{given}: the workspace {workspace.directory} has {which}; give the logical name", task=given)
    return given if given in names else names.pop()


def class_of(workspace: Workspace, given: type | str) -> Any:
    """Return a class, a text being its logical name or the end of that.

    Raises:
        IdentityError: there is no such class, or the workspace has no artifact of such a class, or of several.
    """
    if isinstance(given, type):
        return given
    if "." in given and (found := find_class_named(given)) is not None:
        return found
    name = name_in(workspace, given)
    if (found := find_class_named(name)) is None:
        raise IdentityError(f"there is no class {name} here; {LOOKED_UP}", task=name)
    return found


@contextmanager
def held(locks: Locks, unique_id: str, words: str, error: type[Exception] = NotAdopted) -> Iterator[Hold]:
    """Hold the lock of a task, without waiting.

    Raises:
        error: another run holds the lock.
    """
    got = locks.acquire(unique_id, Holder(words))
    if isinstance(got, Taken):
        raise error(f"it is being made by {whereabouts(got)}; try again afterwards")
    with Hold(got) as hold:
        yield hold


def rewritten(store: Store, uri: str, sidecar: Sidecar, changed: Mapping[str, Any], expected: str | None) -> None:
    """Write the sidecar of an artifact at a uri from another sidecar, with changed parts; ``None`` takes a part away.

    Raises:
        NotAdopted: another sidecar is there than the expected one.
    """
    gone = {"schema_version", "artifact", *(name for name, part in changed.items() if part is None)}
    parts = {name: part for name, part in {**sidecar.content, **changed}.items() if name not in gone}
    try:
        write_sidecar(store, Sidecar.of(replace(sidecar.artifact, uri=uri), parts), expected)
    except ConflictError:
        raise NotAdopted(REPLACED) from None
