"""Arguments that all kart operators share: a binding and a workspace."""

from __future__ import annotations

import functools
import logging
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import airflow
import structlog
from airflow.providers.common.compat.sdk import redact  # pyright: ignore[reportPrivateImportUsage]
from airflow.sdk import BaseOperator
from airflow.sdk.log import mask_secret  # compat has it from 1.21 on, which needs Python 3.11
from jinja2.nativetypes import NativeEnvironment

from airflow_kart.operators.workspace_field import WorkspaceField, given_workspace, in_namespace
from airflow_kart.storage.workspace import Workspace

if TYPE_CHECKING:
    import jinja2
    from airflow.sdk import Context

TESTED_AIRFLOW = ("3.1", "3.2", "3.3")
"""The minor versions of Airflow that the tests run with."""

logger = logging.getLogger(__name__)


class KartBaseOperator(BaseOperator):
    """An operator whose tasks take values from the run, and whose artifacts are in a workspace.

    Args:
        bind: values and Jinja templates for parameters of the roots; for a single operator, of its task.
        workspace: where artifacts are: a path, a uri, or a :class:`~airflow_kart.Workspace`, which also names connections
            and locks; by default ``[kart] workspace_directory``. Its texts may be templates.
        workspace_directory: a path or uri; the short form of ``workspace``.
        kwargs: everything ``airflow.sdk.BaseOperator`` takes, and ``namespace``, see :class:`~airflow_kart.Workspace`. The
            latter never comes from ``default_args``, which may have a namespace for operators of Kubernetes.

    Raises:
        BindingError: ``workspace`` and ``workspace_directory`` are both given, or neither text nor workspace.
    """

    template_fields = ("bind", "workspace")
    _private_values: Mapping[str, Any] = MappingProxyType({})
    _context: Any = None
    """The context of the run, once the templates are rendered."""
    template_fields_renderers: ClassVar[dict[str, str]] = {"bind": "json", "workspace": "json"}

    def __init__(
        self,
        *,
        bind: Mapping[str, object] | None = None,
        workspace: str | Workspace | None = None,
        workspace_directory: str | None = None,
        **kwargs: Any,
    ) -> None:
        namespace = kwargs.pop("namespace", None)
        super().__init__(**kwargs)
        if self.retries and getattr(self, "retry_policy", self) is None:  # Airflow before 3.3 has none
            self.retry_policy = _retry_policy()
        self.bind = bind
        self.workspace: WorkspaceField | None = in_namespace(given_workspace(workspace, workspace_directory), namespace)

    def render_template_fields(self, context: Context, jinja_env: jinja2.Environment | None = None) -> None:
        """Render the templates to text, also in a DAG with ``render_template_as_native_obj``.

        Jinja's native types turn a text such as ``20240506`` into a number. Parameters read their values from text.
        """
        if isinstance(jinja_env, NativeEnvironment) or jinja_env is None:
            dag = self.get_dag()
            jinja_env = dag.get_template_env(force_sandboxed=True) if dag is not None else self.get_template_env()
        _mask_log_of_this_process()
        _warn_of_untested_airflow(airflow.__version__)
        self._context = context
        super().render_template_fields(context, jinja_env)
        self._hide_private_values()

    def _render(self, template: jinja2.Template, context: Mapping[str, Any], dag: Any = None) -> str:  # noqa: ARG002 - Airflow's
        """Render one template to text, whatever the DAG's other operators get."""
        return template.render(context)

    def run_bind(self) -> Mapping[str, Any]:
        """Return the rendered binding, private values included."""
        return {**(self.bind or {}), **self._private_values}

    def private_parameters(self) -> Collection[str]:
        """Return the names of the private parameters that a binding may set."""
        return ()

    def _hide_private_values(self) -> None:
        """Move private values out of the field that Airflow shows in the UI and keeps in its database."""
        hidden = {name: value for name, value in (self.bind or {}).items() if name in self.private_parameters()}
        if hidden:
            for value in hidden.values():
                mask_secret(value if isinstance(value, (str, dict, list)) else str(value))
            self._private_values = hidden
            self.bind = {**(self.bind or {}), **dict.fromkeys(hidden, "***")}

    def run_workspace(self) -> Workspace:
        """Return the workspace of a run, to be entered. Airflow has rendered its templates by then."""
        return Workspace.from_written(self.workspace)


@functools.cache
def _retry_policy() -> Any:
    """Return the policy that all kart operators share."""
    from airflow_kart.operators.retries import KartRetryPolicy  # which needs Airflow 3.3

    return KartRetryPolicy()


@functools.cache
def _warn_of_untested_airflow(version: str) -> None:
    """Warn, once per process, of a minor version of Airflow that this package is not tested with."""
    if ".".join(version.split(".")[:2]) not in TESTED_AIRFLOW:
        logger.warning(
            "This package is tested with Airflow %s; this is Airflow %s. docs/compatibility.md says what is known",
            ", ".join(TESTED_AIRFLOW),
            version,
        )


def _mask_log_of_this_process() -> None:
    """Mask secrets in whatever this process logs.

    Airflow masks only what a supervisor writes to a task's file. Consoles, to which LocalExecutor's scheduler and
    ``airflow dags test`` copy the lines, would show secrets.
    """
    processors = structlog.get_config()["processors"]
    if isinstance(processors, list) and _masked not in processors:
        processors[-1:-1] = [structlog.processors.format_exc_info, _masked]  # in place: loggers keep this list
    for handler in logging.getLogger().handlers:
        formatter = handler.formatter
        if isinstance(formatter, structlog.stdlib.ProcessorFormatter) and _masked not in formatter.processors:
            *others, last = formatter.processors
            formatter.processors = [*others, structlog.processors.format_exc_info, _masked, last]


def _masked(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Mask the parts of one line, before the last processor writes the line."""
    return {name: redact(value, name) for name, value in event.items()}
