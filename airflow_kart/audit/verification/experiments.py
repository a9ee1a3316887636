"""Why a task, made again, has other bytes: found by experiments, each in a process of its own."""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from airflow_kart.artifacts.sidecar import Sidecar
from airflow_kart.audit.differences.difference import ONLY_ONE, sidecar_differences
from airflow_kart.audit.verification.fresh import Ended, Way, other_number_of_threads
from airflow_kart.audit.verification.sources import COMMAND, FILE, FROZEN, NETWORK, RANDOM, THREADS, Use

Sums = tuple[str, ...]
"""The SHA-256 of each output."""

_MOST_NAMED = 3


@dataclass(frozen=True)
class Reason:
    """One reason why a task, made again, has other bytes."""

    kind: str
    words: str
    proven: bool
    """Whether an experiment shows that the bytes depend on this; else the reason is only likely."""


ADDRESS = Reason(
    "memory address", "each process gives another result: run() depends on id(), or on a repr() that shows an address", True
)


class Experiments:
    """Finds causes.

    Args:
        make: makes the task in some way; returns the sums of its outputs, ``None`` where it failed, and how the run ended.
        before: the artifacts' sidecars, and those of the first run in a fresh process.
        patience: seconds, after which no more experiments begin.
        seeds: whether the task's class seeds the global generators; else these are a source that no call shows.
    """

    def __init__(
        self,
        make: Callable[[Way], tuple[Sums | None, Ended]],
        before: tuple[Sidecar, Sidecar],
        patience: float,
        *,
        seeds: bool,
    ) -> None:
        self._make, (self._then, self._now) = make, before
        self._until = time.monotonic() + patience
        self._unseen = frozenset[str]() if seeds else frozenset({RANDOM})
        self.stopped = False
        """Whether the patience ended before the experiments did."""

    def causes(self, old: Sums, first: Sums, uses: Sequence[Use]) -> list[Reason]:
        """Return the causes, proven ones first.

        Args:
            old: of the artifacts.
            first: of the first run.
            uses: what the first run read.
        """
        by: dict[str, list[Use]] = {}
        for use in uses:
            by.setdefault(use.source, []).append(use)
        again = self._sums(Way())
        other = self._sums(Way(hash_seed=2)) if again == first else None
        found: list[Reason] = []
        if again not in (first, None):
            found = self._unsteady(by)
        elif other == first:
            found = self._settled(old, first, by)
        elif other is not None:
            kinds = {*by} & {*FROZEN}  # a clock of seconds may have stood still until now
            still = self._frozen(kinds) if kinds else None
            by_sources = still is not None and still == self._sums(Way(hash_seed=2, frozen=tuple(sorted(kinds))))
            found = self._unsteady(by) if by_sources else [self._by_process(first)]
        elif not self.stopped:
            found = [Reason("failure", f"a second run in a fresh process failed: {self._error}", proven=True)]
        return sorted(found, key=lambda cause: not cause.proven)

    def _unsteady(self, by: dict[str, list[Use]]) -> list[Reason]:
        """Return why two runs in equal circumstances differ."""
        recorded = frozenset({*by} & {*FROZEN})
        for kinds in dict.fromkeys((recorded, recorded | self._unseen)):
            if kinds and (still := self._frozen(kinds)) is not None and still == self._frozen(kinds):
                alone = len(kinds) == 1
                found = [kind for kind in sorted(kinds) if alone or self._frozen(kinds - {kind}) not in (still, None)]
                return [Reason(kind, _words(kind, by.get(kind, ())), proven=True) for kind in found or sorted(kinds)]
        three = [self._sums(Way(other_threads=True, frozen=tuple(sorted(recorded)))) for _ in range(3)]
        if three[0] is not None and len(set(three)) == 1:
            return [Reason("threads of libraries", f"with {other_number_of_threads()} all runs agree", proven=True)]
        found_outside = list(self._outside(by))
        if THREADS in by:
            found_outside.append(Reason(THREADS, _words(THREADS, by[THREADS]), proven=False))
        return found_outside or [Reason("unknown", "two runs differ, and nothing that was recorded tells why", proven=False)]

    def _by_process(self, first: Sums) -> Reason:
        """Return why two runs in processes of other hash seeds differ, although two in alike processes agree."""
        if self._sums(Way(starter=1)) == first:
            words = "another PYTHONHASHSEED gives another result: run() depends on hash(), or on a set's order; sort sets"
            return Reason("order of sets", words, proven=True)
        return ADDRESS

    def _settled(self, old: Sums, first: Sums, by: dict[str, list[Use]]) -> list[Reason]:
        """Return why a task that always has the same result by now had another one earlier."""
        proven, likely = [], list(self._recorded(by))
        for kind in [kind for kind in FROZEN if kind in by]:
            sums = self._frozen({kind})
            if self.stopped:
                break
            if sums == old:
                return [Reason(kind, f"{_words(kind, by[kind])}: with the value of then the bytes are those of then", True)]
            if sums != first:
                proven.append(Reason(kind, f"{_words(kind, by[kind])}: another value gives another result", True))
        if not proven and (sums := self._sums(Way(other_threads=True))) not in (first, None):
            proven.append(Reason("threads of libraries", f"with {other_number_of_threads()} another result", proven=True))
            if sums == old:
                return [replace(proven[0], words=f"with {other_number_of_threads()} the bytes are those of then")]
        if not proven and not likely:
            words = "runs agree by now; what the earlier process had in its memory, or read unseen, was another"
            likely = [Reason("state of the process", words, proven=False)]
        return proven + likely

    def _recorded(self, by: dict[str, list[Use]]) -> Iterator[Reason]:
        """Return what the sidecars, and the times of files, tell."""
        different = list(sidecar_differences(self._then, self._now))
        python = [one for one in different if one.section == "environment" and one.name in ("python", "implementation")]
        if python:
            yield Reason("Python", "; ".join(f"{one.name} {one.before} then, {one.after} now" for one in python), False)
        packages = [one for one in different if one.section == "packages" and one.name != ONLY_ONE]
        if packages:
            yield Reason("packages", _several([f"{one.name} {one.before} then, {one.after} now" for one in packages]), False)
        yield from self._outside(by)

    def _outside(self, by: dict[str, list[Use]]) -> Iterator[Reason]:
        """Return what came from outside: connections, programs, and files that have changed since."""
        yield from (Reason(kind, _words(kind, by[kind]), proven=False) for kind in (NETWORK, COMMAND) if kind in by)
        made_at = dt.datetime.fromisoformat(self._then.published_at).timestamp() if self._then.published_at else 0.0
        newer = [use for use in by.get(FILE, ()) if _changed_at(use.name) > made_at]
        if newer:
            yield Reason(FILE, f"{_words(FILE, newer)}: no input, and changed since", proven=False)

    def _frozen(self, kinds: Collection[str]) -> Sums | None:
        return self._sums(Way(frozen=tuple(sorted(kinds))))

    def _sums(self, way: Way) -> Sums | None:
        if time.monotonic() > self._until:
            self.stopped = True
            return None
        sums, ended = self._make(way)
        self._error = ended.error or ""
        return sums


def _changed_at(path: str) -> float:
    try:
        found = os.stat(path)
    except OSError:
        return 0.0
    return max(found.st_mtime, found.st_ctime)


def _words(kind: str, uses: Sequence[Use]) -> str:
    if not uses and kind == RANDOM:
        return "random numbers without a seed: name the generator's function in seed_functions"
    return f"run() uses {_several([f'{use.name} ({use.place})' for use in uses])}"


def _several(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _MOST_NAMED} more" if len(texts) > _MOST_NAMED else ""
    return ", ".join(texts[:_MOST_NAMED]) + more
