"""Sums over a workspace: what its artifacts take and cost, and what reusing them has saved."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_kart.audit.catalogue.artifacts import Artifacts, moment_text
from airflow_kart.audit.catalogue.naming import names_of
from airflow_kart.exceptions import ConfigurationError
from airflow_kart.runtime.ledger import entries
from airflow_kart.runtime.outcome import REUSED

GROUPS = ("task", "dag", "run", "month", "day")
OUTSIDE = "(outside Airflow)"


@dataclass
class Sums:
    """The artifacts and the reuse of one group."""

    name: str
    artifacts: int = 0
    bytes: int = 0
    seconds: float = 0.0
    """How long the runs took that made the artifacts."""
    hits: int = 0
    """How often a run took an artifact that was there, or that of an equal run."""
    seconds_saved: float = 0.0
    """How long the runs would have taken in whose place artifacts were taken."""
    newest: str = ""
    """When the newest artifact was made (ISO 8601, UTC)."""


def sums(asked: Artifacts, by: str = "task") -> list[Sums]:
    """Return the sums of artifacts and of the ledger, by task, DAG, run, month or day; the largest first, months in order.

    Conditions on a task's parameters, an outcome or a uri concern the artifacts alone: the ledger knows classes and runs.

    Args:
        asked: the artifacts.
        by: one of :data:`GROUPS`.

    Raises:
        ConfigurationError: ``by`` is something else.
    """
    if by not in GROUPS:
        raise ConfigurationError(f"by is {by!r}; use one of {', '.join(GROUPS)}")
    found: dict[str, Sums] = {}
    _add_artifacts(found, asked, by)
    _add_hits(found, asked, by)
    for one in found.values():
        one.seconds, one.seconds_saved = round(one.seconds, 3), round(one.seconds_saved, 3)
    in_order = by in ("month", "day")
    return sorted(found.values(), key=lambda one: (one.name if in_order else "", -one.bytes, one.name))


def _add_artifacts(found: dict[str, Sums], asked: Artifacts, by: str) -> None:
    runs: set[str] = set()  # one may have made several artifacts
    for record in asked.briefs():
        name = _group(by, record.cls, record.made_at, record.dag_id, record.run_id)
        one = found.get(name) or found.setdefault(name, Sums(name))
        one.artifacts += 1
        one.bytes += record.bytes
        one.newest = max(one.newest, record.made_at)
        if record.publication not in runs:
            one.seconds += record.seconds
            if record.publication is not None:
                runs.add(record.publication)


def _add_hits(found: dict[str, Sums], asked: Artifacts, by: str) -> None:
    since, until = moment_text(asked.since) or "", moment_text(asked.until) or "9999"
    for entry in entries(asked.workspace, since):
        is_asked = asked.dag_id in (None, entry.dag_id) and asked.run_id in (None, entry.run_id)
        if not (is_asked and since <= entry.at < until):
            continue
        for (task, outcome), each in entry.sums.items():
            if outcome in REUSED and _is_asked(asked, task):
                name = _group(by, task, entry.at, entry.dag_id, entry.run_id)
                one = found.setdefault(name, Sums(name))
                one.hits += each.tasks
                one.seconds_saved += each.seconds


def _is_asked(asked: Artifacts, task: str) -> bool:
    return asked.named is None or not asked.named.cls or asked.named.cls in ("*", *names_of(task))


def _group(by: str, task: str, at: str, dag_id: str | None, run_id: str | None) -> str:
    """Return the group of an artifact, or of the hits of a run: its task and moment, and the run."""
    if by == "task":
        return task or "(no task)"
    if by in ("month", "day"):
        return at[: 7 if by == "month" else 10]
    return (dag_id if by == "dag" else run_id) or OUTSIDE
