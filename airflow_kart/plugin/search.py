"""The search: artifacts by class, value, id, uri and time, in the workspaces of all DAGs that a user may read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from airflow_kart.audit.catalogue.naming import fits, names_of
from airflow_kart.audit.catalogue.record import Record
from airflow_kart.audit.catalogue.row import short
from airflow_kart.exceptions import KartError, StorageError
from airflow_kart.plugin.access import ReaderDep, records_in, require_reachable
from airflow_kart.plugin.page import page
from airflow_kart.plugin.words import run_href, run_words

router = APIRouter()

_ON_A_PAGE = 20
_MOST_CHOICES = 10
_LONGEST = 500
_CALL = re.compile(r"([\w.]+)\((.*)\)")
_PAIR = re.compile(r"(\w+)([:=])(.+)", re.DOTALL)
_WORD = re.compile(r'(?:[^\s"]|"[^"]*")+')
_KEYS: dict[str, Callable[[Record, str], bool]] = {
    "class": lambda record, text: text in names_of(record.task_class, record.row.airflow_task_id),
    "dag": lambda record, text: record.dag_id == text,
    "run": lambda record, text: (record.run_id or "").startswith(text),
    "in": lambda record, text: record.place.directory == text,
    "made": lambda record, text: record.made_at.startswith(text),
    "since": lambda record, text: record.made_at >= text,
    "until": lambda record, text: record.made_at < text,
    "sha": lambda record, text: record.row.sha256.startswith(text),
}


@dataclass(frozen=True)
class Condition:
    """A word of a search: ``day=2013-03-01``, ``class:Train``, or a text that is anywhere in class, values, id or uri."""

    word: str
    key: str
    """The name of a parameter with ``=``, one of the keys with ``:``, or empty."""
    text: str

    @classmethod
    def of(cls, word: str) -> Condition:
        """Return the condition that a word means."""
        pair, text = _PAIR.fullmatch(word), word.replace('"', "")
        if pair is not None and (pair[2] == "=" or pair[1] in _KEYS):
            return cls(word, pair[1] + pair[2], text[pair.end(2) :])
        return cls(word, "", text.lower())

    def holds(self, record: Record) -> bool:
        """Whether an artifact fits."""
        name, row = self.key[:-1], record.row
        if self.key.endswith("="):
            return name in row.parameters and fits(row.parameters[name], self.text)
        if self.key:
            return _KEYS[name](record, self.text)
        values = " ".join(map(short, row.parameters.values()))
        texts = f"{row.cls} {row.airflow_task_id} {row.unique_id} {record.uri} {row.made_at} {values}"
        return self.text in texts.lower()


@dataclass(frozen=True)
class Choice:
    """A way to narrow a search down, or back up."""

    text: str
    count: int
    href: str
    is_chosen: bool


@dataclass
class Search:
    """A search, and what it found.

    Args:
        text: the words.
    """

    text: str

    def __post_init__(self) -> None:
        """Understand the words."""
        call = _CALL.fullmatch(self.text.strip())  # as the commands write a task: Train(day=2013-03-01, depth=6)
        words = _WORD.findall(f"{call[1]} {call[2].replace(',', ' ')}" if call else self.text)
        self.conditions = [Condition.of(word) for word in words]
        self.hits: list[Record] = []
        self.near: dict[str, list[Record]] = {}
        """Artifacts that fit but for the conditions of one key."""

    def take(self, records: Iterable[Record]) -> None:
        """Sort artifacts into those that fit and those that nearly do."""
        for record in records:
            wrong = {condition.key for condition in self.conditions if not condition.holds(record)}
            if not wrong:
                self.hits.append(record)
            elif len(wrong) == 1:
                self.near.setdefault(wrong.pop(), []).append(record)

    def choices(self, key: str, value_of: Callable[[Record], str]) -> list[Choice]:
        """Return the values of artifacts by which to narrow down, the most frequent first."""
        chosen = {condition.text for condition in self.conditions if condition.key == key}
        counts = Counter(map(value_of, [*self.hits, *self.near.get(key, ())]))
        others = [condition.word for condition in self.conditions if condition.key != key]
        if key.endswith("=") and len(counts) > 2 * _MOST_CHOICES and not chosen:
            return []
        found = []
        for value, count in counts.most_common(_MOST_CHOICES):
            word = f'{key}"{value}"' if " " in value else f"{key}{value}"
            found.append(Choice(value, count, _href(others if value in chosen else [*others, word]), value in chosen))
        return [choice for choice in found if choice.text and (len(found) > 1 or chosen)]

    def facets(self) -> list[tuple[str, list[Choice]]]:
        """Return the ways to narrow down: by class, values, day, DAG and workspace."""
        classes = {record.task_class for record in self.hits}
        names = {name for record in self.hits for name in record.parameters} if len(classes) == 1 else set()
        names |= {condition.key[:-1] for condition in self.conditions if condition.key.endswith("=")}
        ways: dict[str, tuple[str, Callable[[Record], str]]] = {
            "Class": ("class:", lambda record: record.task_class.rpartition(".")[2]),
            **{name: (f"{name}=", partial(_value, name)) for name in sorted(names)},
            "Made": ("made:", lambda record: record.made_at[:10]),
            "DAG": ("dag:", lambda record: record.dag_id or ""),
            "Workspace": ("in:", lambda record: record.place.directory),
        }
        return [(title, choices) for title, way in ways.items() if (choices := self.choices(*way))]


@router.get("/")
def search(request: Request, reader: ReaderDep, q: str = "", number: int = 1) -> HTMLResponse:
    """Return the page of the search: the newest artifacts that fit."""
    found, refused, unseen = Search(q[:_LONGEST]), [], []
    workspaces = reader.workspaces()
    for workspace in workspaces:
        try:
            require_reachable(workspace)
        except StorageError:  # a folder that no run has made yet, or that only workers see
            unseen.append(workspace.directory)
            continue
        try:
            records = records_in(workspace)
            found.take(record for record in records if reader.sees(record))
        except KartError as error:
            refused.append((workspace.directory, str(error)))
    found.hits.sort(key=lambda record: (record.made_at, record.uri), reverse=True)
    pages = max(1, -(-len(found.hits) // _ON_A_PAGE))
    number = min(max(1, number), pages)
    first = (number - 1) * _ON_A_PAGE
    return page(
        request,
        "search.html",
        title="Artifacts",
        crumbs=[],
        found=found,
        shown=found.hits[first : first + _ON_A_PAGE],
        first=first + 1,
        following=_href([found.text], number + 1) if number < pages else "",
        before=_href([found.text], number - 1) if number > 1 else "",
        refused=refused,
        unseen=unseen,
        workspaces=len(workspaces),
        run_href=run_href,
        run_words=run_words,
    )


def _value(name: str, record: Record) -> str:
    return short(record.parameters[name]) if name in record.parameters else ""


def _href(words: list[str], number: int = 1) -> str:
    return f"?{urlencode({'q': ' '.join(words), **({'number': number} if number > 1 else {})})}"
