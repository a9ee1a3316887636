"""Arguments that all kart operators share: a binding and a workspace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from airflow.sdk import BaseOperator

from airflow_kart.operators.workspace_field import WorkspaceField, given_workspace, workspace_from
from airflow_kart.storage.workspace import Workspace

__all__ = ["KartBaseOperator"]


class KartBaseOperator(BaseOperator):
    """An operator whose tasks take values from the run, and whose artifacts are in a workspace.

    Args:
        bind: values and Jinja templates for parameters of the roots; for a single operator, of its task.
        workspace: where artifacts are: a path, a uri, or a :class:`~airflow_kart.Workspace`, which also names connections
            and locks; by default ``[kart] workspace_directory``. Its texts may be templates.
        workspace_directory: a path or uri; the short form of ``workspace``.
        kwargs: everything ``airflow.sdk.BaseOperator`` takes.

    Raises:
        BindingError: ``workspace`` and ``workspace_directory`` are both given, or neither text nor workspace.
    """

    template_fields = ("bind", "workspace")
    template_fields_renderers: ClassVar[dict[str, str]] = {"bind": "json", "workspace": "json"}

    def __init__(
        self,
        *,
        bind: Mapping[str, object] | None = None,
        workspace: str | Workspace | None = None,
        workspace_directory: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.bind = bind
        self.workspace: WorkspaceField | None = given_workspace(workspace, workspace_directory)

    def run_workspace(self) -> Workspace:
        """Return the workspace of a run, to be entered. Airflow has rendered its templates by then."""
        return workspace_from(self.workspace)
