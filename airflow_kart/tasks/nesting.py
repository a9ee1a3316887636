"""Dicts, lists and tuples, nested in any way, with tasks or targets as leaves: the values of ``requires()`` and ``output()``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

KeyPath = tuple[str | int, ...]
"""The place of a leaf: the keys and indices from the top; empty for a leaf that is not nested."""

L = TypeVar("L")
R = TypeVar("R")


class NotALeafError(TypeError):
    """Something in the nesting is neither a leaf nor a dict, list or tuple."""

    def __init__(self, path: KeyPath, found: object) -> None:
        super().__init__(f"{type(found).__name__} at {describe_path(path)}")
        self.path = path
        self.found = found

    def wrong(self, wanted: str) -> str:
        """Return the mistake as the end of a sentence.

        Args:
            wanted: the kind of leaf that was expected: ``"a task"``.
        """
        return f"{self}, which is not {wanted}"


class WrongKeyError(NotALeafError):
    """The key of a dict is neither a str nor an int."""

    def wrong(self, wanted: str) -> str:
        """Return the mistake as the end of a sentence; the key, not the leaf, is wrong."""
        where = f" at {describe_path(self.path)}" if self.path else ""
        return f"a dict with the key {self.found!r}{where}; let keys be str or int, as in {{{str(self.found)!r}: ...}}, and leaves {wanted}"


def leaves(nested: object, leaf: type[L], path: KeyPath = ()) -> Iterator[tuple[KeyPath, L]]:
    """Return each leaf with its path, in order; ``None`` and empty containers have none.

    Raises:
        NotALeafError: something is neither a leaf nor a container.
    """
    if isinstance(nested, leaf):
        yield path, nested
    elif isinstance(nested, (list, tuple)):  # before the slower question for a mapping
        for index, item in enumerate(nested):
            if isinstance(item, leaf):  # as nearly all are: without a generator for each
                yield (*path, index), item
            else:
                yield from leaves(item, leaf, (*path, index))
    elif isinstance(nested, Mapping):
        for key, item in nested.items():
            if not isinstance(key, (str, int)):
                raise WrongKeyError(path, key)
            yield from leaves(item, leaf, (*path, key))
    elif nested is not None:
        raise NotALeafError(path, nested)


def map_leaves(change: Callable[[L], R], nested: Any, leaf: type[L]) -> Any:
    """Return the same nesting with each leaf changed; tuples become lists, as their order is all that counts."""
    if isinstance(nested, leaf):
        return change(nested)
    if isinstance(nested, (list, tuple)):
        return [map_leaves(change, item, leaf) for item in nested]
    if isinstance(nested, Mapping):
        return {key: map_leaves(change, item, leaf) for key, item in nested.items()}
    return nested


def follow(nested: Any, path: KeyPath) -> Any:
    """Return the value at a path.

    Raises:
        LookupError: nothing is there.
    """
    for key in path:
        if not isinstance(nested, (Mapping, list, tuple)):
            raise LookupError(key)
        try:
            nested = nested[key]  # type: ignore[index]  # a missing or wrong kind of key is a LookupError or TypeError
        except TypeError as error:
            raise LookupError(key) from error
    return nested


def describe_path(path: KeyPath) -> str:
    """Return a path for a message: ``['train'][0]``, or ``the top``."""
    return "".join(f"[{key!r}]" for key in path) or "the top"
