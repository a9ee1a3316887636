"""The rows of a workspace, read once, found by unique id or class, and decoded one by one as somebody asks for them."""

from __future__ import annotations

import collections
import json
from collections.abc import Mapping, Sequence

import msgspec

from airflow_kart.audit.catalogue import Catalogue, decoded, decoded_briefly
from airflow_kart.audit.record import Record
from airflow_kart.audit.row import Brief, Links, Row
from airflow_kart.storage.workspace import Workspace

_LINKS = msgspec.json.Decoder(Links).decode


class Lines:
    """The rows of a workspace by number.

    Args:
        workspace: the workspace.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lines = list(Catalogue(workspace).lines())
        self._ids: dict[bytes, int] = {}
        self.classes: dict[str, list[int]] = {}
        """The numbers of each class's rows, by logical name."""
        classes: dict[bytes, list[int]] = {}
        for number, (_, line) in enumerate(self._lines):
            _, _, cls, unique_id, _ = line.split(b'","', 4)  # the beginning of each row is five texts
            self._ids.setdefault(unique_id, number)  # the workspace's own artifact comes before others'
            classes.setdefault(cls, []).append(number)
        for name, numbers in classes.items():
            self.classes.setdefault(json.loads(b'"%b"' % name), []).extend(numbers)

    def of_id(self, unique_id: str) -> int | None:
        """Return the number of the row of a task's artifact, of several the first."""
        return self._ids.get(unique_id.encode()) if unique_id else None

    def brief(self, number: int) -> Brief:
        """Return the beginning of a row, in a fifth of a row's time."""
        return decoded_briefly(self._lines[number][1])

    def row(self, number: int) -> Row:
        """Return a row."""
        return decoded(self._lines[number][1])

    def record(self, number: int) -> Record:
        """Return a row as a record."""
        place, line = self._lines[number]
        return Record(self._workspace, place, decoded(line))

    def text(self, number: int) -> bytes:
        """Return a row as JSON."""
        return self._lines[number][1]

    def downstream(self) -> Mapping[str, Sequence[str]]:
        """Return the unique ids of the tasks that required a task, by its unique id."""
        found: dict[str, list[str]] = collections.defaultdict(list)
        for number in self._ids.values():
            links = _LINKS(self._lines[number][1])
            for required in links.upstream:
                found[required.unique_id].append(links.unique_id)
        return dict(found)

    def names(self) -> dict[str, int]:
        """Return the numbers of the rows by the names of the artifacts' files; of several the first."""
        return {self.brief(number).name: number for number in reversed(range(len(self._lines)))}
