"""Secrets taken out of text: private values of a task, and everything that Airflow's secrets masker knows."""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast
from urllib.parse import quote, quote_plus

from airflow_kart.artifacts.sidecar.jsonable import Json
from airflow_kart.parameters import ParameterVisibility
from airflow_kart.parameters.parametrized import held_tasks
from airflow_kart.tasks.model import Task
from airflow_kart.tasks.resolution import resolve

STARS = "***"
_SHORT = 5  # characters; a shorter value is replaced where it stands by itself only
_PLAIN = frozenset({"", "None", "True", "False", "true", "false", "null", "[]", "{}", "()"})
_MASKERS = (  # Airflow 3.1 has the last one, 3.2 and later have two: one of the task SDK, one of the core
    "airflow.sdk._shared.secrets_masker",
    "airflow._shared.secrets_masker",
    "airflow.sdk.execution_time.secrets_masker",
)


class Redaction:
    """Replaces secrets by stars: the private values of a task, and of the tasks that it holds or requires.

    Values of private parameters are replaced in plain, as ``repr()``, in JSON, URL-encoded, in base64 and in hex. Secrets
    that Airflow's masker knows, such as passwords of connections, are replaced where Airflow is loaded.

    Args:
        task: the task.
    """

    def __init__(self, task: Task) -> None:
        self._tasks = [task]
        self._known = 0  # of the tasks
        self._texts: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None
        self._numbers: frozenset[str] = frozenset()

    def include(self, tasks: Iterable[Task]) -> None:
        """Replace the private values of more tasks too, which ``run()`` asks for."""
        before = len(self._tasks)
        self._tasks += tasks
        _tell_airflow(self._tasks[before:])

    def text(self, text: str) -> str:
        """Return a text without secrets."""
        self._prepare()
        found = text if self._pattern is None else self._pattern.sub(STARS, text)
        for redact in _of_maskers("redact"):
            found = str(redact(found))
        return text if found == text else found

    def tell_airflow(self) -> None:
        """Let Airflow mask the private values in its own logs, where Airflow is loaded."""
        _tell_airflow(self._tasks)

    def json(self, value: Json) -> Json:
        """Return JSON with all texts, keys included, free of secrets; a number that is a secret becomes stars."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self.json(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.json(item) for item in value]
        if value is None or isinstance(value, bool):
            return value
        self._prepare()
        return STARS if str(value) in self._numbers else value

    def _prepare(self) -> None:
        """Learn the private values of the tasks that are new."""
        count = len(self._tasks)
        if count == self._known:
            return
        texts = self._texts.union(_private_texts(self._tasks[self._known : count]))
        if texts != self._texts:
            self._texts = texts
            self._numbers = frozenset(text for text in texts if len(text) > 3)
            variants = sorted({variant for text in texts for variant in _variants(text)}, key=len, reverse=True)
            if variants:
                self._pattern = re.compile("|".join(map(_expression, variants)))
        self._known = count  # last: until then another thread prepares by itself


def _tell_airflow(tasks: Iterable[Task]) -> None:
    if any(True for _ in _of_maskers("mask_secret")):
        texts = {text for text in _private_texts(tasks) if len(text) >= _SHORT and text not in _PLAIN}
        for form in {form for text in texts for form in _written(text)}:
            _mask(form)


def _private_texts(tasks: Iterable[Task]) -> Iterator[str]:
    """Return the private values of tasks, of the tasks that they require, and of all tasks inside parameters, as texts."""
    pending = [each for task in tasks for each in (task, *(required for _, required in resolve(task).inputs))]
    seen: set[int] = set()
    while pending:
        each = pending.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        pending += cast("list[Task]", held_tasks(each))
        for name, parameter in type(each).get_parameters().items():
            if parameter.visibility is ParameterVisibility.PRIVATE:
                value = getattr(each, name)
                yield from _texts_in(value)
                if value is not None:
                    yield parameter.serialize(value)


def _texts_in(value: object) -> Iterator[str]:
    """Return a value as text, and the parts of a collection."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _texts_in(item)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from _texts_in(item)
    elif isinstance(value, bytes):
        yield value.decode("utf-8", "surrogateescape")
        yield str(value)[2:-1]
    else:
        yield str(value)


def _variants(text: str) -> Iterator[str]:
    """Return the forms in which a value may appear in a text."""
    if text in _PLAIN:
        return
    yield from _written(text)
    if len(text) >= _SHORT:
        data = _as_bytes(text)
        for encoded in (base64.b64encode(data), base64.urlsafe_b64encode(data)):
            yield encoded.decode()
            yield encoded.decode().rstrip("=")
        yield str(data)[2:-1]
        yield data.hex()
        yield data.hex().upper()


def _written(text: str) -> Iterator[str]:
    """Return a value in plain, as ``repr()``, in JSON and URL-encoded, and each line by itself, as a key is logged."""
    yield text
    yield repr(text)[1:-1]
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    if len(text) >= _SHORT:
        data = _as_bytes(text)
        yield quote(data, safe="")
        yield quote(data)
        yield quote_plus(data)
    for line in text.splitlines() if "\n" in text else ():
        if len(line.strip()) >= _SHORT:
            yield line.strip()


def _as_bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _expression(variant: str) -> str:
    escaped = re.escape(variant)
    return escaped if len(variant) >= _SHORT else rf"(?<![0-9A-Za-z_]){escaped}(?![0-9A-Za-z_])"


def _mask(secret: str) -> None:
    sdk = sys.modules.get("airflow.sdk.log")
    told = vars(sdk).get("mask_secret") if sdk is not None else None
    # The function of the SDK's log tells the supervisor, who writes the log of a real task; consoles use the core's masker.
    for mask in (*([told] if callable(told) else []), *_of_maskers("mask_secret")):
        mask(secret)


def _of_maskers(function: str) -> Iterator[Callable[[str], Any]]:
    """Return a function of each masker of Airflow that this process has loaded."""
    for name in _MASKERS:
        module = sys.modules.get(name)
        found = vars(module).get(function) if module is not None else None
        if callable(found):
            yield found
