"""Mutations of documents: random bytes, flipped bits, and changes of the structure of JSON."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

__all__ = ["mutated", "mutated_bytes", "mutated_json"]

_STRANGE: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    0.5,
    1e308,
    float("inf"),
    float("nan"),
    10**30,
    "",
    "x",
    "\ud800",
    "a" * 32,
    "f" * 64,
    "2024-01-01",
    [],
    [[]],
    [None],
    {},
    {"a": 1},
    {"": {"": []}},
    json.loads("[" * 80 + "]" * 80),
    json.loads('{"a":' * 120 + "1" + "}" * 120),
)


def mutated(data: bytes, numbers: random.Random) -> bytes:
    """Return a JSON document after one to three mutations."""
    for _ in range(numbers.choice([1, 1, 2, 3])):
        if numbers.random() < 0.5:
            data = mutated_bytes(data, numbers)
        else:
            try:
                data = json.dumps(mutated_json(json.loads(data), numbers)).encode("utf-8", "surrogatepass")
            except (ValueError, RecursionError):
                data = mutated_bytes(data, numbers)
    return data


def mutated_bytes(data: bytes, numbers: random.Random) -> bytes:
    """Return bytes with some flipped, replaced, removed, repeated or added."""
    changed = bytearray(data or b"x")
    begin = numbers.randrange(len(changed))
    end = min(len(changed), begin + numbers.randrange(1, 40))
    kind = numbers.randrange(8)
    if kind < 3:
        changed[begin] ^= 1 << numbers.randrange(8)
    elif kind == 3:
        changed[begin:end] = numbers.randbytes(end - begin)
    elif kind == 4:
        del changed[begin:end]
    elif kind == 5:
        changed[begin:begin] = changed[begin:end]
    elif kind == 6:
        changed[begin:begin] = numbers.choice([b"[" * 5000, b'{"a":' * 5000, b"9" * 5000, b"\0", b"\xff\xfe", b"NaN", b'"'])
    else:
        del changed[begin:]
    return bytes(changed)


def mutated_json(document: Any, numbers: random.Random) -> Any:
    """Return a document with one part removed, renamed, moved, or replaced by something strange."""
    document = copy.deepcopy(document)
    places = [place for place in _places(document) if place[0]]
    if not places:
        return numbers.choice(_STRANGE)
    container, key = numbers.choice(places)
    kind = numbers.randrange(5)
    if kind == 0:
        del container[key]
    elif kind == 1 and isinstance(container, dict):
        container[str(key)[::-1]] = container.pop(key)
    elif kind == 2:
        other, name = numbers.choice(places)
        container[key] = copy.deepcopy(other[name])
    else:
        container[key] = copy.deepcopy(numbers.choice(_STRANGE))
    return document


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    pending = [document]
    while pending:
        container = pending.pop()
        keys = list(container) if isinstance(container, dict) else range(len(container))
        for key in keys:
            yield container, key
            if isinstance(container[key], (dict, list)):
                pending.append(container[key])
