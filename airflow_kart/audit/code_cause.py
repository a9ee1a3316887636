"""What differs between two versions of a class's code, by the names of definitions and, where git has them, by lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airflow_kart.audit.catalogue.history import History, Side, required_sides
from airflow_kart.audit.catalogue.record import Record
from airflow_kart.audit.cause import Cause
from airflow_kart.audit.changed_lines import ChangedLines
from airflow_kart.identity.code import changed_parts

_SHOWN_PARTS = 5
_MOST_UPSTREAM = 100
"""Tasks upstream of an artifact whose code is compared."""


def changed_code(
    side: Side, before: Mapping[str, Any], lines: ChangedLines, now: Mapping[str, Any] | None = None, *, of_now: bool = False
) -> Cause:
    """Return the cause that the code of a task has changed.

    Args:
        side: the task.
        before: the part ``source`` of the sidecar of the earlier code.
        lines: tells changed lines.
        now: the part of the later code; by default the task's.
        of_now: whether the later code is that of the files as they are.
    """
    now = side.source if now is None else now
    module = f"{side.cls.rpartition('.')[0]}."
    old, new, codes = before.get("parts"), now.get("parts"), (before.get("fingerprint"), now.get("fingerprint"))
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return Cause("code", str(side), "its code has changed", *codes)
    names, count = changed_parts(old, new)
    shown = [name.removeprefix(module) for name in names]
    more = f" and {len(shown) - _SHOWN_PARTS} more" if len(shown) > _SHOWN_PARTS else ""
    words = f"its code has changed: {', '.join(shown[:_SHOWN_PARTS])}{more} ({len(names)} of {count} parts)"
    return Cause("code", str(side), words, *codes, tuple(lines.between(before, now, names, of_now=of_now)))


def older_code(record: Record, sources: Mapping[str, Any], history: History) -> Iterator[Cause]:
    """Return how other code differs from the code of an artifact, and of what is upstream, once for each class.

    Args:
        record: the artifact.
        sources: by class, the part ``source`` that a sidecar of the other code would have.
        history: of the artifact's workspace.
    """
    sides = [Side.of_record(record)]
    left, met = set(sources), {record.unique_id}
    for side in sides:  # which grows
        then, now = side.source, sources.get(side.cls)
        if side.cls in left and isinstance(now, Mapping) and then.get("fingerprint") not in (None, now.get("fingerprint")):
            left.remove(side.cls)
            yield changed_code(side, then, history.changed_lines, now)
        if not left:
            return
        for one in (each for part in side.upstream.values() for each in required_sides(side, part, history)):
            if one.unique_id not in met and len(met) < _MOST_UPSTREAM:
                met.add(one.unique_id)
                sides.append(one)
