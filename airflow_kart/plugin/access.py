"""Who may see what: Airflow's auth manager decides by DAG, and a page reads only below the workspaces of those DAGs."""

from __future__ import annotations

import contextvars
import os
import posixpath
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import Annotated, Any, TypeVar, cast

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from fastapi import Depends, HTTPException

from airflow_kart.audit.catalogue.record import Record
from airflow_kart.exceptions import KartError, MissingArtifactError, StorageError
from airflow_kart.plugin.structure import is_template, rendered_workspaces, structures, workspace_from
from airflow_kart.storage import keeps_files
from airflow_kart.storage.workspace import Workspace

_T = TypeVar("_T")
_PATIENCE = 10.0
_ASKING = futures.ThreadPoolExecutor(32, thread_name_prefix="kart-page")


class _Line:
    """The questions to a workspace: two at once, so that one that hangs leaves threads for the others."""

    def __init__(self) -> None:
        self.places = threading.BoundedSemaphore(2)
        self.late: futures.Future[Any] | None = None


_LINES: dict[str, _Line] = {}
"""By the workspace's directory."""


class Reader:
    """The user who asks for a page.

    Args:
        user: as Airflow's auth manager knows the user.
    """

    def __init__(self, user: Any) -> None:
        self.user = user
        self._may: dict[tuple[str, DagAccessEntity | None, str], bool] = {}
        self._workspaces: dict[frozenset[str], list[Workspace]] = {}

    def may(self, dag_id: str, entity: DagAccessEntity | None = None, method: str = "GET") -> bool:
        """Whether the user may read a DAG, or a part of one, or do more by another method."""
        key = (dag_id, entity, method)
        if key not in self._may:
            try:
                requires_access_dag(cast(Any, method), entity, dag_id)(cast(Any, None), self.user)
                self._may[key] = True
            except HTTPException:
                self._may[key] = False
        return self._may[key]

    def sees(self, record: Record) -> bool:
        """Whether the user may see an artifact: nobody's, or one of a DAG that the user may read."""
        return self.sees_dag(record.dag_id)

    def sees_dag(self, dag_id: str | None) -> bool:
        """Whether the user may see artifacts of a DAG, or of none."""
        return dag_id is None or self.may(dag_id)

    def dag_ids(self) -> set[str]:
        """Return the DAGs that the user may read."""
        found: set[str] = get_auth_manager().get_authorized_dag_ids(user=self.user, method="GET")
        return found

    def workspaces(self, dag_ids: Iterable[str] | None = None) -> list[Workspace]:
        """Return the workspaces of some DAGs that the user may read, by default of all; each directory once."""
        asked = frozenset(self.dag_ids() if dag_ids is None else (one for one in dag_ids if self.may(one)))
        if asked not in self._workspaces:
            found: dict[str, Workspace] = {}
            for workspace in _workspaces(asked):
                found.setdefault(workspace.directory.rstrip("/"), workspace)
            self._workspaces[asked] = list(found.values())
        return self._workspaces[asked]

    def workspace_of(self, uri: str, dag_ids: Iterable[str] | None = None) -> Workspace:
        """Return the workspace that a uri is in: the one way by which a page comes to read anything.

        Args:
            uri: of an artifact; nothing about it is trusted.
            dag_ids: DAGs whose workspaces count; by default all that the user may read.

        Raises:
            MissingArtifactError: the uri is in none of these workspaces.
        """
        for workspace in self.workspaces(dag_ids):
            if any(_within(uri, directory, workspace) for directory in (workspace.directory, *workspace.others)):
                return workspace
        raise MissingArtifactError(
            "This address is in no workspace of a DAG that you may read. Of a workspace that a template names, Airflow remembers "
            "what the template became in the runs of late"
        )


def answer_of(workspace: Workspace, ask: Callable[[], _T]) -> _T:
    """Return what a workspace answers. A bucket that does not answer holds no thread of the API server for minutes.

    Args:
        workspace: is asked.
        ask: asks, perhaps in another thread.

    Raises:
        StorageError: no answer came in time.
    """
    if keeps_files(workspace.store):
        return ask()
    ends, line = time.monotonic() + _PATIENCE, _LINES.setdefault(workspace.directory, _Line())
    silent = StorageError(
        f"{workspace.directory} did not answer within {_PATIENCE:g} s; load the page again in a while",
        uri=workspace.directory,
    )
    hangs = line.late is not None and not line.late.done()
    if not line.places.acquire(timeout=0 if hangs else _PATIENCE):
        raise silent
    asked = _ASKING.submit(contextvars.copy_context().run, ask)
    asked.add_done_callback(lambda _: line.places.release())
    try:
        return asked.result(max(0, ends - time.monotonic()))
    except futures.TimeoutError:
        if not asked.cancel():
            line.late = asked
        raise silent from None


def records_in(workspace: Workspace, name: str | None = None) -> list[Record]:
    """Return the artifacts of a workspace, or those of a name; raises as :func:`answer_of`."""
    return answer_of(workspace, lambda: list(workspace.artifacts(name)))


def require_reachable(workspace: Workspace, uri: str | None = None) -> None:
    """Require that the API server sees a directory of a workspace on a disk: its own, or the one that an artifact is in.

    Raises:
        StorageError: the directory is not there.
    """
    inside = (one for one in (workspace.directory, *workspace.others) if uri and uri.startswith(f"{one.rstrip('/')}/"))
    directory = max(inside, key=len, default=workspace.directory)
    store = workspace.store_of(directory)
    if keeps_files(store) and not os.path.isdir(cast(Any, store).path(directory)):
        raise StorageError(
            f"the API server does not see the directory {directory}; a volume that workers and API server share, or a "
            "bucket, helps",
            uri=directory,
        )


def reader(user: GetUserDep) -> Reader:
    """Return the user who asks. Anonymous requests end here, with 401."""
    return Reader(user)


ReaderDep = Annotated[Reader, Depends(reader)]


def reads_dag(*entities: DagAccessEntity) -> list[Any]:
    """Return the dependencies of a route with a ``dag_id``: the user may read the DAG, and these parts of the DAG."""
    return [Depends(requires_access_dag("GET", entity)) for entity in (None, *entities)]


def _workspaces(dag_ids: Iterable[str]) -> Iterator[Workspace]:
    for dag_id, structure in structures(dag_ids).items():
        fields = [node.workspace for node in structure.nodes.values() if node.kind]
        fields += rendered_workspaces(dag_id) if any(node.has_template for node in structure.nodes.values()) else []
        for field in {repr(field): field for field in fields}.values():
            try:
                if not is_template(field):
                    yield workspace_from(field)
            except (
                KartError,
                KeyError,
                TypeError,
                ValueError,
            ):  # none is configured, or somebody wrote something else there
                continue


def _within(uri: str, directory: str, workspace: Workspace) -> bool:
    """Whether a uri is below a directory, by its text and, on a disk, also by where its links lead."""
    if "\x00" in uri or posixpath.normpath(uri.partition("://")[2] or uri) != (uri.partition("://")[2] or uri):
        return False
    if not uri.startswith(f"{directory.rstrip('/')}/"):
        return False
    store = workspace.store_of(directory)
    if not keeps_files(store):
        return True
    root, path = (str(os.path.realpath(cast(Any, store).path(one))) for one in (directory, uri))
    return path.startswith(f"{root.rstrip(os.sep)}{os.sep}")
