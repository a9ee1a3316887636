"""The DAGs as Airflow's database has them: kart tasks, links between tasks, workspaces. No DAG file is imported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

from airflow.models.renderedtifields import RenderedTaskInstanceFields
from airflow.models.serialized_dag import SerializedDagModel
from airflow.utils.session import create_session
from sqlalchemy import select

from airflow_kart.idioms.kept import kept
from airflow_kart.settings import workspace_directory
from airflow_kart.storage.workspace import Workspace

_LINK = "_link_KartArtifactLink"
_MOST_KEPT = 512
_MOST_RENDERED = 100
"""Rendered fields that are asked for the workspaces of a DAG whose workspace is a template."""


@dataclass(frozen=True)
class Node:
    """A task of a DAG."""

    task_id: str
    kind: str
    """``task`` for one that makes artifacts, ``plan``, ``report``, or empty for others."""
    downstream: tuple[str, ...]
    workspace: Any
    """As the DAG's author wrote it, as JSON."""

    @property
    def has_template(self) -> bool:
        """Whether each run has a workspace of its own."""
        return bool(self.kind) and is_template(self.workspace)


@dataclass(frozen=True)
class Structure:
    """A version of a DAG."""

    nodes: Mapping[str, Node]

    @kept
    def makers(self) -> list[str]:
        """The task ids of the tasks that make artifacts, upstream first."""
        order = TopologicalSorter({one: self._upstream.get(one, []) for one in sorted(self.nodes)})
        return [one for one in order.static_order() if self._makes(one)]

    def downstream(self, task_id: str) -> list[str]:
        """Return the tasks directly downstream that make artifacts."""
        node = self.nodes.get(task_id)
        return [one for one in node.downstream if self._makes(one)] if node is not None else []

    def upstream(self, task_id: str) -> list[str]:
        """Return the tasks directly upstream that make artifacts."""
        return [one for one in self._upstream.get(task_id, ()) if self._makes(one)]

    def before(self, task_id: str) -> list[str]:
        """Return the tasks directly upstream that make no artifact."""
        return [one for one in self._upstream.get(task_id, ()) if not self._makes(one)]

    def all_downstream(self, task_id: str) -> list[str]:
        """Return all tasks downstream that make artifacts, the nearest first: they run again with the task."""
        found: dict[str, None] = {}
        level = self.downstream(task_id)
        while level:
            found.update(dict.fromkeys(level))
            level = [one for each in level for one in self.downstream(each) if one not in found]
        return list(found)

    def _makes(self, task_id: str) -> bool:
        return task_id in self.nodes and self.nodes[task_id].kind == "task"

    @kept
    def _upstream(self) -> Mapping[str, list[str]]:
        found: dict[str, list[str]] = {}
        for node in self.nodes.values():
            for one in node.downstream:
                found.setdefault(one, []).append(node.task_id)
        return found

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Structure:
        """Return the structure of a serialized DAG."""
        tasks = ((data.get("dag") or {}).get("tasks")) or ()
        nodes = (_node(task.get("__var", task)) for task in tasks if isinstance(task, Mapping))
        return cls({node.task_id: node for node in nodes})


def _node(task: Mapping[str, Any]) -> Node:
    held = {**(task.get("partial_kwargs") or {}), **task}
    fields = held.get("template_fields") or ()
    kind = ""
    if _LINK in (held.get("_operator_extra_links") or {}).values():
        kind = "task"
    elif "bind" in fields and "workspace" in fields:
        kind = "plan" if "Plan" in str(task.get("task_type")) else "report"
    downstream = tuple(sorted(map(str, task.get("downstream_task_ids") or ())))
    return Node(
        str(task.get("task_id")),
        kind,
        downstream,
        _plain(held.get("workspace") or held.get("workspace_directory")) if kind else None,
    )


def _plain(value: Any) -> Any:
    """Return a value without the marks that Airflow's serialization puts around dicts and lists."""
    if isinstance(value, Mapping):
        return _plain(value["__var"]) if "__var" in value else {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


_KEPT: dict[str, Structure] = {}
"""Structures by the hashes of their DAGs."""


def structures(dag_ids: Iterable[str], version_ids: Iterable[Any] = ()) -> dict[str, Structure]:
    """Return the newest version of each DAG, by its id; of DAGs without tasks of this package too.

    Args:
        dag_ids: the DAGs.
        version_ids: ids of versions that go before the newest ones.
    """
    with create_session() as session:
        newest: dict[str, tuple[Any, str]] = {}
        columns = select(SerializedDagModel.dag_id, SerializedDagModel.id, SerializedDagModel.dag_hash)
        rows = columns.where(SerializedDagModel.dag_id.in_(sorted(set(dag_ids)))).order_by(SerializedDagModel.created_at)
        newest |= {dag_id: (one, dag_hash) for dag_id, one, dag_hash in session.execute(rows)}
        if versions := list(version_ids):
            rows = columns.where(SerializedDagModel.dag_version_id.in_(versions))
            newest |= {dag_id: (one, dag_hash) for dag_id, one, dag_hash in session.execute(rows) if dag_id in newest}
        for one, dag_hash in newest.values():
            if dag_hash not in _KEPT:
                found = session.get(SerializedDagModel, one)
                while len(_KEPT) >= _MOST_KEPT:
                    _KEPT.pop(next(iter(_KEPT)), None)
                _KEPT[dag_hash] = Structure.of((found.data if found is not None else None) or {})
        return {dag_id: _KEPT[dag_hash] for dag_id, (_, dag_hash) in newest.items() if dag_hash in _KEPT}


def is_template(field: Any) -> bool:
    """Whether a field is yet to be rendered."""
    return any(mark in repr(field) for mark in ("{{", "{%"))


def workspace_from(field: Any) -> Workspace:
    """Return the workspace of a rendered field; of none the configured one, whatever other requests do meanwhile.

    Raises:
        ConfigurationError: no workspace is configured, or the field is none.
    """
    written = (
        dict(field) if isinstance(field, Mapping) else {"directory": field} if isinstance(field, str) else {}
    )  # a mapped one
    return Workspace.from_written({**written, "directory": written.get("directory") or workspace_directory()})


def rendered_workspaces(dag_id: str, run_id: str | None = None) -> list[Any]:
    """Return the workspaces that a DAG's templates rendered to: in one run, or in the runs of late."""
    model: Any = RenderedTaskInstanceFields
    rows = select(model.rendered_fields).where(model.dag_id == dag_id)
    rows = rows.where(model.run_id == run_id) if run_id is not None else rows.order_by(model.run_id.desc())
    with create_session() as session:
        fields = [_plain(one) for one in session.scalars(rows.limit(_MOST_RENDERED))]
    return [one["workspace"] for one in fields if isinstance(one, Mapping) and isinstance(one.get("workspace"), Mapping)]
