"""Completeness: whether a task has to run, and why. One rule, for plans, ``complete()`` and views alike.

A task is complete when the artifacts of all its outputs are. A wrapper has none, and the class of a task may ask for more:
with ``strict_check`` that all its inputs are complete too, with ``modification_time_check`` also that none of them has
changed since the task ran. Looking never changes anything.
"""

from __future__ import annotations

import math
import posixpath
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from airflow_kart import settings
from airflow_kart.artifacts.external import ExternalTarget
from airflow_kart.artifacts.sidecar import SIDECAR_SUFFIX, MadeWith
from airflow_kart.artifacts.state import Artifact
from airflow_kart.artifacts.target import Target, TargetState
from airflow_kart.storage import Snapshot, Store
from airflow_kart.storage.base import ListsInBulk
from airflow_kart.storage.threads import Threads  # now: it cannot be imported any more while the interpreter ends
from airflow_kart.tasks.changed_code import SAME, CodeChanges, Since
from airflow_kart.tasks.graph import Node, upstream_first
from airflow_kart.tasks.model import Task, kind_of
from airflow_kart.tasks.outputs import needed_targets, own_targets
from airflow_kart.tasks.resolution import uncollected

_FIRST_LOOKS = 4
_LOOKS = 16
_SLOW_LOOK = 0.002  # seconds, as a mean: on a network, not on a local disk, whatever else the machine does
_LONG_LOOKS = 0.25  # seconds, of some looks at what has been read ahead
_READ_AHEAD = 16_384  # sidecars, each of some kilobytes


class Completeness(NamedTuple):
    """Whether a task is complete, and why."""

    complete: bool
    reason: str
    """When and by which run the artifact was made, or why the task has to run."""
    seconds: float = 0.0
    """Of a complete task: how long its run took."""
    finished_at: str = ""
    """Of a complete task: when its artifact was published (ISO 8601, UTC)."""
    made_by: tuple[str, str] | None = None
    """Of a complete task that ran in Airflow: the DAG id and the run id."""
    made_at: tuple[object, object, int] | None = None
    """Of a complete task that ran in Airflow: the task id, the map index and the try of its operator."""
    artifacts: tuple[Artifact, ...] = ()
    """Of a complete task: its artifacts, in the order of ``output()``."""
    made_with: MadeWith | None = None
    """Of a complete task: the code that made its artifacts."""
    since: Since = SAME
    """Of a complete task: what differs from the code that made its artifacts."""
    reused: bool = False
    """Of a complete task: whether its artifacts are copies of an equal run's."""
    note: str = ""
    """Of a complete task: what a reader should know, for example that its code has changed since."""


def is_complete(task: Task) -> Completeness:
    """Return whether a task is complete, its inputs included if its class asks for that.

    Raises:
        KartError: the tasks do not make a graph, or a store cannot be asked.
    """
    nodes = {found.unique_id: Node(found) for found in upstream_first([task], asks_inputs)}
    return completeness_of(nodes)[task.unique_id]


def completeness_of(nodes: Mapping[str, Node]) -> dict[str, Completeness]:
    """Return which tasks are complete, by unique id.

    Args:
        nodes: the tasks by unique id, upstream first; with each that asks its inputs, these.
    """
    judge = with_code(CodeChanges())
    found: dict[str, Completeness] = {}
    incomplete: set[str] = set()
    for (unique_id, node), own in zip(nodes.items(), look_at(nodes.values()), strict=True):
        found[unique_id] = with_inputs(node, judge(node, own), nodes, incomplete)
        if not found[unique_id].complete:
            incomplete.add(unique_id)
    return found


def asks_inputs(task: Task) -> bool:
    """Whether the completeness of a task depends on its inputs too."""
    return kind_of(task).wrapper or task.strict_check or task.modification_time_check


def with_inputs(node: Node, own: Completeness, nodes: Mapping[str, Node], incomplete: Collection[str]) -> Completeness:
    """Return whether a task is complete, its inputs included if its class asks for that.

    Args:
        node: the task.
        own: whether its own artifacts are complete.
        nodes: the tasks by unique id, its inputs among them.
        incomplete: the unique ids of the tasks that have to run.
    """
    if not own.complete or not asks_inputs(node.task):
        return own
    missing = next((unique_id for _, unique_id in node.inputs if unique_id in incomplete), None)
    if missing is not None:
        return Completeness(False, f"{nodes[missing].task!r}, which it needs, runs")
    changed = _changed_input(node) if node.task.modification_time_check else None
    if changed is not None:
        return Completeness(False, f"{changed} has changed since it ran")
    return own


def with_code(changes: CodeChanges) -> Callable[[Node, Completeness], Completeness]:
    """Return a function that judges a task whose own artifacts are complete by the code that made them."""

    def judge(node: Node, own: Completeness) -> Completeness:
        since = changes.since(node.task, own.made_with) if own.complete else SAME
        if since is SAME:
            return own
        mine = type(node.task) in since.changed
        others = ", ".join(cls.__name__ for cls in since.changed if cls is not type(node.task))
        whose = ["its code"] * mine + [f"the code of {others}, upstream,"] * bool(others)
        note = f"{' and '.join(whose)} {'has' if len(whose) == 1 else 'have'} changed since" if whose else ""
        if note and changes.policy == "rerun":
            return Completeness(False, note)
        if since.elsewhere:
            note += f"{' and ' if note else ''}it was made from another {since.elsewhere}"
        return own._replace(reason=f"{own.reason}, but {note}", since=since, note=note)

    return judge


@uncollected()
def look_at(nodes: Iterable[Node], *, remember: bool = False) -> list[Completeness]:
    """Look, several at once, which tasks have complete artifacts of their own.

    Args:
        nodes: the tasks.
        remember: whether the workspace may keep the sidecars that were read, if they are many, for a faster next look.
    """
    nodes = list(nodes)
    targets = [target for node in nodes for target in node.targets]
    far = len(targets) > 1 and isinstance(targets[0].store, ListsInBulk)
    found = [] if far else _while_quick(targets)
    rest = targets[len(found) :]
    if rest:
        found += _look_together(rest, remember=remember)
    looks = iter(found)
    return [_of_looks(list(_of_one_run(node, [next(looks) for _ in node.targets]))) for node in nodes]


def _look_together(targets: Sequence[Target], *, remember: bool) -> list[_Look]:
    """Look at targets on a network: at their folders, then at several sidecars at once."""
    snapshot, found = Snapshot(place for target in targets for place in target.looked_at()), dict[int, _Look]()
    for start in range(0, len(targets), _READ_AHEAD):
        some = targets[start : start + _READ_AHEAD]
        snapshot.read_ahead(place for target in some if (place := _first_sidecar(target, snapshot)) is not None)
        listed_first = sorted(some, key=lambda target: not snapshot.knows(target.store, target.uri))
        looks = _while_quick(listed_first, snapshot) if snapshot.knows(listed_first[0].store, listed_first[0].uri) else []
        with Threads(settings.check_threads(), "kart-check") as pool:
            looks += pool.each(lambda target: _Look.of(target.state(snapshot)), listed_first[len(looks) :])
        found.update(zip(map(id, listed_first), looks, strict=True))
    if remember:
        snapshot.remember({(target.store, posixpath.dirname(target.uri)) for target in targets})
    return [found[id(target)] for target in targets]


def _first_sidecar(target: Target, snapshot: Snapshot) -> tuple[Store, str] | None:
    """Return the sidecar that a look at a target reads first, if a listing has named it."""
    places = target.looked_at()
    return next(((store, uri) for store, uri in places if uri.endswith(SIDECAR_SUFFIX) and snapshot.names(store, uri)), None)


def _while_quick(targets: Sequence[Target], snapshot: Snapshot | None = None) -> list[_Look]:
    """Look at targets one after the other, as long as that is quick: where nobody has to wait, threads hinder each other."""
    found: list[_Look] = []
    began = now = time.perf_counter()
    longest = math.inf if snapshot is None else _LONG_LOOKS
    while now - began <= len(found) * _SLOW_LOOK and len(found) < len(targets):
        some = targets[len(found) : len(found) + (_LOOKS if found else _FIRST_LOOKS)]
        started = now
        found += [_Look.of(target.state(snapshot)) for target in some]
        now = time.perf_counter()
        if now - started > longest:
            break
    return found


def _of_one_run(node: Node, looks: list[_Look]) -> Iterator[_Look]:
    """Return the looks at a task's targets, without the publications of those that the task passes on from its inputs."""
    own = None if len(looks) == 1 else {target.uri for target in own_targets(node.task, node.targets)}
    for target, look in zip(node.targets, looks, strict=True):
        yield look if own is None or target.uri in own else look._replace(publication=None)


class _Look(NamedTuple):
    """The state of a target without its sidecar: thousands of sidecars would fill the memory."""

    complete: bool
    reason: str
    publication: str | None = None
    made: Completeness | None = None
    """Of a complete artifact with a sidecar: when, how long and by which run the artifact was made."""
    artifact: Artifact | None = None

    @classmethod
    def of(cls, state: TargetState) -> _Look:
        found = state.sidecar if state.complete else None
        if found is None:
            return cls(state.complete, state.reason, artifact=state.artifact)
        when = found.published_at[:19].replace("T", " ")
        words = f"made {when} UTC" + (f" by {' '.join(found.airflow_run)}" if found.airflow_run else "")
        words += ", reused from an equal run" if found.is_reused else ""
        words += f", adopted by {found.adoptions[-1]['by']}: {found.adoptions[-1]['reason']}" if found.adoptions else ""
        words += f", {state.reason}" if state.reason != "complete" else ""  # in another workspace
        made = Completeness(
            True,
            words,
            found.seconds,
            found.published_at,
            found.airflow_run,
            found.airflow_try,
            made_with=found.made_with,
            reused=found.is_reused,
        )
        return cls(True, state.reason, found.publication, made, state.artifact)


def _of_looks(looks: list[_Look]) -> Completeness:
    if not looks:
        return Completeness(True, "all that it groups is there")
    incomplete = next((look for look in looks if not look.complete), None)
    if incomplete is not None:
        return Completeness(False, incomplete.reason)
    if len({look.publication for look in looks if look.publication is not None}) > 1:
        return Completeness(False, "its outputs are of different runs, the last of which was interrupted")
    artifacts = tuple(look.artifact for look in looks if look.artifact is not None)
    made = [look.made for look in looks if look.made is not None]
    if not made:
        return Completeness(True, looks[0].reason, artifacts=artifacts)
    longest, first = max(one.seconds for one in made), min(one.finished_at for one in made)
    return made[0]._replace(seconds=longest, finished_at=first, artifacts=artifacts)


def _changed_input(node: Node) -> str | None:
    """Return the uri of an input that differs from the one that the task read.

    Checksums decide. Where one of the two is unknown (nobody has hashed an external artifact yet; a moved workspace has other
    uris than its sidecars record), an input has changed if its file is newer than the task's artifacts.
    """
    states = [target.state() for target in node.targets]
    ran = min((state.modified for state in states if state.modified is not None), default=None)
    read = {uri: sha256 for state in states if state.sidecar is not None for uri, sha256 in state.sidecar.inputs.items()}
    for _, _, target in needed_targets(node.task):
        state = target.state()
        located = target.located()
        recorded = read.get(located.uri)
        newer = ran is not None and state.modified is not None and state.modified > ran
        now = state.sha256
        if newer and isinstance(located, ExternalTarget):
            now = located.checksum(hashed=False)
        if recorded != now if recorded is not None and now is not None else newer:
            return target.uri
    return None
