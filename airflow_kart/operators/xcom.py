"""XComs of kart operators: results of tasks, and the tasks that others pull them from."""

from __future__ import annotations

import inspect
import re
import socket
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import CodeType
from typing import Any

from airflow_kart.artifacts.sidecar import sidecar_uri
from airflow_kart.runtime.packed import RESULTS_XCOM, unpacked
from airflow_kart.runtime.plan import PlannedTask
from airflow_kart.runtime.result import RunResult
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.model import Task

_PULL = "xcom_pull"
_QUOTED = re.compile(r"""['"]([^'"]+)['"]""")


def result_of(task: Task, found: PlannedTask | RunResult, made_upstream: int = 0) -> dict[str, Any]:
    """Return the XCom of a task: only outcome, reason, host and ``made_upstream`` differ between a cold and a warm run."""
    return {
        "outcome": found.outcome.value,
        "reason": found.reason,
        "host": socket.gethostname(),
        "made_upstream": made_upstream,
        "task": repr(task),
        "unique_id": task.unique_id,
        "seconds": round(found.seconds, 3),
        "artifacts": [{**one._asdict(), "sidecar": sidecar_uri(one.uri)} for one in found.artifacts],
        **({"connections": connections} if (connections := _connections()) else {}),
    }


def _connections() -> dict[str, str]:
    """Return the ids of the current workspace's own connections, by which others load the artifacts."""
    written = Workspace.current().as_written()
    return {name: str(written[name]) for name in ("aws_conn_id", "gcp_conn_id") if name in written}


def kart_result(ti: Any, task_id: str) -> Mapping[str, Any] | None:
    """Return the result of a task of a compiled graph, also of a cached one that had no process.

    Args:
        ti: the task instance that asks, in the same DAG run.
        task_id: the task of the graph.

    Returns:
        The XCom of the task; ``None`` for a task that was not needed, was skipped, or failed.
    """
    found = ti.xcom_pull(task_ids=task_id)
    operator = ti.task.dag.task_dict[task_id]
    plan = getattr(getattr(operator, "blueprint", None), "plan_task_id", None)
    if found is None and plan is not None:
        makers = (plan, *upstream_of(operator))
        pushed = (unpacked(ti.xcom_pull(task_ids=one, key=RESULTS_XCOM)) or {} for one in makers)
        found = next((results[task_id] for results in pushed if task_id in results), None)
    return found if isinstance(found, Mapping) else None


def upstream_of(operator: Any) -> Iterator[str]:
    """Return the task ids of all operators upstream of one, the nearest first."""
    level, seen = [operator], {operator.task_id}
    while level:
        found = sorted({one for each in level for one in each.upstream_task_ids} - seen)
        yield from found
        seen.update(found)
        level = [operator.dag.task_dict[one] for one in found]


def pulled_by(operators: Iterable[Any], task_ids: Collection[str]) -> set[str]:
    """Return the tasks that operators name where they pull XComs: in templates, in a callable, in an ``execute`` of their own."""
    found: set[str] = set()
    for operator in operators:
        held = {**vars(operator), **getattr(operator, "partial_kwargs", {})}
        for text in _texts([held.get(name) for name in operator.template_fields]):
            if _PULL in text:
                found.update(_QUOTED.findall(text))
        for method in (held.get("python_callable"), getattr(type(operator), "execute", None)):
            code = getattr(inspect.unwrap(method), "__code__", None) if callable(method) else None
            found.update(_constants_of_pulls(code) if code is not None else ())
    return found & set(task_ids)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts(list(value.values()))
    elif isinstance(value, (list, tuple, set, frozenset)):
        for one in value:
            yield from _texts(one)


def _constants_of_pulls(code: CodeType) -> Iterator[str]:
    """Return the texts in a function that pulls XComs, or has a function inside that does."""
    if _PULL in code.co_names:
        yield from _texts(code.co_consts)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _constants_of_pulls(constant)
