"""The inputs of a run: whether all are there, their checksums, and the code that made them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from airflow_kart.artifacts.external import ExternalTarget
from airflow_kart.artifacts.sidecar import Sidecar
from airflow_kart.exceptions import MissingInputError
from airflow_kart.runtime.session import Session
from airflow_kart.tasks.content import input_content
from airflow_kart.tasks.model import Task
from airflow_kart.tasks.nesting import describe_path
from airflow_kart.tasks.outputs import needed_targets


@dataclass(frozen=True)
class Inputs:
    """The artifacts that a task reads."""

    checksums: dict[str, str]
    """The SHA-256 values, by uri; of external artifacts too, unless the task's class reuses no equal run."""
    contents: dict[str, str]
    """What their loads depend on, as texts by uri."""
    sidecars: list[Sidecar]
    external: Mapping[str, tuple[ExternalTarget, object]]
    """External artifacts, with what changes with each of them, by uri."""

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
    checksums: dict[str, str] = {}
    contents: dict[str, str] = {}
    sidecars: list[Sidecar] = []
    missing: list[str] = []
    external: list[tuple[Task, str, ExternalTarget]] = []
    count = 0
    for path, required, target in needed_targets(task):
        state = target.state()
        if state.readable:
            if state.sidecar is not None:
                checksums[target.uri] = state.sidecar.artifact.sha256
                if state.artifact is not None:  # perhaps in another workspace, which loading names
                    checksums[state.artifact.uri] = state.sidecar.artifact.sha256
                contents[target.uri] = input_content(required, target, state.sidecar.artifact.sha256, state.sidecar.artifact)
                sidecars.append(state.sidecar)
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
    facts: dict[str, tuple[ExternalTarget, object]] = {}
    for required, uri, located in external:  # now that nothing is missing, reading is worth the time
        facts[located.uri] = located, located.facts()
        if (sha256 := located.checksum(hashed=hashed)) is not None:
            checksums[uri] = checksums[located.uri] = sha256
            contents[uri] = input_content(required, located, sha256)
    return Inputs(checksums, contents, sidecars, facts)
