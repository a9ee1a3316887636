"""Names of tasks and artifacts, written in one way in every command.

A class (``Train``, ``pipeline.Train``), the id of a task in Airflow or a glob of either; a task of a class
(``Train(day=2013-03-01, depth=6)``); the beginning of a unique id; the uri of an artifact.
"""

from __future__ import annotations

import ast
import contextlib
import datetime as dt
import fnmatch
import functools
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_kart.audit.catalogue.row import Brief, Row, short
from airflow_kart.audit.catalogue.rows import Mention, Place, encode
from airflow_kart.exceptions import ConfigurationError
from airflow_kart.identity.names import logical_class_name
from airflow_kart.identity.spelling import snake_case

if TYPE_CHECKING:
    from airflow_kart.tasks.model import Task

_ID = re.compile("[0-9a-f]{4,32}")
_SURELY = 8
"""Digits that no class has as its name."""
_TASK = re.compile(r"([^()]+)\((.*)\)", re.DOTALL)
_PIECE = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|([\[({])|([\])}])|(,)|[^"'\[({\])},]+|.""", re.DOTALL)
_ARGUMENT = re.compile(r"\s*(\w+)\s*=(.*)", re.DOTALL)
_PLAIN = re.compile(r"[\w.:+-]+")
_WORDS = ("true", "false", "none", "null")
_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Named:
    """What a name means."""

    text: str
    """As it was written."""
    cls: str = ""
    """The class: its name, the end of it, the id of a task in Airflow, or a glob."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Values that a task must have, as the name writes them or as Python objects."""
    unique_id: str = ""
    """The beginning of the unique id."""
    uri: str = ""

    @classmethod
    def of(cls, given: str | type, parameters: Mapping[str, Any] | None = None) -> Named:
        """Return what a text names, or a class; with further values of parameters.

        Raises:
            ConfigurationError: the text is empty, or has brackets that are no arguments.
        """
        more = dict(parameters or {})
        if isinstance(given, type):
            return cls(given.__name__, logical_class_name(given), _written(given, more))
        text = given.strip()
        if not text:
            raise ConfigurationError(
                "a name is empty; write a class, a task id, Class(day=2013-03-01), a unique id or a uri"
            )
        found = _TASK.fullmatch(text)
        if found is not None and os.sep not in found[1] and not os.path.isfile(text):
            return cls(text, found[1].strip(), {**arguments_of(text, found[2]), **more})
        if "://" in text or os.sep in text or os.path.isfile(text):
            return cls(text, uri=text if "://" in text else os.path.abspath(text))
        unique_id = text if _ID.fullmatch(text) else ""
        return cls(text, "" if len(unique_id) >= _SURELY else text, more, unique_id)

    @property
    def mentions(self) -> tuple[Mention, ...]:
        """What the row of each named artifact holds."""
        if self.uri:
            return (self.uri.rpartition("/")[2],)
        if self.unique_id and not self.cls:
            return (self.unique_id,)
        is_plain = self.cls and not _GLOB.search(self.cls) and self.cls != snake_case(self.cls)
        values = {name: str(value) for name, value in self.parameters.items() if type(value) in (str, int)}
        patterns = (
            _beginning(name, text)
            for name, text in values.items()
            if _PLAIN.fullmatch(text) and text.lower() not in _WORDS and not _is_float(text)
        )
        return (*((self.cls.rpartition(".")[2],) if is_plain else ()), *patterns)

    def matches(self, place: Place, row: Brief) -> bool:
        """Whether an artifact is named; values of parameters need a whole row."""
        if self.uri:
            return place.uri(row.name) == self.uri
        return self._fit(row.cls, row.airflow_task_id, row.unique_id, row.parameters if isinstance(row, Row) else {})

    def is_of(self, task: Task, task_id: str | None = None) -> bool:
        """Whether a task of this process is named; ``task_id`` is the id of its operator in Airflow."""
        if self.text == repr(task):
            return True
        if self.uri:
            from airflow_kart.tasks.outputs import targets_of  # as most names are no task's of this process

            return any(self.uri in (target.uri, *(other.uri for other in target.others)) for _, target in targets_of(task))
        values = {
            name: parameter.to_json(getattr(task, name))
            for name, parameter in type(task).get_parameters().items()
            if name in self.parameters and not parameter.is_private
        }
        return self._fit(logical_class_name(type(task)), task_id, task.unique_id, values)

    def _fit(self, cls: str, airflow_task_id: str | None, unique_id: str, values: Mapping[str, Any]) -> bool:
        if self.unique_id and not self.cls and not unique_id.startswith(self.unique_id):
            return False
        if self.unique_id and not self.parameters and unique_id.startswith(self.unique_id):
            return True
        if not _is_of(cls, airflow_task_id, self.cls):
            return False
        return all(name in values and fits(values[name], value) for name, value in self.parameters.items())


def names_of(cls: str, airflow_task_id: str | None = None) -> Iterable[str]:
    """Return all names of a class: logical, its ends, snake case, and the ids of a task in Airflow, with its groups or without."""
    parts = cls.split(".")
    yield from (".".join(parts[place:]) for place in range(len(parts)))
    yield snake_case(parts[-1])
    if airflow_task_id:
        yield airflow_task_id
        yield airflow_task_id.rpartition(".")[2]


@functools.lru_cache(maxsize=4096)
def _is_of(cls: str, airflow_task_id: str | None, pattern: str) -> bool:
    return not pattern or any(_is(name, pattern) for name in names_of(cls, airflow_task_id))


def fits(recorded: Any, given: Any) -> bool:
    """Whether a value of a sidecar is the given one, be it an object, JSON, or its text on a command line."""
    if isinstance(recorded, bool) or isinstance(given, bool):
        return str(recorded).lower() == str(given).lower()
    if recorded == given:
        return True
    if hasattr(given, "unique_id"):
        given = given.unique_id
    if isinstance(given, (dt.date, dt.datetime)):
        return bool(recorded == given.isoformat())
    if isinstance(recorded, Mapping) and "unique_id" in recorded:  # a task held
        text = str(given)
        return str(recorded["unique_id"]).startswith(text) if _ID.fullmatch(text) else _is(short(recorded), text)
    return str(given) in (json.dumps(recorded), json.dumps(recorded, ensure_ascii=False), repr(recorded)) or _is(
        short(recorded), str(given)
    )


def _beginning(name: str, text: str) -> re.Pattern[bytes]:
    """Return a pattern of how a row may write a parameter of the value: as a number, as a text, or as a task that is held."""
    return re.compile(rb'%b:(?:"?%b|\{)' % (re.escape(encode(name)), re.escape(encode(text)[1:-1])))


def _is_float(text: str) -> bool:
    """Whether a text may be a number that JSON writes in other ways: a float, or an integer with many digits."""
    with contextlib.suppress(ValueError):
        float(text)
        return re.fullmatch(r"-?\d{1,15}", text) is None
    return False


def _is(name: str, pattern: str) -> bool:
    return name == pattern or (_GLOB.search(pattern) is not None and fnmatch.fnmatchcase(name, pattern))


def arguments_of(text: str, inside: str) -> dict[str, str]:
    """Return the texts of arguments by name: ``day=2013-03-01, words=["a", "b"]``; one in quotes without the quotes.

    Takes and raises what :func:`as_written` does.
    """
    return {name: _without_quotes(part) for name, part in as_written(text, inside).items()}


def as_written(text: str, inside: str) -> dict[str, str]:
    """Return the texts of arguments by name, quotes included.

    Args:
        text: the whole name, for the error.
        inside: the text between the brackets.

    Raises:
        ConfigurationError: the text is no list of arguments.
    """
    parts, depth = [""], 0
    for piece in _PIECE.finditer(inside):
        depth += bool(piece[2]) - bool(piece[3])
        if piece[4] and not depth:
            parts.append("")
        else:
            parts[-1] += piece[0]
    found: dict[str, str] = {}
    for part in parts if parts[-1].strip() else parts[:-1]:
        match = _ARGUMENT.fullmatch(part)
        if match is None or depth:
            raise ConfigurationError(f"{text!r}: write the parameters as Class(day=2013-03-01, depth=6)")
        found[match[1]] = match[2].strip()
    return found


def _without_quotes(text: str) -> str:
    for read in (json.loads, ast.literal_eval) if text[:1] in ("'", '"') else ():
        with contextlib.suppress(ValueError, SyntaxError):
            return str(read(text))
    return text


def _written(cls: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as sidecars have them.

    Raises:
        ConfigurationError: the class has no such parameter.
    """
    known = cls.get_parameters() if hasattr(cls, "get_parameters") else {}
    for name in values:
        if known and name not in known:
            raise ConfigurationError(f"{cls.__name__} has no parameter {name}; it has {', '.join(known) or 'none'}")
    return {
        name: known[name].to_json(value)
        if name in known and not isinstance(value, (str, int, float, type(None))) and not known[name].holds_tasks
        else value
        for name, value in values.items()
    }
