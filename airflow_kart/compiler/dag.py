"""KartDag: a DAG made from a task."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from airflow.exceptions import AirflowClusterPolicySkipDag
from airflow.sdk import DAG

from airflow_kart.compiler.compile import OnCached, OnChangedCode, Roots, compile_roots
from airflow_kart.compiler.documentation import class_documentation
from airflow_kart.compiler.form import add_form, name_fields
from airflow_kart.exceptions import BindingError, KartError, calling_frame
from airflow_kart.operators.blueprint import Blueprint
from airflow_kart.parameters import UNSET
from airflow_kart.storage.workspace import Workspace

logger = logging.getLogger(__name__)


class KartDag(DAG):
    """A DAG with an operator for each task of a graph, a plan upstream of all, and a report downstream of all.

    Args:
        dag_id: the DAG's id.
        root: the task that the DAG makes, its class, or a list of these.
        bind: values of the roots' parameters by name: plain values, or Jinja templates such as ``run_date()``, which each
            run renders. The binding wins over the trigger form.
        workspace: where artifacts are: a path, a uri such as ``s3://bucket/prefix``, or a :class:`~airflow_kart.Workspace`,
            which also names connections, locks and workspaces to read from; by default ``[kart] workspace_directory``. Its
            texts may be templates. A relative path is taken from ``AIRFLOW_HOME``.
        workspace_directory: a path or uri; the short form of ``workspace``.
        namespace: counts in the unique ids, so that projects share a workspace but no artifacts; see
            :class:`~airflow_kart.Workspace`. By default ``[kart] namespace``.
        on_cached: ``"skip"`` shows cached tasks as skipped, ``"success"`` as successful, at the cost of a process each.
        on_changed_code: what becomes of an artifact whose class, or a class upstream, has other code now: ``"warn"`` says so in
            plan and report, ``"rerun"`` makes the artifact again, ``"ignore"`` reuses it silently; by default ``[kart]
            on_changed_code``.
        plan: whether the DAG starts with a plan, which skips at once all tasks that need not run.
        operator_kwargs: arguments for every task's operator, such as ``pool`` or ``retries``; a class's own
            ``operator_kwargs`` win.
        dag_kwargs: everything ``airflow.sdk.DAG`` takes. ``params`` join the roots' parameters in the trigger form, and replace
            a parameter of the same name.

    Raises:
        KartError: a root, the binding or a task is wrong; Airflow shows the error as the file's import error.
    """

    blueprint: Blueprint
    """The compiled structure."""

    def __init__(
        self,
        dag_id: str,
        root: Roots,
        *,
        bind: Mapping[str, object] | None = None,
        workspace: str | Workspace | None = None,
        workspace_directory: str | None = None,
        namespace: str | None = None,
        on_cached: OnCached = "skip",
        on_changed_code: OnChangedCode | None = None,
        plan: bool = True,
        operator_kwargs: Mapping[str, object] | None = None,
        **dag_kwargs: Any,
    ) -> None:
        try:
            compilation = compile_roots(
                root, bind, workspace, workspace_directory, namespace=namespace, on_changed_code=on_changed_code
            )
            scheduled = dag_kwargs.get("schedule") is not None
            for name, (spec, default) in compilation.binding.form.items():
                if scheduled and default is UNSET:
                    raise BindingError(
                        f"{spec.cls.__qualname__}.{name} has no value, and a scheduled run has nobody to ask: bind it, "
                        "give it a default, or give the root as a task that has it",
                        task=spec.cls.__qualname__,
                        parameter=name,
                    )
            dag_kwargs.setdefault("doc_md", class_documentation(compilation.roots[0].cls))
            super().__init__(dag_id, **dag_kwargs)
            caller = calling_frame()
            self._caller = self.fileloc = caller.f_code.co_filename
            self._home = _home(caller)
            fields = name_fields(self, compilation.binding, None)
            with self:
                self.blueprint = compilation.add_operators(
                    self.task_group, fields, on_cached=on_cached, plan=plan, operator_kwargs=operator_kwargs or {}
                )
            add_form(self, compilation.binding, fields)
        except KartError as error:
            error.add_context(f"KartDag {dag_id!r}")
            raise error.in_users_code(saying=True) from None

    def validate(self) -> None:
        """Check the DAG, as Airflow does of each DAG that it finds in a file.

        A DAG belongs to the file whose module body makes the DAG. Airflow also finds DAGs of files that the parsed file
        imports: importing a class would register the DAG of the class's file a second time.

        Raises:
            AirflowClusterPolicySkipDag: the DAG belongs to another file; Airflow then leaves the DAG out, without an error.
        """
        if self.fileloc not in (self._caller, self._home, None) and not self._is_adopted():
            logger.info("DAG %s belongs to %s, so %s does not register it again", self.dag_id, self._home, self.fileloc)
            raise AirflowClusterPolicySkipDag(f"DAG {self.dag_id} belongs to {self._home}")
        super().validate()  # type: ignore[no-untyped-call]  # Airflow's is not annotated

    def _is_adopted(self) -> bool:
        """Whether the parsed file names the DAG, which a module outside the file's bundle makes, such as an installed package.

        Airflow parses no module there. So nobody else registers the DAG.
        """
        bundle = Path(self.fileloc.removesuffix(self.relative_fileloc or "") or os.path.dirname(self.fileloc))
        installed = "site-packages" in Path(self._home).parts
        parsed = (module for module in list(sys.modules.values()) if getattr(module, "__file__", None) == self.fileloc)
        return (installed or not Path(self._home).is_relative_to(bundle)) and any(
            value is self for module in parsed for value in vars(module).values()
        )


def _home(frame: FrameType) -> str:
    """Return the file of the innermost module body that runs: of the file that makes the DAG, be it by a function of another."""
    innermost: FrameType | None = frame
    while innermost is not None and innermost.f_code.co_name != "<module>":
        innermost = innermost.f_back
    return str((innermost or frame).f_globals.get("__file__", frame.f_code.co_filename))
