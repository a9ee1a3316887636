"""A workspace in memory that ends with its block."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from airflow_kart.storage.workspace import Workspace


@contextmanager
def in_memory_workspace() -> Iterator[Workspace]:
    """Make a new ``memory://`` workspace the current one; free its memory when the block ends.

    Each block has a workspace of its own, so tests in several threads do not share artifacts::

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
