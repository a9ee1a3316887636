"""The pipelines that a command line names: those of a DAG, classes of a file, or one task."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_kart.audit.catalogue.naming import arguments_of, as_written
from airflow_kart.cli.classes import class_or_name, module_of
from airflow_kart.cli.pipeline import Asked, Pipeline
from airflow_kart.exceptions import ConfigurationError, MissingParameterError
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.graph import Graph
from airflow_kart.tasks.model import Task, kind_of
from airflow_kart.tasks.redaction import STARS
from airflow_kart.tasks.task import TaskOnKart


def pipelines(workspace: Workspace, arguments: argparse.Namespace) -> list[Pipeline]:
    """Return the pipelines of a command's argument: one for each graph of a DAG, or one of classes.

    Args:
        workspace: the place of the artifacts; a DAG has its own, unless the command names one.
        arguments: of the command.

    Raises:
        KartError: there is no such pipeline, or its values do not fit.
    """
    return pipelines_named(arguments.pipeline, Asked.of(arguments), workspace, is_given=bool(arguments.directory))


def pipelines_named(text: str, asked: Asked, workspace: Workspace, *, is_given: bool) -> list[Pipeline]:
    """Return the pipelines of a text; a DAG has its own workspace, unless one is given. Raises as :func:`pipelines`."""
    place, bracket, inside = text.partition("(")
    if not bracket and not text.endswith(".py") and ":" not in text:
        from airflow_kart.cli.dags import pipelines_of_dag

        return _with_values(pipelines_of_dag(text, asked, workspace if is_given else None), asked)
    if asked.date or asked.conf or asked.run_id:
        raise ConfigurationError(
            f"{place} is no DAG, so it takes no date, conf or run; write {place}(day=2013-03-01, depth=6)"
        )
    with workspace:
        if place.endswith(".py"):
            roots = list(_roots_of(place, asked.values))
        else:
            cls: Any = class_or_name(place)
            if not isinstance(cls, type) or not issubclass(cls, TaskOnKart):
                raise ConfigurationError(f"{place} is no task class")
            given = arguments_of(text, inside.strip().removesuffix(")")) if bracket else {}
            roots = [_made(cls, {**given, **asked.values})]
        return _with_values([Pipeline(workspace, Graph.of(roots))], asked)


def shown(text: str) -> str:
    """Return the text of a pipeline that was found, with stars for values of private parameters."""
    place, bracket, inside = text.partition("(")
    if not bracket:
        return text
    known: Mapping[str, Any] = getattr(class_or_name(place), "get_parameters", dict)()
    given = as_written(text, inside.strip().removesuffix(")")).items()
    parts = (f"{name}={part if name in known and not known[name].is_private else STARS}" for name, part in given)
    return f"{place}({', '.join(parts)})"


def _with_values(found: list[Pipeline], asked: Asked) -> list[Pipeline]:
    """Return pipelines; raise where none of their roots has a parameter that was given a value."""
    roots = (pipeline.graph.nodes[root].task for pipeline in found for root in pipeline.graph.roots)
    if unknown := sorted(asked.values.keys() - {name for task in roots for name in type(task).get_parameters()}):
        raise ConfigurationError(f"--set: no root of the pipeline has a parameter {unknown[0]}")
    return found


def _made(cls: type[TaskOnKart[Any]], texts: Mapping[str, str]) -> Task:
    known = cls.get_parameters()
    return cls(
        **{name: known[name].read(text, cls.__qualname__, name) if name in known else text for name, text in texts.items()}
    )


def _roots_of(file: str, values: Mapping[str, str]) -> Iterator[Task]:
    """Return a task of each class of a file that can be made without further values, and that none of the others requires."""
    module, made, lacking = module_of(file), list[Task](), list[str]()
    for cls in vars(module).values():
        own = isinstance(cls, type) and issubclass(cls, TaskOnKart) and cls.__module__ == module.__name__
        if own and (kind_of(cls).wrapper or cls.run is not TaskOnKart.run):
            try:
                made.append(_made(cls, {name: text for name, text in values.items() if name in cls.get_parameters()}))
            except MissingParameterError as error:
                lacking.append(f"{cls.__name__} needs {error.parameter}")
    graph = Graph.of(made)
    met = {type(node.task).__name__ for node in graph.nodes.values()}
    left_out = [words for words in lacking if words.partition(" ")[0] not in met]
    if not made:
        raise ConfigurationError(
            f"{file} has no task class that can be made without values: {', '.join(left_out) or 'it has none at all'}; name "
            f"the class, {file}:Train(day=2013-03-01), or give values by --set day=2013-03-01"
        )
    if left_out:
        print(f"left out: {', '.join(left_out)}", file=sys.stderr)
    yield from (node.task for unique_id, node in graph.nodes.items() if not graph.consumers[unique_id])
