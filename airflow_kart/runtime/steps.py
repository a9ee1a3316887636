"""Work that waits for other work on a stack of its own, so that runs may ask for runs to any depth.

Python's own stack ends after some hundred calls. Here a function that needs the result of another of its kind yields the
other one, as a generator, and is resumed with the result, or with the error.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

R = TypeVar("R")
Steps = Generator["Steps[Any]", Any, R]
"""Work with a result; at each ``yield`` the work waits for other work."""


def result_of(first: Steps[R]) -> R:
    """Take steps to their end, and all steps that they wait for; return the result."""
    stack: list[Steps[Any]] = [first]
    result: Any = None
    error: BaseException | None = None
    while stack:
        try:
            inner = stack[-1].send(result) if error is None else stack[-1].throw(error)
        except StopIteration as end:
            stack.pop()
            result, error = end.value, None
        except BaseException as raised:  # noqa: BLE001 - raised where the result is waited for
            stack.pop()
            result, error = None, raised
        else:
            stack.append(inner)
            result = error = None
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]  # of the first steps
