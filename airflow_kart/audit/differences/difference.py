"""What two artifacts differ in: task, parameters, upstream, code, environment, packages, seeds, and the data itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from airflow_kart.artifacts.sidecar import Sidecar
from airflow_kart.artifacts.sidecar.jsonable import Json
from airflow_kart.audit.catalogue.record import Record
from airflow_kart.audit.differences.values import Delta
from airflow_kart.exceptions import KartError
from airflow_kart.identity.code import changed_parts
from airflow_kart.tasks.nesting import describe_path

Section = Literal["task", "parameters", "upstream", "code", "environment", "packages", "seeds", "data"]
ONLY_ONE = "imported by one run only"
_PAIRED_ONE_BY_ONE = 200
_MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class Difference:
    """One named difference."""

    section: Section
    name: str
    """A parameter, key, part of the code, package, or a path in the data."""
    change: str
    """``changed``; ``added``, only in the second artifact; ``gone``, only in the first."""
    before: Json = None
    after: Json = None


@dataclass(frozen=True)
class Comparison:
    """What two artifacts differ in."""

    before: str
    """The uri of the first artifact."""
    after: str
    data: Literal["identical", "equal", "differs", "unknown"]
    """Whether the bytes are identical, only the data equal, or the data differ; ``unknown`` where nobody looked."""
    differences: tuple[Difference, ...]
    """In the order of the sections."""
    notes: tuple[str, ...] = ()
    """How rows were matched, what was left out, and why."""

    def summary(self) -> str:
        """Return one line: what the artifacts differ in."""
        names: dict[str, list[str]] = {}
        for one in self.differences:
            names.setdefault(one.section, []).append(one.name)
        found = {
            "identical": "equal bytes",
            "equal": "equal data, other bytes",
            "differs": "",
            "unknown": "data not compared",
        }
        parts = [found[self.data]] if found[self.data] else []
        for section, each in names.items():
            more = f" and {len(each) - 3} more" if len(each) > 3 else ""
            parts.append(f"{section}: {', '.join(each[:3])}{more}")
        return "; ".join(parts)


def difference(
    before: Record, after: Record, *, data: bool = True, rows: int = 5, most: int = 100, most_bytes: int = _MOST_BYTES
) -> Comparison:
    """Return what two artifacts differ in.

    Args:
        before: the first.
        after: the second.
        data: whether to compare the data, where the bytes differ.
        rows: how many differing rows, elements or lines to show.
        most: how many differences in the data to show.
        most_bytes: the size of the larger artifact, up to which data are compared.
    """
    found = list(sidecar_differences(before.sidecar, after.sidecar))
    records = before.sidecar.artifact, after.sidecar.artifact
    if records[0].sha256 == records[1].sha256:
        return Comparison(before.uri, after.uri, "identical", tuple(found))
    largest = max(record.bytes for record in records)
    if not data or largest > most_bytes:
        note = [f"the data were not compared: {largest:,} bytes, and the limit is {most_bytes:,}"] if data else []
        return Comparison(before.uri, after.uri, "unknown", tuple(found), tuple(note))
    try:
        values = before.load(), after.load()
    except (KartError, OSError) as error:
        return Comparison(before.uri, after.uri, "unknown", tuple(found), (f"the data were not compared: {error}",))
    inside, notes = data_differences(*values, rows=rows, most=most)
    verdict: Literal["equal", "differs"] = "differs" if inside else "equal"
    return Comparison(before.uri, after.uri, verdict, (*found, *inside), tuple(notes))


def data_differences(before: object, after: object, *, rows: int = 5, most: int = 100) -> tuple[list[Difference], list[str]]:
    """Return the differences between two loaded objects, and notes; see :func:`difference`."""
    from airflow_kart.audit.differences.objects import object_differences  # which loads numpy

    notes: list[str] = []
    deltas = list(islice(object_differences(before, after, rows=rows, notes=notes), most + 1))
    if len(deltas) > most:
        notes.append(f"only the first {most} differences are shown")
    return [Difference("data", *delta) for delta in deltas[:most]], notes


def sidecar_differences(before: Sidecar, after: Sidecar) -> Iterator[Difference]:
    """Return what the sidecars of two artifacts say differs, in the order of the sections."""
    one, other = before.content, after.content
    tasks = [_part(content, "task") for content in (one, other)]
    yield from _changed("task", *({name: task.get(name) for name in ("class", "code_version")} for task in tasks))
    yield from _parameters(*(_part(task, "parameters") for task in tasks))
    yield from _changed("upstream", *(dict(_upstream(content)) for content in (one, other)))
    yield from _code(before, after)
    environments = [_part(content, "environment") for content in (one, other)]
    names = ("python", "implementation", "platform", "host")
    yield from _changed("environment", *({name: found.get(name) for name in names} for found in environments))
    packages = [_part(found, "packages") for found in environments]
    both = packages[0].keys() & packages[1].keys()
    yield from _changed("packages", *({name: found[name] for name in found if name in both} for found in packages))
    alone = [", ".join(name for name in found if name not in both) for found in packages]
    if any(alone):
        yield Difference("packages", ONLY_ONE, "changed", *alone)
    seeds = [_part(_part(content, "run"), "seed") for content in (one, other)]
    yield from _changed("seeds", *({name: seed[name] for name in ("value", "functions") if name in seed} for seed in seeds))


def _part(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return content.get(name) or {}


def _changed(section: Section, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    for name in {**before, **after}:
        change = "gone" if name not in after else "added" if name not in before else "changed"
        if change != "changed" or before[name] != after[name]:
            yield Difference(section, name, change, before.get(name), after.get(name))


def _parameters(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    for name in {**before, **after}:
        one, other = before.get(name), after.get(name)
        if one is None or other is None:
            found = one or other or {}
            sides: list[Any] = [
                None if part is None else "private" if found.get("private") else part.get("value") for part in (one, other)
            ]
            yield Difference("parameters", name, "added" if one is None else "gone", *sides)
        elif one.get("private") or other.get("private"):
            if one.get("digest") != other.get("digest") or one.get("private") != other.get("private"):
                yield Difference("parameters", name, "changed", "private", "private, of another digest")
        else:
            from airflow_kart.audit.differences.objects import object_differences

            deltas: Iterable[Delta] = object_differences(one.get("value"), other.get("value"), rows=5, notes=[], path=name)
            yield from (Difference("parameters", *delta) for delta in deltas)


def _upstream(content: Mapping[str, Any]) -> Iterator[tuple[str, Json]]:
    parts: list[Mapping[str, Any]] = list(content.get("upstream") or ())
    for number, part in enumerate(parts):
        key = describe_path(tuple(part.get("key") or ()))
        name = f"{key} (asked for by run(), {number})" if part.get("dynamic") else key
        yield f"{name} class", part.get("class")
        yield f"{name} unique id", part.get("unique_id")
        yield f"{name} sha256", ", ".join(str(artifact.get("sha256")) for artifact in part.get("artifacts") or ())


def _code(before: Sidecar, after: Sidecar) -> Iterator[Difference]:
    sources = [_part(sidecar.content, "source") for sidecar in (before, after)]
    parts = [_part(source, "parts") for source in sources]
    if parts[0] and parts[1]:
        for name in changed_parts(*parts)[0]:
            yield from _changed("code", *({name: found[name][:12]} if name in found else {} for found in parts))
    elif sources[0].get("fingerprint") != sources[1].get("fingerprint"):
        yield Difference("code", "fingerprint", "changed", *(source.get("fingerprint") for source in sources))
    commits = [_part(source, "git") for source in sources]
    yield from _changed(
        "code", *({f"git {name}": git[name] for name in ("commit", "dirty") if name in git} for git in commits)
    )
    upstream: list[dict[str, Json]] = [
        {f"upstream {name}": [one[:12] for one in found] for name, found in sidecar.made_with.upstream}
        for sidecar in (before, after)
    ]
    yield from _changed("code", *upstream)


def pairs(before: Iterable[Record], after: Iterable[Record]) -> list[tuple[Record | None, Record | None]]:
    """Match the artifacts of two runs, or two days: those of one class, and of as many equal parameters as possible.

    Parameters of which no value is on both sides, such as the day, do not count. An artifact without a partner is alone.
    """
    sides = [_by_output(found) for found in (before, after)]
    return [pair for name in {**sides[0], **sides[1]} for pair in _matched(*(side.get(name, []) for side in sides))]


def _by_output(artifacts: Iterable[Record]) -> dict[tuple[str, str], list[Record]]:
    found: dict[tuple[str, str], list[Record]] = {}
    for one in artifacts:
        found.setdefault((str(one.sidecar.class_name), json.dumps(one.sidecar.content.get("output"))), []).append(one)
    return found


def _matched(before: Sequence[Record], after: Sequence[Record]) -> list[tuple[Record | None, Record | None]]:
    values = [[_values(found) for found in side] for side in (before, after)]
    every = [{pair for one in side for pair in one.items()} for side in values]
    shared = {name for name, _ in every[0] & every[1]}

    def by(key: Callable[[dict[str, str]], object], left: list[list[int]]) -> Iterator[tuple[int, int]]:
        waiting: dict[object, list[int]] = {}
        for number in reversed(left[1]):
            waiting.setdefault(key(values[1][number]), []).append(number)
        for number in list(left[0]):
            if numbers := waiting.get(key(values[0][number])):
                left[0].remove(number)
                left[1].remove(numbers[-1])
                yield number, numbers.pop()

    left = [list(range(len(side))) for side in values]
    found = [*by(lambda one: json.dumps(sorted(one.items())), left)]
    found += by(lambda one: json.dumps(sorted((name, value) for name, value in one.items() if name in shared)), left)
    if max(map(len, left)) <= _PAIRED_ONE_BY_ONE:
        for number in list(left[0]):
            if left[1]:
                best = max(left[1], key=lambda other: len(values[0][number].items() & values[1][other].items()))
                left[0].remove(number)
                left[1].remove(best)
                found.append((number, best))
    matched: list[tuple[Record | None, Record | None]] = [(before[one], after[other]) for one, other in sorted(found)]
    return matched + [(before[one], None) for one in left[0]] + [(None, after[other]) for other in left[1]]


def _values(found: Record) -> dict[str, str]:
    parameters = _part(_part(found.sidecar.content, "task"), "parameters")
    return {name: json.dumps(part.get("value", part.get("digest"))) for name, part in parameters.items()}
