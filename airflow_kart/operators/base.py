"""What all kart operators take: their binding, and where artifacts are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from airflow.sdk import BaseOperator

from airflow_kart.settings import below_airflow_home
from airflow_kart.storage.workspace import Workspace

__all__ = ["KartBaseOperator"]


class KartBaseOperator(BaseOperator):
    """An operator whose tasks have values of the run's own, and artifacts in a workspace.

    Args:
        bind: values and Jinja templates for parameters of the roots; of an operator by itself, for those of its task.
        workspace_directory: where artifacts are; by default ``[kart] workspace_directory``. May be a template.
        read_from: workspaces whose artifacts count where this one has none, and which are only read; by default
            ``[kart] read_from``. May be templates.
        aws_conn_id: id of the Airflow connection for S3; by default ``[kart] aws_conn_id``. May be a template.
        gcp_conn_id: id of the Airflow connection for Google Cloud Storage; by default ``[kart] gcp_conn_id``. May be a
            template.
        lock: who keeps the locks, by which a task is made by one run at a time: ``"auto"``, ``"file"``, ``"lease"``,
            ``"redis"`` or ``"none"``; by default ``[kart] lock``. May be a template.
        redis_conn_id: id of the Airflow connection for Redis, which keeps the locks then; by default ``[kart]
            redis_conn_id``. May be a template.
        kwargs: everything ``airflow.sdk.BaseOperator`` takes.
    """

    template_fields = ("bind", "workspace_directory", "read_from", "aws_conn_id", "gcp_conn_id", "lock", "redis_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"bind": "json"}

    def __init__(
        self,
        *,
        bind: Mapping[str, Any] | None = None,
        workspace_directory: str | None = None,
        read_from: Sequence[str] | None = None,
        aws_conn_id: str | None = None,
        gcp_conn_id: str | None = None,
        lock: str | None = None,
        redis_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.bind = bind
        self.workspace_directory = workspace_directory
        self.read_from = read_from
        self.aws_conn_id = aws_conn_id
        self.gcp_conn_id = gcp_conn_id
        self.lock = lock
        self.redis_conn_id = redis_conn_id

    def workspace(self) -> Workspace:
        """Return the workspace, the configured one where none is named, to be entered. Templates are rendered by then."""
        directory = below_airflow_home(self.workspace_directory) if self.workspace_directory else None
        others = self.read_from
        return Workspace(
            directory or Workspace.current().directory,
            aws_conn_id=self.aws_conn_id,
            gcp_conn_id=self.gcp_conn_id,
            read_from=None if others is None else tuple(below_airflow_home(other) for other in others),
            lock=self.lock,
            redis_conn_id=self.redis_conn_id,
        )
