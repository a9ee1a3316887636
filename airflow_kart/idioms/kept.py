"""Properties that are computed once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from builtins import property as kept
else:

    class kept:  # noqa: N801 - as functools names its own
        """A property that is computed when it is first asked for, and then an attribute of the object like any other.

        ``functools.cached_property`` locks before Python 3.12: a process that is forked while another thread computes one for
        any object would wait for ever for its own. Here two threads may both compute the value.
        """

        def __init__(self, compute: Callable[[Any], Any]) -> None:
            self._compute = compute
            self._name = compute.__name__
            self.__doc__ = compute.__doc__

        def __get__(self, instance: object, owner: type) -> Any:
            """Compute the value, and keep it in the object, where every later look finds it."""
            if instance is None:
                return self
            value = instance.__dict__[self._name] = self._compute(instance)
            return value


__all__ = ["kept"]
