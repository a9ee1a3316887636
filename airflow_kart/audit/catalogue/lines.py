"""The rows of a workspace, read once, found by unique id or class, and decoded one by one as somebody asks for them."""

from __future__ import annotations

import bisect
import collections
import json
from collections.abc import Callable, Mapping, Sequence

import msgspec

from airflow_kart.audit.catalogue.record import Record
from airflow_kart.audit.catalogue.row import Brief, Links, Row
from airflow_kart.audit.catalogue.rows import Catalogue, Place, decoded, decoded_briefly
from airflow_kart.storage.workspace import Workspace

_LINKS = msgspec.json.Decoder(Links).decode


class Lines:
    """The rows of a workspace by number.

    Args:
        workspace: the workspace.
        counts: whether artifacts of a DAG count, or of none; by default all do.
    """

    def __init__(self, workspace: Workspace, counts: Callable[[str | None], bool] | None = None) -> None:
        self._workspace = workspace
        self.texts: list[bytes] = []
        """The rows as JSON."""
        self._places: list[Place] = []
        self._ends: list[int] = []
        for place, lines in Catalogue(workspace).folders():
            self.texts += lines if counts is None else (one for one in lines if counts(decoded_briefly(one).dag_id))
            self._places.append(place)
            self._ends.append(len(self.texts))
        self._ids: dict[bytes, int] = {}
        classes: dict[bytes, list[int]] = collections.defaultdict(list)
        for number, line in enumerate(self.texts):
            _, _, cls, unique_id, _ = line.split(b'","', 4)  # the beginning of each row is five texts
            if unique_id not in self._ids:  # the workspace's own artifact comes before others'
                self._ids[unique_id] = number
            classes[cls].append(number)
        self.classes = {str(json.loads(b'"%b"' % name)): numbers for name, numbers in classes.items()}
        """The numbers of each class's rows, by logical name."""

    def of_id(self, unique_id: str) -> int | None:
        """Return the number of the row of a task's artifact, of several the first."""
        return self._ids.get(unique_id.encode()) if unique_id else None

    def brief(self, number: int) -> Brief:
        """Return the beginning of a row, in a fifth of a row's time."""
        return decoded_briefly(self.texts[number])

    def row(self, number: int) -> Row:
        """Return a row."""
        return decoded(self.texts[number])

    def record(self, number: int) -> Record:
        """Return a row as a record."""
        return Record(self._workspace, self._places[bisect.bisect_right(self._ends, number)], self.row(number))

    def downstream(self) -> Mapping[str, Sequence[str]]:
        """Return the unique ids of the tasks that required a task, by its unique id."""
        found: dict[str, list[str]] = collections.defaultdict(list)
        for number in self._ids.values():
            links = _LINKS(self.texts[number])
            for required in links.upstream:
                found[required.unique_id].append(links.unique_id)
        return dict(found)

    def names(self) -> dict[str, int]:
        """Return the numbers of the rows by the names of the artifacts' files; of several the first."""
        return {self.brief(number).name: number for number in reversed(range(len(self.texts)))}
