"""Everything upstream and downstream of an artifact, as the catalogue has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from airflow_kart.audit.catalogue.lines import Lines
from airflow_kart.audit.catalogue.record import Record
from airflow_kart.idioms.kept import kept
from airflow_kart.storage.workspace import Workspace


class Required(NamedTuple):
    """A task that another required; without a record where the workspace has no artifact of it."""

    task_class: str
    unique_id: str
    uris: tuple[str, ...]
    record: Record | None


class Lineage:
    """The links between all artifacts of a workspace, read once.

    Args:
        workspace: the workspace.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._lines = Lines(workspace)

    @kept
    def _downstream(self) -> Mapping[str, Sequence[str]]:
        return self._lines.downstream()

    def record(self, unique_id: str) -> Record | None:
        """Return an artifact of a task, ``None`` where there is none."""
        number = self._lines.of_id(unique_id)
        return None if number is None else self._lines.record(number)

    def upstream(self, unique_id: str) -> list[Required]:
        """Return what a task required."""
        number = self._lines.of_id(unique_id)
        required = self._lines.row(number).upstream if number is not None else ()
        return [Required(one.cls, one.unique_id, tuple(one.uris), self.record(one.unique_id)) for one in required]

    def all_upstream(self, unique_id: str) -> Mapping[str, int]:
        """Return the unique ids of everything upstream, with their distances; artifacts that are gone among them."""
        return _reached(unique_id, lambda one: [required.unique_id for required in self.upstream(one)])

    def all_downstream(self, unique_id: str) -> Mapping[str, int]:
        """Return the unique ids of everything downstream, with their distances."""
        return _reached(unique_id, lambda one: self._downstream.get(one, ()))


def _reached(start: str, links: Callable[[str], Sequence[str]]) -> dict[str, int]:
    found, frontier = {start: 0}, [start]
    while frontier:
        following = dict.fromkeys(one for each in frontier for one in links(each) if one not in found)
        found.update(dict.fromkeys(following, found[frontier[0]] + 1))
        frontier = list(following)
    del found[start]
    return found
