"""The workspace: the place of a run's artifacts."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from typing_extensions import Self

from airflow_kart import settings
from airflow_kart.exceptions import ConfigurationError
from airflow_kart.identity.names import NAMESPACES, Namespace, valid_namespace
from airflow_kart.idioms.ambient import Ambient
from airflow_kart.idioms.kept import kept
from airflow_kart.storage import HIDDEN, Store, join_uri, store_for
from airflow_kart.storage.resolve import require_printable

if TYPE_CHECKING:
    from airflow_kart.audit.catalogue.artifacts import Artifacts
    from airflow_kart.audit.records import Adopted


@dataclass(frozen=True)
class Workspace:
    """A directory or bucket prefix that holds artifacts.

    As a context manager, a workspace holds every target made inside the ``with`` block::

        with Workspace("/data/experiments"):
            build(Train())

    Args:
        directory: path or uri. A relative path starts at the current directory; a DAG that is given the workspace starts at
            ``AIRFLOW_HOME``.
        aws_conn_id: id of the Airflow connection for S3; by default ``[kart] aws_conn_id``.
        gcp_conn_id: id of the Airflow connection for Google Cloud Storage; by default ``[kart] gcp_conn_id``.
        read_from: other workspaces, only for reading, whose artifacts count where this workspace has none; by default
            ``[kart] read_from``.
        lock: the kind of locks by which one run at a time makes an artifact: ``auto``, ``file``, ``lease``, ``redis`` or
            ``none``; by default ``[kart] lock``.
        redis_conn_id: id of the Airflow connection for locks in Redis; by default ``[kart] redis_conn_id``.
        namespace: counts in the unique ids, and stands in front of classes' names, paths of artifacts included: words with
            dots between. Projects with classes of equal names share a workspace that way. A notebook's classes get the
            namespace in place of the notebook's name. By default ``[kart] namespace``.
        on_changed_code: what becomes of an artifact whose code has changed since: ``warn``, ``rerun`` or ``ignore``; by
            default ``[kart] on_changed_code``.
        reuse_equal_inputs: whether the artifact of an equal run may stand in for a run; by default ``[kart]
            reuse_equal_inputs``.
    """

    directory: str
    aws_conn_id: str | None = None
    gcp_conn_id: str | None = None
    read_from: tuple[str, ...] | None = None
    lock: str | None = None
    redis_conn_id: str | None = None
    on_changed_code: str | None = None
    reuse_equal_inputs: bool | None = None
    namespace: str | None = None
    _written: dict[str, str | list[str]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Make a path absolute, so that the path means the same in every working directory."""
        self._written.update(self._as_json())
        if self.namespace is not None:
            valid_namespace(self.namespace, "namespace")
        object.__setattr__(self, "directory", _absolute(os.fspath(self.directory)))
        if self.read_from is not None:
            object.__setattr__(self, "read_from", tuple(_absolute(os.fspath(other)) for other in self.read_from))

    def as_written(self) -> dict[str, str | list[str]]:
        """Return the fields that were given, as JSON. Templates stay templates, and a relative path stays relative."""
        return dict(self._written)

    def _as_json(self) -> dict[str, str | list[str]]:
        given: dict[str, str | list[str]] = {"directory": os.fspath(self.directory)}
        if self.read_from is not None:
            given["read_from"] = [os.fspath(other) for other in self.read_from]
        for name in ("aws_conn_id", "gcp_conn_id", "lock", "redis_conn_id", "on_changed_code", "namespace"):
            value: str | None = getattr(self, name)
            if value is not None:
                given[name] = value
        if self.reuse_equal_inputs is not None:
            given["reuse_equal_inputs"] = str(self.reuse_equal_inputs)
        return given

    @classmethod
    def from_written(cls, written: Mapping[str, str | list[str]] | None) -> Workspace:
        """Return the workspace of fields as of :meth:`as_written`, rendered; of none, or without a directory, the current one.

        A relative path is taken from ``AIRFLOW_HOME``: the current directory of a worker is accidental.
        """
        if written is None:
            return cls.current()
        given = dict(written)
        directory, others = str(given.pop("directory")), given.pop("read_from", None)
        reuse = given.pop("reuse_equal_inputs", None)
        return cls(
            settings.below_airflow_home(directory) if directory else cls.current().directory,
            read_from=None if others is None else tuple(settings.below_airflow_home(other) for other in others),
            reuse_equal_inputs=None if reuse is None else reuse == "True",
            **{name: str(value) for name, value in given.items()},
        )

    @classmethod
    def surrounding(cls) -> Workspace | None:
        """Return the workspace of the ``with`` block around the caller, ``None`` outside of all blocks."""
        return _WORKSPACES.current

    @classmethod
    def current(cls) -> Workspace:
        """Return the workspace of the surrounding ``with`` block, else the configured one.

        A thread without a block of its own, for example a thread of a task, belongs to the block of the process.

        Raises:
            ConfigurationError: the process is in several blocks, with different workspaces.
        """
        current = _WORKSPACES.current
        if current is not None:
            return current
        entered = set(_WORKSPACES.entered)
        if len(entered) > 1:
            raise ConfigurationError(
                "this thread is in no `with Workspace(...)` block, and the process is in several: "
                "enter the right one in the thread, or start it with contextvars.copy_context().run"
            )
        return entered.pop() if entered else cls(settings.workspace_directory())

    def artifacts(
        self,
        cls: str | type | None = None,
        *,
        parameters: Mapping[str, Any] | None = None,
        since: dt.datetime | dt.date | dt.timedelta | None = None,
        until: dt.datetime | dt.date | dt.timedelta | None = None,
        dag_id: str | None = None,
        run_id: str | None = None,
        outcome: str | None = None,
    ) -> Artifacts:
        """Return the artifacts that fit all conditions, to iterate over or to ask: the newest, one by its id, a table.

        Args:
            cls: a class; or its name, a task id, a glob, ``Train(depth=6)``, the beginning of a unique id, a uri.
            parameters: values that the task must have.
            since: made at this moment or later; a date is its beginning in UTC, a duration so long before now.
            until: made before this moment.
            dag_id: made by a run of this DAG.
            run_id: made by this DAG run.
            outcome: ``ran`` or ``reused``.

        Raises:
            ConfigurationError: a condition cannot be understood.
        """
        from airflow_kart.audit.catalogue.artifacts import Artifacts
        from airflow_kart.audit.catalogue.naming import Named

        named = None if cls is None and not parameters else Named.of("*" if cls is None else cls, parameters)
        return Artifacts(self, named, since, until, dag_id, run_id, outcome)

    def adopt(self, cls: type | str, *, reason: str, **more: Any) -> list[Adopted]:
        """Let the artifacts of a class stay good after a change of its code; see :func:`airflow_kart.adopt`."""
        from airflow_kart.audit.adoption.adopt import adopt

        with self:
            return adopt(cls, reason=reason, **more)

    def uri(self, relative_path: str) -> str:
        """Return the uri of a path below the workspace."""
        return join_uri(self.directory, relative_path)

    @kept
    def others(self) -> tuple[str, ...]:
        """The directories of the workspaces to read from besides."""
        found = settings.read_from() if self.read_from is None else self.read_from
        return tuple(other for other in found if other.rstrip("/") != self.directory.rstrip("/"))

    @kept
    def _namespace(self) -> Namespace:
        """The namespace of tasks in this workspace."""
        if self.namespace is None:
            return Namespace(valid_namespace(settings.kart_option("namespace"), "[kart] namespace"))
        return Namespace(self.namespace, given=bool(self.namespace))

    @property
    def name_of_namespace(self) -> str:
        """The namespace that was given for the workspace or is configured; empty for none."""
        return self._namespace.name

    @property
    def store(self) -> Store:
        """The store that keeps the workspace."""
        return self.store_of(self.directory)

    def store_of(self, uri: str) -> Store:
        """Return the store of a uri, with the workspace's connections."""
        return store_for(uri, aws_conn_id=self.aws_conn_id, gcp_conn_id=self.gcp_conn_id)

    def __reduce__(self) -> tuple[type[Workspace], tuple[Any, ...]]:
        """Pickle the arguments alone."""
        return type(self), tuple(getattr(self, each.name) for each in fields(self) if each.init)

    def __enter__(self) -> Self:
        """Make this the current workspace."""
        NAMESPACES.enter(self._namespace)
        _WORKSPACES.enter(self)
        return self

    def __exit__(self, *_exception: object) -> None:
        """Return to the workspace before."""
        _WORKSPACES.leave(self)
        NAMESPACES.leave(self._namespace)


def _absolute(directory: str) -> str:
    """Return a directory as an absolute path or a uri.

    Raises:
        ConfigurationError: nothing can be there.
    """
    if "{{" in directory or "{%" in directory:
        return directory if "://" in directory else os.path.abspath(os.path.expanduser(directory))
    require_printable(directory, "workspace_directory")
    if (one_slash := settings.ONE_SLASH.match(directory)) is not None:
        if one_slash[1].lower() != "file":
            raise ConfigurationError(
                f"{directory!r} is no uri; write {one_slash[1]}:// with two slashes, as a text: a pathlib.Path drops one",
                uri=directory,
            )
        directory = f"file://{directory[len('file:') :]}"
    if set(HIDDEN).intersection(directory.split("/")):
        raise ConfigurationError(
            f"{directory!r} is in a hidden folder of a workspace ({', '.join(HIDDEN)}); choose another workspace_directory",
            uri=directory,
        )
    return directory if "://" in directory else os.path.abspath(os.path.expanduser(directory))


_WORKSPACES: Ambient[Workspace] = Ambient("airflow_kart_workspace")
