"""The circumstances that all tasks of a run share, also the tasks that a ``run()`` asks for on its way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_kart.locks import Locks, Taken, locks_for
from airflow_kart.runtime.progress import SILENT, Listener
from airflow_kart.runtime.seed import States
from airflow_kart.settings import kart_bool
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.model import Task


@dataclass(frozen=True)
class Session:
    """A run's place in Airflow, its way to wait, and its listener.

    Args:
        coordinates: the place in Airflow, for sidecars and locks.
        how_to_make: returns the command that makes a missing input, for the error that lists the input.
        waits: whether the run waits for the lock of a task; otherwise
            :class:`~airflow_kart.runtime.single_flight.TakenElsewhere` is raised.
        dead: by unique id, the locks of dead runs.
        listener: receives the events of each task.
        contents: by unique id, the digests that seed the random numbers of tasks in place of those of their content.
        states: takes the states of random generators from tasks that run one after the other.
    """

    coordinates: Mapping[str, Any] | None = None
    how_to_make: Callable[[Task], str] | None = None
    waits: bool = True
    dead: Mapping[str, Taken] = field(default_factory=dict)
    listener: Listener = SILENT
    contents: Mapping[str, bytes] = field(default_factory=dict)
    states: States | None = None
    _known: dict[int, _Known] = field(default_factory=dict, init=False, repr=False, compare=False)

    def locks(self) -> Locks:
        """Return the locks of the current workspace; raises as :func:`~airflow_kart.locks.locks_for`."""
        known = self._of_workspace()
        if known.locks is None:
            known.locks = locks_for(known.workspace)
        return known.locks

    def reuses(self) -> bool:
        """Whether equal runs stand in for runs in the current workspace.

        Raises:
            ConfigurationError: ``[kart] reuse_equal_inputs`` is neither true nor false.
        """
        known = self._of_workspace()
        if known.reuses is None:
            given = known.workspace.reuse_equal_inputs
            known.reuses = kart_bool("reuse_equal_inputs") if given is None else given
        return known.reuses

    def _of_workspace(self) -> _Known:
        """Return what is known of the current workspace: by its object, as a hash of all its texts takes long."""
        workspace = Workspace.current()
        known = self._known.get(id(workspace))
        if known is None or known.workspace is not workspace:
            known = self._known[id(workspace)] = _Known(workspace)
        return known


class _Known:
    """What a run has asked of a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.locks: Locks | None = None
        self.reuses: bool | None = None
