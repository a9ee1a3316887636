"""The result of one task in a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from airflow_kart.artifacts.sidecar import Sidecar
from airflow_kart.artifacts.state import Artifact
from airflow_kart.runtime.outcome import Outcome
from airflow_kart.tasks.completeness import Completeness
from airflow_kart.tasks.model import Task


class RunResult(NamedTuple):
    """The result of one task."""

    task: Task
    outcome: Outcome
    reason: str
    seconds: float
    """The duration of the task's run, of a cached task its run of then."""
    artifacts: tuple[Artifact, ...] = ()
    made_by: tuple[str, str] | None = None
    """For a cached task: the DAG id and run id that made its artifact, where Airflow did."""
    changed: bool = False
    """Whether other bytes, or none, were at the artifacts' places before."""

    @classmethod
    def cached(cls, task: Task, found: Completeness) -> RunResult:
        """Return the result of a complete task."""
        return cls(task, Outcome.CACHED, found.reason, found.seconds, found.artifacts, found.made_by)

    @classmethod
    def published(
        cls, task: Task, outcome: Outcome, reason: str, sidecars: Sequence[Sidecar], changed: bool = True
    ) -> RunResult:
        """Return the result of a task whose artifacts were just published."""
        artifacts = tuple(Artifact.of(sidecar.artifact, sidecar.artifact.uri) for sidecar in sidecars)
        return cls(task, outcome, reason, sidecars[0].seconds, artifacts, changed=changed)
