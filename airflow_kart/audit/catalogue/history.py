"""The artifacts of a workspace by unique id, by class and by file name, for comparisons with what was there before."""

from __future__ import annotations

import contextlib
import heapq
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from airflow_kart.audit.catalogue.lines import Lines
from airflow_kart.audit.catalogue.record import Record
from airflow_kart.audit.catalogue.row import Brief, words_of
from airflow_kart.audit.catalogue.rows import encode
from airflow_kart.audit.changed_lines import ChangedLines
from airflow_kart.identity.names import logical_class_name
from airflow_kart.idioms.kept import kept
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.model import Task, kind_of
from airflow_kart.tasks.provenance import task_parts
from airflow_kart.tasks.redaction import Redaction
from airflow_kart.tasks.resolution import resolve


@dataclass(frozen=True, eq=False)
class Side:
    """A task of now, or of the past: one side of a comparison."""

    cls: str
    """The logical name of the class."""
    unique_id: str
    task: Task | None = None
    record: Record | None = None

    @classmethod
    def of_task(cls, task: Task) -> Side:
        """Return the side of a task of this process."""
        return cls(logical_class_name(type(task)), task.unique_id, task)

    @classmethod
    def of_record(cls, record: Record) -> Side:
        """Return the side of an artifact."""
        return cls(record.task_class, record.unique_id, None, record)

    @kept
    def content(self) -> Mapping[str, Any]:
        """The parts of a sidecar that describe the task."""
        if self.task is not None:
            return task_parts(self.task, {}, Redaction(self.task))
        return self.record.sidecar.content if self.record is not None else {}

    @property
    def parameters(self) -> Mapping[str, Mapping[str, Any]]:
        """The parts of the parameters by name."""
        found: Mapping[str, Mapping[str, Any]] = (self.content.get("task") or {}).get("parameters") or {}
        return found

    @property
    def upstream(self) -> dict[tuple[Any, ...], Mapping[str, Any]]:
        """The parts of the required tasks, by their keys in ``requires()``."""
        return {path_of_key(part["key"]): part for part in self.content.get("upstream") or () if not part.get("dynamic")}

    @property
    def source(self) -> Mapping[str, Any]:
        """The part about the code."""
        return self.content.get("source") or {}

    @property
    def code_version(self) -> str | None:
        """The version of the code that counts."""
        found: str | None = (self.content.get("task") or {}).get("code_version")
        return found

    @property
    def members(self) -> set[str]:
        """The digests of the class's methods and attributes, without names: a renamed class has the same."""
        parts, prefix = self.source.get("parts"), f"{self.cls}."
        return {digest for name, digest in parts.items() if name.startswith(prefix)} if isinstance(parts, Mapping) else set()

    def distance(self, other: Side) -> int:
        """Return how many parameters have other values in another task."""
        names = self.parameters.keys() | other.parameters.keys()
        return sum(self.parameters.get(name) != other.parameters.get(name) for name in names)

    def __str__(self) -> str:
        """Return class and parameters in words."""
        if self.record is not None:
            return str(self.record)
        values = {name: part.get("value") for name, part in self.parameters.items() if "value" in part}
        private = [name for name, part in self.parameters.items() if "value" not in part]
        return f"{self.cls.rpartition('.')[2]}({words_of(values, private)})"


class History:
    """What a workspace has, read once.

    Args:
        workspace: the workspace.
        counts: whether the asker may see artifacts of a DAG, or of none.
        changed_lines: tells changed lines of code; by default in any folder that a sidecar names.
    """

    def __init__(
        self,
        workspace: Workspace,
        counts: Callable[[str | None], bool] | None = None,
        changed_lines: ChangedLines | None = None,
    ) -> None:
        self._lines = Lines(workspace, counts)
        self.changed_lines = changed_lines or ChangedLines()

    @kept
    def _names(self) -> dict[str, int]:
        return self._lines.names()

    def by_id(self, unique_id: str) -> Side | None:
        """Return an artifact of a unique id."""
        return self._side(self._lines.of_id(unique_id))

    def has(self, uri: str) -> bool:
        """Whether an artifact has the name of a uri's file."""
        return uri.rpartition("/")[2] in self._names

    def by_uris(self, uris: Iterable[str]) -> list[Side]:
        """Return the artifacts of uris, one for each task, found by the names of their files: a workspace may have moved."""
        found = [self._side(self._names.get(uri.rpartition("/")[2])) for uri in uris]
        return list({side.unique_id: side for side in found if side is not None}.values())

    def newest(self, cls: str, most: int) -> list[Brief]:
        """Return the newest rows of a class whose tasks ran."""
        rows = (self._lines.brief(number) for number in self._lines.classes.get(cls, ()))
        return heapq.nlargest(most, (row for row in rows if row.reused_from is None), key=lambda row: row.made_at)

    def classes(self) -> Iterable[str]:
        """Return the logical names of the classes."""
        return self._lines.classes.keys()

    def nearest(self, side: Side, cls: str | None = None, before: str | None = None) -> Side | None:
        """Return the artifact of a class that differs least from a task, of equally near ones the newest.

        Args:
            side: the task.
            cls: the class; by default the task's.
            before: only artifacts that were made before this moment.
        """
        values = {name: part.get("value") for name, part in side.parameters.items() if part.get("significant", True)}
        required = {part["unique_id"] for part in side.upstream.values()}
        for numbers in self._by_equal_values(self._lines.classes.get(side.cls if cls is None else cls, ()), values):
            best: tuple[int, bool, str] | None = None
            found: int | None = None
            for number in numbers:
                brief = self._lines.brief(number)
                if brief.unique_id == side.unique_id or (before is not None and brief.made_at >= before):
                    continue
                row = self._lines.row(number)
                far = sum(_far(values.get(name), row.parameters.get(name)) for name in values.keys() | row.parameters.keys())
                far += 2 * (row.code_version != side.code_version) + len(required ^ {one.unique_id for one in row.upstream})
                key = (-far, row.state == "", row.made_at)
                if best is None or key > best:
                    best, found = key, number
            if found is not None:
                return self._side(found)
        return None

    def _by_equal_values(self, numbers: Sequence[int], values: Mapping[str, Any]) -> Iterator[list[int]]:
        """Return rows in groups, those with the most equal values first: their texts tell, so that few rows are decoded."""
        texts = [encode({name: value})[1:-1] for name, value in values.items() if not isinstance(value, (Mapping, list))]
        searches = [re.compile(re.escape(text) + b"[,}]").search for text in texts[:_MOST_COMPARED]]
        counts = dict.fromkeys(numbers, 0)
        for search in searches:
            for number in numbers:
                if search(self._lines.texts[number]):
                    counts[number] += 1
        groups: dict[int, list[int]] = {}
        for number, count in counts.items():
            groups.setdefault(count, []).append(number)
        yield from (groups[count] for count in sorted(groups, reverse=True))

    def _side(self, number: int | None) -> Side | None:
        return None if number is None else Side.of_record(self._lines.record(number))


_MOST_COMPARED = 50
"""Values by which artifacts are told near or far, before they are decoded."""
_A_VALUE = 4
"""The distance of another value, against 1 for another upstream."""


def _far(now: Any, before: Any) -> int:
    if now == before:
        return 0
    if isinstance(now, Mapping) and isinstance(before, Mapping) and now.get("task") == before.get("task"):
        return 1  # a task held: it may differ only in what is upstream of it
    return _A_VALUE


def path_of_key(key: Any) -> tuple[Any, ...]:
    """Return the path of keys that a sidecar's upstream part records."""
    return tuple(key) if isinstance(key, list) else (key,)


def required_sides(side: Side, part: Mapping[str, Any], history: History) -> Iterator[Side]:
    """Return a required task as a side; of one without artifacts of its own, such as a wrapper, the tasks that it groups.

    Args:
        side: the task that requires.
        part: the required task's part.
        history: of the workspace.
    """
    if side.task is not None:
        wanted = (
            required for path, required in resolve(side.task).inputs if path_of_key(list(path)) == path_of_key(part["key"])
        )
        yield from (Side.of_task(task) for required in wanted for task in _with_artifacts(required))
        return
    found = history.by_id(part["unique_id"])
    if found is not None:
        yield found
        return
    yield from history.by_uris(artifact["uri"] for artifact in part.get("artifacts") or ())


def _with_artifacts(task: Task) -> Iterator[Task]:
    """Return a task, or in place of a wrapper all that it groups."""
    if not kind_of(task).wrapper:
        yield task
        return
    for _, required in resolve(task).inputs:
        yield from _with_artifacts(required)


def package_of_versions(before: Side, now: Side) -> str | None:
    """Return the package whose version the code versions of two tasks name, ``None`` where they name none."""
    was, is_now = before.code_version or "", now.code_version or ""
    old = (before.content.get("environment") or {}).get("packages") or {}
    new = (now.content.get("environment") or {}).get("packages") or _installed(old)
    changed = (name for name, version in old.items() if new.get(name) not in (None, version))
    return next((name for name in changed if old[name] in was and new[name] in is_now), None)


def _installed(names: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in names:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
