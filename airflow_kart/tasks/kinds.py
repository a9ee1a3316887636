"""Kinds of tasks without work of their own: wrappers, which group other tasks, and external tasks."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any, ClassVar, TypeVar

from typing_extensions import Never

from airflow_kart.artifacts.external import ExternalTarget
from airflow_kart.artifacts.target import Target
from airflow_kart.exceptions import MissingArtifactError
from airflow_kart.formats import Format
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.model import Kind
from airflow_kart.tasks.outputs import targets_of
from airflow_kart.tasks.targets import Located
from airflow_kart.tasks.task import TaskOnKart

T = TypeVar("T")


class WrapperTask(TaskOnKart[None]):
    """A task that only groups others. A wrapper has no artifact, and is complete when all its requirements are."""

    _kind: ClassVar[Kind] = Kind(wrapper=True, sidecar=False)

    def output(self) -> None:
        """There is none."""

    def run(self) -> None:
        """There is nothing to do."""


class ExternalTask(TaskOnKart[T]):
    """A task whose artifact somebody else puts in place.

    It has no ``run``, only an output::

        class Prices(ExternalTask[pd.DataFrame]):
            day: dt.date = DateParameter()

            def output(self):
                return self.make_target(f"/data/incoming/prices_{self.day}.csv")

    The file is complete as soon as it exists; an external artifact needs no sidecar. In a DAG the operator waits for the
    file without holding a worker slot; in :func:`~airflow_kart.build` a missing file is an error. The writer should rename
    the file into place, so that no reader sees half a file. In a workspace in memory, as tests use, the path is always
    relative to the workspace.
    """

    poll_seconds: ClassVar[float] = 60.0
    """How often a waiting operator looks, in seconds."""
    timeout: ClassVar[dt.timedelta | None] = None
    """How long an operator waits before failing; ``None``: without end."""
    _kind: ClassVar[Kind] = Kind(external=True, sidecar=False, target_class=ExternalTarget)

    def make_target(
        self,
        relative_file_path: str | None = None,
        use_unique_id: bool = False,
        *,
        format: Format | None = None,  # noqa: A002 - as in the base class
        schema: Any = None,
        **unknown: Never,
    ) -> Target:
        """Return a target that somebody else writes: below the workspace, or anywhere by an absolute path or uri.

        Args:
            relative_file_path: path below the workspace, absolute path, or uri.
            use_unique_id: whether the file's name contains the unique id; by default not.
            format: as in :meth:`TaskOnKart.make_target`.
            schema: as in :meth:`TaskOnKart.make_target`.
            unknown: as in :meth:`TaskOnKart.make_target`.
        """
        return super().make_target(relative_file_path, use_unique_id, format=format, schema=schema, **unknown)

    def _locate(self, path: str) -> Located:
        if "://" not in path and not path.startswith("/"):
            return super()._locate(path)
        workspace = Workspace.current()
        if not workspace.store.shared:
            return super()._locate(path.replace("://", "/").lstrip("/"))
        return [(path, workspace.store_of(path))]

    def run(self) -> Iterator[Any] | None:
        """Say that nothing here can make the artifact.

        Raises:
            MissingArtifactError: always.
        """
        missing = ", ".join(target.uri for _, target in targets_of(self) if not target.exists())
        raise MissingArtifactError(
            f"{self!r} is made elsewhere, and is not there yet: {missing}; put it there, or wait for it"
        )
