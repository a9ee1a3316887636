"""The inputs of a run: whether all are there, their checksums, and the code that made them."""

from __future__ import annotations

from typing import NamedTuple

from airflow_kart.artifacts.external import ExternalTarget
from airflow_kart.artifacts.sidecar import Sidecar
from airflow_kart.artifacts.state import Artifact
from airflow_kart.artifacts.target import Target
from airflow_kart.exceptions import MissingInputError
from airflow_kart.runtime.session import Session
from airflow_kart.tasks.content import input_content
from airflow_kart.tasks.model import Task
from airflow_kart.tasks.nesting import describe_path
from airflow_kart.tasks.outputs import needed_targets


class Inputs(NamedTuple):
    """The artifacts that a task reads."""

    checksums: dict[str, str]
    """The SHA-256 values, by uri; of external artifacts too, unless the task's class reuses no equal run."""
    contents: dict[str, str]
    """What their loads depend on, as texts by uri."""
    sidecars: list[Sidecar]
    single: dict[str, Sidecar]
    """By artifact, the sidecars of complete artifacts that are all that their run made; of several, a load reads those of one run."""
    external: dict[str, tuple[ExternalTarget, object]]
    """External artifacts, with what changes with each of them, by uri."""

    def take(self, required: Task, target: Target, sidecar: Sidecar, artifact: Artifact | None) -> None:
        """Add an input; ``artifact`` is the complete one, perhaps in another workspace, which loading names."""
        self.sidecars.append(sidecar)
        self.checksums[target.uri] = sidecar.artifact.sha256
        self.contents[target.uri] = input_content(required, target, sidecar.artifact.sha256, sidecar.artifact)
        if artifact is not None:
            self.checksums[artifact.uri] = sidecar.artifact.sha256
            if "output" not in sidecar.content:  # which those of several outputs have
                self.single[artifact.uri] = sidecar

    def replaced(self) -> list[str]:
        """Return the uris of external artifacts that somebody has replaced or removed since."""
        return [uri for uri, (target, facts) in self.external.items() if target.facts() != facts]


def inputs_of(task: Task, session: Session, *, hashed: bool = True) -> Inputs:
    """Look at the artifacts that a task reads.

    Args:
        task: the task.
        session: says how a missing input is made.
        hashed: whether to read external artifacts whose checksums are unknown.

    Raises:
        MissingInputError: some are not there; the message lists each with its uri and the command that makes the input.
    """
    found = Inputs({}, {}, [], {}, {})
    missing: list[str] = []
    external: list[tuple[Task, str, ExternalTarget]] = []
    count = 0
    for path, required, target in needed_targets(task):
        state = target.state()
        if state.readable:
            if state.sidecar is not None:
                found.take(required, target, state.sidecar, state.artifact)
            elif task.reuse_equal_inputs and isinstance(located := target.located(), ExternalTarget):
                external.append((required, target.uri, located))
            continue
        count += 1
        places = "\n    nor at ".join([f"at {target.uri}: {state.reason}", *(other.uri for other in target.others)])
        missing.append(f"  {describe_path(path)} {required!r}\n    {places}")
        if session.how_to_make is not None:
            missing.append(f"    make it with: {session.how_to_make(required)}")
    if missing:
        raise MissingInputError(
            f"{task!r} needs {count} input(s) that are not there:\n" + "\n".join(missing), task=repr(task)
        )
    for required, uri, located in external:  # now that nothing is missing, reading is worth the time
        found.external[located.uri] = located, located.facts()
        if (sha256 := located.checksum(hashed=hashed)) is not None:
            found.checksums[uri] = found.checksums[located.uri] = sha256
            found.contents[uri] = input_content(required, located, sha256)
    return found
