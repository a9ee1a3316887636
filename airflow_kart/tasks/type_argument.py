"""The type of a class's output: the argument of ``TaskOnKart[...]`` in its bases."""

from __future__ import annotations

import sys
from typing import Any, ForwardRef, TypeVar, get_args, get_origin


def type_argument(cls: type, generic: type) -> Any:
    """Return the argument a class gives to a generic base class, through the generic classes between.

    A text that names something of the class's module is resolved, another stays a ``typing.ForwardRef``; ``None``
    where the class gives no argument, or a type variable.

    Args:
        cls: the class, e.g. ``Train``.
        generic: a generic base class with one type variable, e.g. ``TaskOnKart``.
    """
    found = _argument(cls, generic)
    if isinstance(found, ForwardRef):
        found = _resolved(found, cls)
    return None if isinstance(found, TypeVar) else found


def _argument(cls: type, generic: type) -> Any:
    for base in _original_bases(cls):
        origin = get_origin(base) or base
        if not isinstance(origin, type) or not issubclass(origin, generic):
            continue
        arguments = get_args(base)
        if origin is generic:
            return arguments[0] if arguments else None
        found = _argument(origin, generic)
        variables: tuple[Any, ...] = getattr(origin, "__parameters__", ())
        if isinstance(found, TypeVar) and found in variables and arguments:
            return arguments[variables.index(found)]
        return found
    return None


def _original_bases(cls: type) -> tuple[Any, ...]:
    found: tuple[Any, ...] = cls.__dict__.get("__orig_bases__", cls.__bases__)
    return found


def _resolved(reference: ForwardRef, cls: type) -> Any:
    """Return the object that a text names in the class's module, or else the reference itself."""
    module = sys.modules.get(cls.__module__)
    try:
        return eval(reference.__forward_code__, dict(vars(module)) if module is not None else {})  # noqa: S307 - the class's own annotation
    except Exception:  # noqa: BLE001 - a name that only type checkers know
        return reference
