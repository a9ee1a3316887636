"""A record of the catalogue: an artifact that can be asked, loaded, followed up and down, and removed.

Many records are only listed: loading, restoring and removing one imports what that needs then.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_kart.artifacts.sidecar import Sidecar, read_sidecar, sidecar_uri
from airflow_kart.audit.catalogue.row import Row, Upstream, row_of, words_of
from airflow_kart.audit.catalogue.rows import Catalogue, Place
from airflow_kart.exceptions import IdentityError, KartError, MissingArtifactError
from airflow_kart.identity.lookup import LOOKED_UP, find_class_named
from airflow_kart.idioms.kept import kept
from airflow_kart.storage.workspace import Workspace

if TYPE_CHECKING:
    from airflow_kart.audit.pins import Pin


logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Record:
    """An artifact, as its sidecar was when somebody asked. Two records of one artifact's version are equal."""

    workspace: Workspace
    place: Place
    row: Row

    @classmethod
    def at(cls, workspace: Workspace, uri: str, most: int) -> Record | None:
        """Return the record of a uri in a workspace, its sidecar read alone; ``None`` where there is none.

        Args:
            workspace: the workspace.
            uri: the artifact, in the workspace's directory or in one that it reads besides.
            most: bytes; a longer sidecar counts as none.

        Raises:
            StorageError: the store refused.
        """
        directory = next(one for one in (workspace.directory, *workspace.others) if uri.startswith(f"{one.rstrip('/')}/"))
        store, (folder, _, name) = workspace.store_of(uri), uri[len(directory.rstrip("/")) + 1 :].rpartition("/")
        stat = store.stat(sidecar_uri(uri))
        found = store.read(sidecar_uri(uri)) if stat is not None and stat.size <= most else None
        return None if found is None else cls(workspace, Place(directory, folder), row_of(sidecar_uri(uri), name, found))

    @property
    def uri(self) -> str:
        """Where the artifact is; a moved workspace has other uris than its sidecars record."""
        return self.place.uri(self.row.name)

    @property
    def task_class(self) -> str:
        """The logical name of the class of the task that made the artifact; empty where nobody recorded a task."""
        return self.row.cls

    @property
    def unique_id(self) -> str:
        """The unique id of the task."""
        return self.row.unique_id

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The values of the task's parameters as JSON, without private ones; a task held is its class and unique id."""
        return self.row.parameters

    @property
    def bytes(self) -> int:
        """The artifact's size."""
        return self.row.bytes

    @property
    def rows(self) -> int | None:
        """The rows of a table; ``None`` for other objects."""
        return self.row.rows

    @property
    def seconds(self) -> float:
        """How long the task ran."""
        return self.row.seconds

    @property
    def made_at(self) -> str:
        """When the artifact was published (ISO 8601, UTC)."""
        return self.row.made_at

    @property
    def dag_id(self) -> str | None:
        """The DAG whose run made the artifact; ``None`` outside Airflow."""
        return self.row.dag_id

    @property
    def run_id(self) -> str | None:
        """The DAG run that made the artifact; ``None`` outside Airflow."""
        return self.row.run_id

    @property
    def outcome(self) -> str:
        """``ran``; ``reused`` for the bytes of an equal run."""
        return "ran" if self.row.reused_from is None else "reused"

    @property
    def code_version(self) -> str | None:
        """The ``code_version`` of the task's class."""
        return self.row.code_version

    @property
    def fingerprint(self) -> str | None:
        """The fingerprint of the code of the task's class; ``None`` for code without one."""
        return self.row.fingerprint

    @property
    def state(self) -> str:
        """Empty for an artifact that counts; else ``damaged``, ``replaced``, ``requested`` or ``unreadable``."""
        return self.row.state

    @kept
    def sidecar(self) -> Sidecar:
        """The whole sidecar, read now.

        Raises:
            MissingArtifactError: somebody has removed the artifact.
            CorruptArtifactError: the sidecar cannot be read.
        """
        found = read_sidecar(self.workspace.store_of(self.uri), self.uri)
        if found is None:
            raise MissingArtifactError(f"there is no artifact at {self.uri} any more", uri=self.uri)
        return found

    @property
    def is_whole(self) -> bool:
        """Whether the artifact counts, and is there in its recorded size."""
        stat = self.workspace.store_of(self.uri).stat(self.uri)
        return not self.row.state and stat is not None and stat.size == self.row.bytes

    def load(self, columns: Sequence[str] | None = None) -> Any:
        """Load the artifact, verified; neither the class nor the task are needed. Raises as :meth:`airflow_kart.Target.load`."""
        from airflow_kart.artifacts.target import Target

        return Target.from_uri(self.uri, self.workspace).load(columns)

    def upstream(self) -> list[Record]:
        """Return the artifacts that the task required, in the order of ``requires()``, as far as the workspace has them."""
        found: dict[str, Record] = {}
        wanted = [uri for required in self.row.upstream for uri in required.uris]
        ids = {required.unique_id for required in self.row.upstream}
        names = {uri.rpartition("/")[2] for uri in wanted}
        for place, row in Catalogue(self.workspace).rows():
            if row.unique_id in ids or row.name in names:
                record = Record(self.workspace, place, row)
                if row.unique_id in ids or record.uri in wanted:
                    found.setdefault(row.name, record)
        order = {uri.rpartition("/")[2]: number for number, uri in enumerate(wanted)}
        return sorted(found.values(), key=lambda one: order.get(one.row.name, len(order)))

    def downstream(self) -> list[Record]:
        """Return the artifacts whose tasks required this one's task, the newest first."""
        rows = Catalogue(self.workspace).rows(self.unique_id)
        found = [
            Record(self.workspace, place, row)
            for place, row in rows
            if any(required.unique_id == self.unique_id for required in row.upstream)
        ]
        return sorted(found, key=lambda one: one.made_at, reverse=True)

    def task(self, **private: Any) -> Any:
        """Return the task that made the artifact.

        Args:
            private: the values of private parameters, which no sidecar holds; those that do not count in ids get their defaults.

        Raises:
            IdentityError: the class is not here, or has changed since, so that its task would have another id.
            ParameterError: a parameter does not fit the class any more, or a private one that counts was not given.
        """
        from airflow_kart.tasks.restoration import Restoration

        cls: Any = find_class_named(self.task_class) if self.task_class else None
        if cls is None:
            raise IdentityError(f"there is no class {self.task_class or '(none)'} here; {LOOKED_UP}", uri=self.uri)
        with self.workspace:
            task = Restoration(self.workspace, any_id=True).restore(cls, self.unique_id, private)
        if task.unique_id != self.unique_id:
            raise IdentityError(
                f"{self}: with the parameters of its sidecar it has the unique id {task.unique_id} now, and not {self.unique_id}; "
                f"its class, or what it requires, has changed since {self.made_at[:19]} UTC",
                uri=self.uri,
            )
        return task

    @property
    def pinned(self) -> Pin | None:
        """Who has pinned the artifact, and when, asked now; ``None`` for an artifact that is not pinned.

        Raises:
            StorageError: the store refused.
        """
        from airflow_kart.audit.pins import pin_of

        return pin_of(self.workspace.store_of(self.uri), self.place.directory, self.unique_id)

    def pin(self, by: str = "") -> None:
        """Keep the task's artifacts, and everything upstream, from garbage collection. A rerun still replaces them.

        Args:
            by: who asks for it.

        Raises:
            ConfigurationError: the artifact is in a workspace that is only read, or of no task.
            ConflictError: a run is making the artifact.
            MissingArtifactError: somebody has removed the artifact.
            StorageError: the store refused.
        """
        from airflow_kart.audit.pins import pin

        pin(self.workspace, self.place.directory, self.unique_id, self.uri, by)
        try:
            gone = self._gone()
        except KartError as error:
            gone = [f"(not known: {error})"]
        if gone:  # for example, a removal that had begun has not seen the pin
            logger.warning("%s is pinned, but not all of what it was made from is there: %s", self.uri, ", ".join(gone[:5]))

    def _gone(self) -> list[str]:
        """Return the uris upstream where there is nothing any more."""
        links: dict[str, Sequence[Upstream]] = {}
        for _, row in Catalogue(self.workspace).rows():
            links.setdefault(row.unique_id, row.upstream)
        reached, gone = {self.unique_id}, dict[str, None]()
        left = [self.unique_id]
        while left:
            for required in links.get(left.pop(), ()):
                if required.unique_id not in links:
                    gone.update(dict.fromkeys(required.uris))
                elif required.unique_id not in reached:
                    reached.add(required.unique_id)
                    left.append(required.unique_id)
        return [uri for uri in gone if self.workspace.store_of(uri).stat(uri) is None]

    def unpin(self) -> None:
        """Let garbage collection decide again; harmless without a pin. Raises as :meth:`pin`, but never asks the lock."""
        from airflow_kart.audit.pins import unpin

        unpin(self.workspace, self.place.directory, self.unique_id, self.uri)

    def remove(self) -> None:
        """Remove artifact and sidecar. The next build that needs the artifact makes it again.

        Raises:
            ConflictError: a run is making the artifact, or has replaced it since, or it is pinned; nothing is removed.
            StorageError: the store refused.
        """
        from airflow_kart.audit.removal import take_away
        from airflow_kart.locks import locks_for

        store, locks = self.workspace.store_of(self.uri), locks_for(self.workspace)
        take_away(store, locks, self.place.directory, self.unique_id, [(self.uri, self.row.version)])

    def __str__(self) -> str:
        """Return class and parameters: ``Train(depth=6, day=2013-03-01)``."""
        return f"{self.task_class.rpartition('.')[2] or self.row.name}({words_of(self.parameters, self.row.private)})"

    def __repr__(self) -> str:
        """Return class, parameters and uri."""
        return f"<{self} at {self.uri}>"

    def __eq__(self, other: object) -> bool:
        """Whether this is the same version of the same artifact."""
        return isinstance(other, Record) and (self.uri, self.row.version) == (other.uri, other.row.version)

    def __hash__(self) -> int:
        """Return a hash of uri and version."""
        return hash((self.uri, self.row.version))
