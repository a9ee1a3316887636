"""Causes: why a task runs, or ran, followed upstream to the root."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from airflow_kart.artifacts.state import NO_ARTIFACT

_MOST_TOLD = 2
"""Root causes in a line."""
_KINDS: tuple[
    tuple[Callable[[str, str], bool], str, str], ...
] = (  # the first that fits; the names of tasks and files in a reason may hold any words
    (str.endswith, " has changed since it ran", "input"),
    (str.endswith, ", which it needs, runs", "upstream"),
    (str.endswith, "runs again", "upstream"),
    (str.endswith, "asked to run again", "requested"),
    (str.__eq__, NO_ARTIFACT, ""),
    (str.startswith, "the artifact is gone", "missing"),
    (str.startswith, "the artifact has ", "damaged"),
    (str.startswith, "the artifact was made by another task id", "output"),
    (str.startswith, "the artifact was written in the format", "format"),
    (str.startswith, "the sidecar names", "output"),
    (str.startswith, "its code ", "code"),
    (str.startswith, "the code of ", "code"),
    (str.endswith, "interrupted", "interrupted"),
    (str.__contains__, "the sidecar", "damaged"),
    (str.__contains__, "damaged", "damaged"),
)
"""Tests of the reasons that plans and sidecars give, with the kinds of the causes."""


def kind_of_reason(reason: str) -> str | None:
    """Return the kind of a reason: empty for a task without an artifact, ``None`` for a reason that nobody knows."""
    return next((kind for fits, text, kind in _KINDS if fits(reason, text)), None)


@dataclass(frozen=True)
class Cause:
    """One reason why a task runs."""

    kind: str
    """``first``, ``parameter``, ``key``, ``class``, ``namespace``, ``code``, ``code_version``, ``package``, ``upstream``, ``input``,
    ``external``, ``missing``, ``damaged``, ``interrupted``, ``requested``, ``output``, ``format``, ``workspace`` or ``unknown``."""
    task: str
    """The task that the reason is about, in words."""
    words: str
    before: Any = None
    after: Any = None
    lines: tuple[str, ...] = ()
    """Changed lines of code, as a diff."""
    because: tuple[Cause, ...] = ()
    """The causes of this cause, for an ``upstream``."""

    def roots(self) -> Iterator[Cause]:
        """Return the causes that have no further cause."""
        if not self.because:
            yield self
        for cause in self.because:
            yield from cause.roots()

    def as_json(self) -> dict[str, Any]:
        """Return the cause as JSON, with its own causes."""
        return {
            "kind": self.kind,
            "task": self.task,
            "words": self.words,
            "before": self.before,
            "after": self.after,
            "lines": list(self.lines),
            "because": [cause.as_json() for cause in self.because],
        }


@dataclass(frozen=True)
class Why:
    """The answer: what makes a task run, or made it run."""

    task: str
    """The task in words."""
    unique_id: str
    runs: bool
    """Whether the task runs, or ran; else its artifact is, or was, there already."""
    words: str
    """In one sentence, without the causes."""
    compared_with: str | None = None
    """The uri of the nearest artifact of the task's class, which differences are counted from."""
    causes: tuple[Cause, ...] = ()

    @property
    def roots(self) -> tuple[Cause, ...]:
        """The root causes, each once."""
        return tuple(dict.fromkeys(root for cause in self.causes for root in cause.roots()))

    @property
    def in_one_line(self) -> str:
        """The task's own root causes in a line, else some upstream, with their classes; of others the number."""
        own = [root for root in self.roots if root.task == self.task]
        distinct: dict[str, Cause] = {}
        for root in own or self.roots:
            distinct.setdefault(root.words, root)
        told = [words if own else f"{root.task.partition('(')[0]}: {words}" for words, root in distinct.items()]
        left = len({root.words for root in self.roots}) - len(told[:_MOST_TOLD])
        return "; ".join(told[:_MOST_TOLD] + ([f"and {left:,} more upstream"] if left else [])) or self.words

    def as_json(self) -> dict[str, Any]:
        """Return the answer as JSON."""
        return {
            "task": self.task,
            "unique_id": self.unique_id,
            "runs": self.runs,
            "words": self.words,
            "compared_with": self.compared_with,
            "roots": [root.as_json() for root in self.roots],
            "causes": [cause.as_json() for cause in self.causes],
        }
