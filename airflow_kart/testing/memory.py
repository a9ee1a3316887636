"""A workspace in memory that is gone when its block ends."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from airflow_kart.storage.workspace import Workspace

__all__ = ["in_memory_workspace"]


@contextmanager
def in_memory_workspace() -> Iterator[Workspace]:
    """Make a new ``memory://`` workspace the current one; what it holds is let go of when the block ends.

    Each block has a workspace of its own, so tests that run in several threads do not meet::

        with in_memory_workspace():
            assert build(Visitors()) == 2
    """
    with Workspace(f"memory://{uuid.uuid4().hex}") as workspace:
        try:
            yield workspace
        finally:
            store = workspace.store
            for uri in store.list(f"{workspace.directory}/"):
                store.remove(uri)
