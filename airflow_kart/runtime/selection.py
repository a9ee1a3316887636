"""Which tasks a caller names: by class, by task id, by a glob of either, or by the task itself."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from typing import TypeAlias

from airflow_kart.exceptions import ConfigurationError
from airflow_kart.identity.spelling import snake_case, unmatched
from airflow_kart.tasks.graph import Graph
from airflow_kart.tasks.model import Task, is_task
from airflow_kart.tasks.task import TaskOnKart

Named: TypeAlias = "str | TaskOnKart[object] | type[TaskOnKart[object]]"
"""A class's name, a task id, a glob, a task, or a class."""


def names_of(task: Task) -> set[str]:
    """Return the names of a task outside Airflow: the class's, the task id that a DAG derives from it, the unique id."""
    name = type(task).__name__
    return {name, snake_case(name), task.unique_id}


AND_DOWNSTREAM = "+"
"""The end of a name that means everything downstream, too."""


def select(graph: Graph, named: object, argument: str) -> set[str]:
    """Return the unique ids of the named tasks.

    Args:
        graph: the tasks.
        named: names, globs, tasks or classes; a name alone, too. A name or glob that ends with ``+`` names everything
            downstream, too.
        argument: the caller's argument, for errors.

    Raises:
        ConfigurationError: a name matches no task, or something else is given.
    """
    if isinstance(named, (str, type)) or is_task(named):
        named = [named]
    if not isinstance(named, Iterable):
        raise ConfigurationError(
            f"{argument} is {named!r}; give a list of classes, tasks, names or globs; ['*'] names all tasks"
        )
    found: set[str] = set()
    tasks = {unique_id: node.task for unique_id, node in graph.nodes.items()}
    for given in named:
        one = given.removesuffix(AND_DOWNSTREAM) if isinstance(given, str) else given
        matching = {unique_id for unique_id, task in tasks.items() if _is_named(task, one, argument)}
        if not matching:
            known = {type(task).__name__ for task in tasks.values()}
            raise ConfigurationError(f"{argument}: {unmatched(one, known)}")
        found |= matching if one is given or one == given else graph.with_downstream(matching)
    return found


def _is_named(task: Task, named: object, argument: str) -> bool:
    if isinstance(named, str):
        return any(fnmatch.fnmatchcase(name, named) for name in names_of(task))
    if isinstance(named, type):
        return isinstance(task, named)
    if is_task(named):
        return task.unique_id == named.unique_id
    raise ConfigurationError(f"{argument} holds {named!r}; give classes, tasks, names or globs")
