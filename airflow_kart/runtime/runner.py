"""The one way to run one task: decide, check inputs, seed, run, publish, record.

``build()``, ``airflow tasks test`` and a worker all come through here.
"""

from __future__ import annotations

import datetime as dt
import logging
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_kart.exceptions import MissingInputError, OutputNotDumpedError
from airflow_kart.graph import Node
from airflow_kart.nesting import describe_path
from airflow_kart.publication import Publication
from airflow_kart.runtime.log_tail import LogTail
from airflow_kart.runtime.plan import Outcome, states_of
from airflow_kart.runtime.seed import seeded
from airflow_kart.sidecar.environment import peak_memory_bytes
from airflow_kart.sidecar.source import source_of
from airflow_kart.target import Target
from airflow_kart.task import TaskOnKart, targets_of

__all__ = ["RunResult", "run_task"]

logger = logging.getLogger(__name__)

HowToMake = Callable[[TaskOnKart[Any]], str]


@dataclass(frozen=True)
class RunResult:
    """What came of one task."""

    outcome: Outcome
    reason: str
    seconds: float
    """How long the task ran, or for a cached one how long it ran when it did."""
    targets: tuple[Target, ...]


def run_task(
    task: TaskOnKart[Any],
    *,
    force: bool = False,
    coordinates: Mapping[str, Any] | None = None,
    how_to_make: HowToMake | None = None,
) -> RunResult:
    """Run one task, unless its outputs are complete.

    Args:
        task: the task. What it requires is read, never made here.
        force: run even where the outputs are complete; they stay readable until the new ones are.
        coordinates: where in Airflow this happens, for the sidecar.
        how_to_make: says how to make a missing input, for the error that lists it.

    Raises:
        MissingInputError: an input is not there.
        OutputNotDumpedError: ``run()`` ended without dumping an output.
        Exception: whatever ``run()`` raises. Nothing is published then.
    """
    targets = tuple(target for _, target in targets_of(task))
    if not force:
        found = states_of([Node(task, (), targets)])[0]
        if found.outcome is Outcome.CACHED:
            return RunResult(Outcome.CACHED, found.reason, found.seconds, targets)
        reason = found.reason
    else:
        reason = "asked to run again"
    checksums = _input_checksums(task, how_to_make)
    source_of(type(task))  # read now and remembered: the file may be edited while the task runs
    logger.info("%r runs: %s", task, reason)
    task.task_log.clear()
    with Publication([target.uri for target in targets]) as publication, LogTail() as tail:
        publication.input_checksums.update(checksums)
        started, clock = dt.datetime.now(dt.timezone.utc), time.perf_counter()
        try:
            with seeded(task) as seed:
                task.run()
            _require_outputs(task, publication)
        except Exception as error:
            _note(error, f"while running {task!r} (unique id {task.unique_id})")
            raise
        seconds = time.perf_counter() - clock
        publication.publish(
            {
                **task.describe(publication.input_checksums),
                "run": {
                    "started_at": started.isoformat(),
                    "finished_at": dt.datetime.now(dt.timezone.utc).isoformat(),
                    "seconds": seconds,
                    "reason": reason,
                    "seed": seed,
                    "peak_memory_bytes": peak_memory_bytes(),
                },
                "airflow": dict(coordinates) if coordinates else None,
                "log_tail": tail.lines,
            }
        )
    logger.info("%r ran in %.2f s and published %s", task, seconds, ", ".join(target.uri for target in targets))
    return RunResult(Outcome.RAN, reason, seconds, targets)


def _input_checksums(task: TaskOnKart[Any], how_to_make: HowToMake | None) -> dict[str, str]:
    """Return the checksums of the artifacts a task reads, by uri.

    Raises:
        MissingInputError: some are not there; the message lists each with its uri and how to make it.
    """
    checksums: dict[str, str] = {}
    missing: list[str] = []
    for path, required in task.lineage.inputs:
        for _, target in targets_of(required):
            if target.uri in checksums:
                continue
            sidecar = target.readable()
            if sidecar is not None:
                checksums[target.uri] = sidecar.artifact.sha256
                continue
            missing.append(f"  {describe_path(path)} {required!r}\n    at {target.uri}: {target.state().reason}")
            if how_to_make is not None:
                missing.append(f"    make it with: {how_to_make(required)}")
    if missing:
        count = sum(line.startswith("  ") and not line.startswith("    ") for line in missing)
        raise MissingInputError(f"{task!r} needs {count} input(s) that are not there:\n" + "\n".join(missing))
    return checksums


def _note(error: Exception, text: str) -> None:
    """Add a line to an error's traceback, where Python can (from 3.11 on)."""
    if sys.version_info >= (3, 11):
        error.add_note(text)


def _require_outputs(task: TaskOnKart[Any], publication: Publication) -> None:
    if publication.missing:
        raise OutputNotDumpedError(
            f"{task!r}.run() ended without dumping {', '.join(publication.missing)}; call self.dump(...) for every output, "
            "in the thread that run() is called in"
        )
