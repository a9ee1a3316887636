"""Where the artifacts of a run are."""

from __future__ import annotations

import os
import threading
from contextvars import ContextVar, Token
from dataclasses import dataclass, field

from typing_extensions import Self

from airflow_kart import settings
from airflow_kart.exceptions import ConfigurationError
from airflow_kart.storage import Store, join_uri, store_for

__all__ = ["Workspace"]


@dataclass(frozen=True)
class Workspace:
    """A directory or bucket prefix that holds artifacts.

    As a context manager it is the workspace of every target made inside the ``with`` block::

        with Workspace("/data/experiments"):
            build(Train())

    Args:
        directory: path or uri. A relative path is taken from the current directory.
    """

    directory: str
    _tokens: dict[int, list[Token[Workspace | None]]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Make a path absolute, so that it means the same wherever it is used."""
        directory = os.fspath(self.directory)
        if "://" not in directory:
            directory = os.path.abspath(os.path.expanduser(directory))
        object.__setattr__(self, "directory", directory)

    @classmethod
    def current(cls) -> Workspace:
        """Return the workspace of the surrounding ``with`` block, else the configured one.

        A thread that is in no block of its own, such as a task's, is in the block that the process is in.

        Raises:
            ConfigurationError: the process is in several, with different workspaces.
        """
        current = _CURRENT.get()
        if current is not None:
            return current
        entered = set(_ENTERED)
        if len(entered) > 1:
            raise ConfigurationError(
                "this thread is in no `with Workspace(...)` block, and the process is in several: "
                "enter the right one in the thread, or start it with contextvars.copy_context().run"
            )
        return entered.pop() if entered else cls(settings.workspace_directory())

    def uri(self, relative_path: str) -> str:
        """Return the uri of a path below the workspace."""
        return join_uri(self.directory, relative_path)

    @property
    def store(self) -> Store:
        """The store that keeps the workspace."""
        return store_for(self.directory)

    def __enter__(self) -> Self:
        """Make this the current workspace."""
        self._tokens.setdefault(threading.get_ident(), []).append(_CURRENT.set(self))
        _ENTERED.append(self)
        return self

    def __exit__(self, *_exception: object) -> None:
        """Go back to the workspace before."""
        _CURRENT.reset(self._tokens[threading.get_ident()].pop())
        _ENTERED.remove(self)


_ENTERED: list[Workspace] = []
_CURRENT: ContextVar[Workspace | None] = ContextVar("airflow_kart_workspace", default=None)
