"""JSON values made immutable, so that a task and its identity cannot drift apart."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, TypeAlias, Union, overload

from airflow_kart.parameters.base import described
from airflow_kart.stored import make

Json: TypeAlias = Union[bool, int, float, str, "list[Json]", "dict[str, Json]", None]
"""A JSON value (RFC 8259) as Python's ``json`` reads one."""
Frozen: TypeAlias = Union[bool, int, float, str, "tuple[Frozen, ...]", "FrozenDict", None]
"""A JSON value that cannot be changed."""


class FrozenDict(dict[str, Any]):
    """A dict that cannot be changed. ``json`` and ``**`` take a frozen dict; ``copy()`` returns an ordinary one.

    As the value of a parameter its keys are sorted: equal dicts have one id, and so must look the same to ``run()``.
    """

    def _refuse(self, *_args: object, **_kwargs: object) -> NoReturn:
        raise TypeError("a task's parameters cannot be changed; work on a copy: dict(self.parameter)")

    # The signatures differ from dict's on purpose: none of these can be called.
    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = _refuse
    setdefault = update = _refuse  # pyright: ignore[reportAssignmentType]

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __copy__(self) -> dict[str, object]:
        return dict(self)

    def __deepcopy__(self, _memo: object) -> dict[str, Json]:
        return thaw(self)

    def __reduce__(self) -> tuple[object, ...]:
        return make, ("parameters.FrozenDict", dict(self))

    def __or__(self, other: Any) -> Any:
        return dict(self) | other


@overload
def freeze(value: list[object] | tuple[object, ...]) -> tuple[Frozen, ...]: ...


@overload
def freeze(value: Mapping[str, object]) -> FrozenDict: ...


@overload
def freeze(value: object) -> Frozen: ...


def freeze(value: object) -> Frozen:
    """Return a JSON value in its canonical form: tuples for lists, sorted :class:`FrozenDict` for dicts, 0.0 for -0.0.

    Raises:
        ValueError: a part of the value is no JSON value (str, int, float, bool, ``None``, list, dict with str keys), or
            the nesting has no end.
    """
    try:
        return _frozen(value)
    except RecursionError:
        raise ValueError("the value is nested too deeply, or holds itself") from None


def _frozen(value: object) -> Frozen:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value!r} is not a JSON number")
        return float(value) + 0.0  # -0.0 becomes 0.0: the two are equal, and so have one id
    if isinstance(value, (list, tuple)):
        return tuple(_frozen(item) for item in value)
    if isinstance(value, Mapping):
        return FrozenDict(sorted(_frozen_items(value), key=operator.itemgetter(0)))
    raise ValueError(f"{described(value)} is not a JSON value; use str, int, float, bool, None, lists and dicts")


def _frozen_items(mapping: Mapping[object, object]) -> Iterator[tuple[str, Frozen]]:
    for key, item in mapping.items():
        if not isinstance(key, str):
            raise ValueError(f"the key {described(key)} is not a str")
        yield str.__str__(key), _frozen(item)


@overload
def thaw(value: tuple[Frozen, ...]) -> list[Json]: ...


@overload
def thaw(value: FrozenDict) -> dict[str, Json]: ...


@overload
def thaw(value: Frozen) -> Json: ...


def thaw(value: Frozen) -> Json:
    """Return a frozen value as plain lists and dicts."""
    if isinstance(value, tuple):
        return [thaw(item) for item in value]
    if isinstance(value, dict):
        return {key: thaw(item) for key, item in value.items()}
    return value
