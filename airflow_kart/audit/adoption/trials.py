"""Verification of an adoption: some of its tasks are made again, and their bytes compared."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, NamedTuple

from airflow_kart.artifacts.sidecar import Sidecar
from airflow_kart.artifacts.target import Target
from airflow_kart.audit.verification.fresh import make_again, scratch_of
from airflow_kart.exceptions import UnequalArtifactError
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.model import Task
from airflow_kart.tasks.outputs import own_targets, targets_of


class Source(NamedTuple):
    """A target, and the artifact that is to be there."""

    target: Target
    uri: str
    sidecar: Sidecar
    there: bool
    """Whether the artifact is at the target already."""


class Ready(NamedTuple):
    """A task whose artifacts can be adopted."""

    task: Task
    sources: list[Source]
    parts: dict[str, Any]
    """The parts of the sidecars that change; ``None`` for a part that goes."""
    seed: Callable[[], bytes]
    """Returns the digest that seeded the random numbers of the run that made the artifacts."""


def verified(workspace: Workspace, tasks: Iterable[Ready], count: int) -> int:
    """Make the first tasks again in a scratch directory, with inputs and random numbers as before; return how many.

    Args:
        workspace: holds the artifacts, and the inputs.
        tasks: the tasks.
        count: how many, at most.

    Raises:
        UnequalArtifactError: an output has other bytes than the artifact.
        Exception: any error of a task's ``run()``.
    """
    done = 0
    for ready in islice(tasks, count):
        task, content = ready.task, ready.seed()  # which names the inputs by their uris of here
        with tempfile.TemporaryDirectory(prefix="kart-verify-") as scratch, scratch_of(workspace, scratch):
            make_again(task, content)
            made = [target.sidecar() for target in own_targets(task, [target for _, target in targets_of(task)])]
        for source, again in zip(ready.sources, made, strict=True):
            old, new = source.sidecar.artifact.sha256, again.artifact.sha256 if again is not None else None
            if old != new:
                raise UnequalArtifactError(
                    f"{task!r}, made again, has other bytes: {source.uri} has the SHA-256 {old}, and now {new}. Nothing was "
                    "adopted: the change matters, or run() is not deterministic",
                    task=repr(task),
                    uri=source.uri,
                )
        done += 1
    return done
