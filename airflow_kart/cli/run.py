"""``run``: make a pipeline's artifacts in this process, without Airflow."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace

from airflow_kart.cli.failure import command, described
from airflow_kart.cli.pipeline import Pipeline, named_in
from airflow_kart.cli.pipelines import pipelines, shown
from airflow_kart.exceptions import ConfigurationError, KartError
from airflow_kart.runtime.build import carry_out
from airflow_kart.runtime.progress import Event
from airflow_kart.runtime.skipping import is_skip
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.graph import Graph

FAILED = 1


@dataclass
class _Failed:
    """Remembers the first task of a graph that failed; a task that ``run()`` asks for is in no graph."""

    graph: Graph
    unique_id: str = ""

    def happens(self, event: Event) -> None:
        """Take an event."""
        if event.kind == "failed" and event.unique_id in self.graph.nodes:
            self.unique_id = self.unique_id or event.unique_id


def run_pipeline(workspace: Workspace, arguments: argparse.Namespace) -> int:
    """Make what is missing; return 1 if a task failed, else 0."""
    if arguments.workers < 1:
        raise ConfigurationError("--workers: give at least 1")
    found = pipelines(workspace, arguments)
    if arguments.only:
        found = list(_only([task for name in arguments.only for task in named_in(found, name)]))
    again = [named for name in arguments.rerun or () for named in named_in(found, name)]
    if not arguments.verbose:
        logging.disable(logging.INFO)  # warnings of the tasks are told
    for pipeline in found:
        failed = _Failed(pipeline.graph)
        try:
            with pipeline.workspace, contextlib.redirect_stdout(sys.stderr):
                plan = pipeline.plan(unique_id for of, unique_id in again if of is pipeline)
                workers = arguments.workers if pipeline.workspace.store.shared else 1
                carry_out(plan, lambda: None, workers=workers, progress=True, watch=failed)
        except Exception as error:
            if is_skip(error):
                print(f"skipped: {error}", file=sys.stderr)
                continue
            node = pipeline.graph.nodes.get(failed.unique_id)
            if node is None and isinstance(error, KartError):
                raise
            task = None if node is None else node.task
            print(described(error, task, whole=arguments.verbose), file=sys.stderr)
            if task is not None:
                name = pipeline.task_ids.get(failed.unique_id, repr(task))
                print(f"debug it: {command('debug', *words_again(arguments), name)}", file=sys.stderr)
            return FAILED
    return 0


def _only(named: Iterable[tuple[Pipeline, str]]) -> Iterable[Pipeline]:
    """Return the pipelines with the named tasks as their roots."""
    roots: dict[int, tuple[Pipeline, list[str]]] = {}
    for pipeline, unique_id in named:
        roots.setdefault(id(pipeline), (pipeline, []))[1].append(unique_id)
    for pipeline, ids in roots.values():
        with pipeline.workspace:
            graph = Graph.of([pipeline.graph.nodes[one].task for one in ids])
        kept = graph.nodes.keys()
        yield replace(pipeline, graph=graph, rerun=kept & set(pipeline.rerun), required=kept & set(pipeline.required))


def words_again(arguments: argparse.Namespace) -> list[str]:
    """Return the words of a command line that name the same pipeline; without values that may be secret."""
    words = [shown(arguments.pipeline)]
    options = (("--date", "date"), ("--conf", "conf"), ("--run-id", "run_id"), ("-w", "directory"))
    return words + [word for flag, name in options if (value := getattr(arguments, name)) for word in (flag, value)]
