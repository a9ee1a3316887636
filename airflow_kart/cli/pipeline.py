"""A pipeline that a command line names, and the run that the command asks for."""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from airflow_kart.audit.catalogue.naming import Named
from airflow_kart.exceptions import ConfigurationError
from airflow_kart.identity.spelling import unmatched
from airflow_kart.runtime.plan import Plan, make_plan
from airflow_kart.runtime.selection import AND_DOWNSTREAM
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.graph import Graph


class Asked(NamedTuple):
    """The run that a command line asks for."""

    date: str | None = None
    conf: Mapping[str, Any] = {}
    values: Mapping[str, str] = {}
    """Texts of parameters of the roots, which win over all else."""
    run_id: str | None = None

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Asked:
        """Return the run of a command's arguments.

        Raises:
            ConfigurationError: the ``conf`` or a value is malformed.
        """
        try:
            conf = json.loads(arguments.conf or "{}")
        except ValueError as error:
            raise ConfigurationError(f"--conf {arguments.conf!r} is no JSON: {error}") from None
        if not isinstance(conf, dict):
            raise ConfigurationError(f"""--conf {arguments.conf!r}: give an object, such as '{{"depth": 6}}'""")
        values = dict(given.partition("=")[::2] for given in arguments.values or ())
        if any("=" not in given for given in arguments.values or ()):
            raise ConfigurationError("--set takes NAME=VALUE")
        if arguments.run_id and (arguments.date or conf):
            raise ConfigurationError(
                "--run-id gives the date and the conf of a DAG run; give either, or change values by --set"
            )
        return cls(arguments.date, conf, values, arguments.run_id)


@dataclass(frozen=True)
class Pipeline:
    """The tasks of one run in one workspace."""

    workspace: Workspace
    graph: Graph
    task_ids: Mapping[str, str] = field(default_factory=dict)
    """The operators in Airflow, by unique id."""
    rerun: Collection[str] = ()
    """The unique ids of tasks that run again in any case."""
    required: Collection[str] = ()
    """The unique ids of tasks that others use, besides the roots."""

    def named(self, name: str) -> set[str]:
        """Return the unique ids of the tasks that a name means; with a ``+`` at its end, with everything downstream."""
        text = name.removesuffix(AND_DOWNSTREAM)
        found = {unique_id for unique_id, node in self.graph.nodes.items() if repr(node.task) == text}
        if not found:
            asked = Named.of(text)
            with self.workspace:
                nodes = self.graph.nodes.items()
                found = {one for one, node in nodes if asked.is_of(node.task, self.task_ids.get(one))}
        return found if text == name else self.graph.with_downstream(found)

    def plan(self, rerun: Iterable[str] = ()) -> Plan:
        """Decide the outcome of each task, in the current workspace."""
        return make_plan(self.graph, rerun={*self.rerun, *rerun}, required=self.required)


def named_in(found: Iterable[Pipeline], name: str) -> list[tuple[Pipeline, str]]:
    """Return the pipelines and unique ids of the tasks that a name means.

    Raises:
        ConfigurationError: there is none.
    """
    found = list(found)
    named = [
        (pipeline, one) for pipeline in found for one in sorted(pipeline.named(name), key=list(pipeline.graph.nodes).index)
    ]
    if not named:
        nodes = (node for pipeline in found for node in pipeline.graph.nodes.values())
        ids = (task_id for pipeline in found for task_id in pipeline.task_ids.values())
        raise ConfigurationError(unmatched(name, {*ids, *(type(node.task).__name__ for node in nodes)}))
    return named
