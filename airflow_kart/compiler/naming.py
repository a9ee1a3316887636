"""Airflow task ids that a reader understands, and that stay the same from parse to parse and from run to run.

A task has its class's name. Several tasks of a class differ by the values that no run can change, and where these do not
suffice, by the keys of ``requires()`` that lead to them: ``features__0``, ``features__holiday``. Neither a sample's value
nor a count of the tasks named so far is ever part of an id.
"""

from __future__ import annotations

import datetime as dt
import enum
import hashlib
import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import PurePath
from typing import TypeVar

from airflow_kart.compiler.structure import Key, StructureNode
from airflow_kart.identity.names import logical_module_name
from airflow_kart.identity.spelling import snake_case
from airflow_kart.parameters import DateInterval
from airflow_kart.tasks.nesting import KeyPath

RESERVED = frozenset({"plan", "report"})
"""Task ids of a compiled DAG's plan and report."""

_LONGEST = 200
_TELLING = (str, int, dt.date, dt.timedelta, PurePath, DateInterval)
"""Types whose values have a short text, the same in every process."""
_UNFIT = re.compile(r"[^A-Za-z0-9_-]+")

K = TypeVar("K", bound=Hashable)


def class_label(node: StructureNode) -> str:
    """Return the name of a node's class in snake case; a reserved name gets an ending."""
    name = snake_case(type(node.task).__name__)
    return f"{name}_task" if name in RESERVED else name


def task_ids(nodes: Mapping[Key, StructureNode]) -> dict[Key, str]:
    """Return a task id for each node."""
    groups: dict[str, list[Key]] = {}
    for key, node in nodes.items():
        groups.setdefault(class_label(node), []).append(key)
    ids: dict[Key, str] = {}
    for label, keys in groups.items():
        for key, suffix in _suffixes({key: nodes[key] for key in keys}).items():
            ids[key] = _bounded(f"{label}__{suffix}" if suffix else label)
    return {key: ids[key] for key in nodes}


def _suffixes(nodes: Mapping[Key, StructureNode]) -> dict[Key, str]:
    values = _telling_values(list(nodes.values()))
    by_value = dict(zip(nodes, values, strict=True))
    alike: dict[str, list[Key]] = {}
    for key, text in by_value.items():
        alike.setdefault(text, []).append(key)
    suffixes: dict[Key, str] = {}
    for text, keys in alike.items():
        if len(keys) == 1 and text:
            suffixes[keys[0]] = text
            continue
        trails = _telling_ends({key: nodes[key].trail for key in keys})
        for key in keys:
            suffixes[key] = "_".join(part for part in (text, _as_text(trails[key])) if part)
    return _distinct(suffixes, {key: node.trail for key, node in nodes.items()})


def _telling_values(nodes: Sequence[StructureNode]) -> list[str]:
    """Return for each node the text of the fixed values in which the nodes differ; empty if they differ in none."""
    described = []
    for node in nodes:
        fixed = {name: text for name, value in node.fixed_values().items() if (text := _value_text(value)) is not None}
        described.append({"": logical_module_name(type(node.task).__module__).replace(".", "_"), **fixed})
    shared = [name for name in described[0] if all(name in values for values in described)]
    telling = [name for name in shared if len({values[name] for values in described}) > 1]
    return ["_".join(values[name] for name in telling) for values in described]


def _value_text(value: object) -> str | None:
    """Return a value as a part of a task id; ``None`` if the value has no short and certain text."""
    if isinstance(value, enum.Enum):
        value = value.name
    elif isinstance(value, type):
        value = value.__name__
    elif not isinstance(value, _TELLING):
        return None
    text = _UNFIT.sub("_", str(value)).strip("_")
    return text if 0 < len(text) <= 40 else None


def _telling_ends(trails: Mapping[K, KeyPath]) -> dict[K, KeyPath]:
    """Return for each trail its shortest end that no other trail has, after cutting off the end that all share."""
    common = 0
    shortest = min(len(trail) for trail in trails.values())
    while common < shortest and len({trail[len(trail) - 1 - common] for trail in trails.values()}) == 1:
        common += 1
    cut = {key: trail[: len(trail) - common] for key, trail in trails.items()}
    ends: dict[KeyPath, int] = {}
    for trail in cut.values():
        for length in range(1, len(trail) + 1):
            end = trail[-length:]
            ends[end] = ends.get(end, 0) + 1
    found: dict[K, KeyPath] = {}
    for key, trail in cut.items():
        unique = (trail[-length:] for length in range(1, len(trail) + 1) if ends[trail[-length:]] == 1)
        found[key] = next(unique, trail)
    return found


def _as_text(path: KeyPath) -> str:
    return _UNFIT.sub("_", "_".join(str(key) for key in path)).strip("_")


def _distinct(suffixes: Mapping[Key, str], trails: Mapping[Key, KeyPath]) -> dict[Key, str]:
    """Add a digest of the whole trail where cleaning up made two suffixes alike."""
    seen: dict[str, int] = {}
    for text in suffixes.values():
        seen[text] = seen.get(text, 0) + 1
    return {
        key: text if seen[text] == 1 else f"{text}_{_short_digest(repr(trails[key]))}".lstrip("_")
        for key, text in suffixes.items()
    }


def _bounded(task_id: str) -> str:
    return task_id if len(task_id) <= _LONGEST else f"{task_id[:_LONGEST]}_{_short_digest(task_id)}"


def _short_digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
