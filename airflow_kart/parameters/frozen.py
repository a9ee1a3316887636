"""JSON-like values made immutable, so that a task and its identity cannot drift apart."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from airflow_kart.parameters.base import described
from airflow_kart.stored import make

__all__ = ["FrozenDict", "freeze", "thaw"]


class FrozenDict(dict[str, Any]):
    """A dict that cannot be changed. It is a real dict, so ``json`` and ``**`` take it; ``copy()`` gives a free one."""

    def _refuse(self, *_args: object, **_kwargs: object) -> NoReturn:
        raise TypeError("a task's parameters cannot be changed; work on a copy: dict(self.parameter)")

    # The signatures differ from dict's on purpose: none of these can be called.
    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = _refuse
    setdefault = update = _refuse  # pyright: ignore[reportAssignmentType]

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __copy__(self) -> dict[str, Any]:
        return dict(self)

    def __deepcopy__(self, _memo: object) -> dict[str, Any]:
        thawed: dict[str, Any] = thaw(self)
        return thawed

    def __reduce__(self) -> tuple[Any, ...]:
        return make, ("parameters.FrozenDict", dict(self))

    def __or__(self, other: Any) -> Any:
        return dict(self) | other


def freeze(value: Any) -> Any:
    """Return a JSON-like value with tuples for lists and :class:`FrozenDict` for dicts.

    Raises:
        ValueError: something in it is not a JSON value (str, int, float, bool, ``None``, list, dict with str keys), or it
            is nested without end.
    """
    try:
        return _frozen(value)
    except RecursionError:
        raise ValueError("it is nested too deeply, or holds itself") from None


def _frozen(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value!r} is not a JSON number")
        return float(value)
    if isinstance(value, (list, tuple)):
        return tuple(_frozen(item) for item in value)
    if isinstance(value, Mapping):
        return FrozenDict(_frozen_items(value))
    raise ValueError(f"{described(value)} is not a JSON value; use str, int, float, bool, None, lists and dicts")


def _frozen_items(mapping: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    for key, item in mapping.items():
        if not isinstance(key, str):
            raise ValueError(f"the key {described(key)} is not a str")
        yield str.__str__(key), _frozen(item)


def thaw(value: Any) -> Any:
    """Return a frozen value as plain lists and dicts."""
    if isinstance(value, tuple):
        return [thaw(item) for item in value]
    if isinstance(value, dict):
        return {key: thaw(item) for key, item in value.items()}
    return value
