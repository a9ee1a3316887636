"""What became of the tasks of a run: how many of each outcome, how long they took, and how long the reused ones would have taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from airflow_kart.runtime.outcome import REUSED, Outcome

if TYPE_CHECKING:
    from airflow_kart.runtime.plan import Plan
    from airflow_kart.runtime.progress import Event, Listener

_OF_EVENTS = {
    "ran": Outcome.RAN,
    "reused": Outcome.REUSED,
    "cached": Outcome.CACHED,
    "skipped": Outcome.SKIPPED,
    "failed": Outcome.FAILED,
}


class Sum(NamedTuple):
    """Tasks of one class and one outcome."""

    tasks: int
    seconds: float
    """How long they ran; of reused ones, how long their runs of then took."""


@dataclass
class Tally:
    """Counts tasks by class and outcome.

    Args:
        listener: receives the events, too.
    """

    listener: Listener | None = None
    sums: dict[tuple[str, Outcome], Sum] = field(default_factory=dict)
    _classes: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: Plan, listener: Listener) -> Tally:
        """Return a tally of the tasks of a plan that do not run; the events of the others follow."""
        names = {unique_id: node.class_name for unique_id, node in plan.graph.nodes.items()}
        tally = cls(listener, _classes=names)
        idle = ((key, planned) for key, planned in plan.tasks.items() if planned.outcome is not Outcome.RUN)
        alike = Counter([(names[key], planned.outcome, planned.seconds) for key, planned in idle])  # most are not needed
        for (name, outcome, seconds), tasks in alike.items():
            tally.add(name, outcome, seconds * tasks, tasks)
        return tally

    def add(self, class_name: str, outcome: Outcome, seconds: float, tasks: int = 1) -> None:
        """Count a task, or several that took some seconds together."""
        before = self.sums.get((class_name, outcome), Sum(0, 0.0))
        self.sums[class_name, outcome] = Sum(before.tasks + tasks, before.seconds + seconds)

    def happens(self, event: Event) -> None:
        """Count the end of a task, and pass the event on."""
        if event.kind in _OF_EVENTS:
            # a task that run() asks for is in no graph
            name = self._classes.get(event.unique_id) or event.task.partition("(")[0]
            self.add(name, _OF_EVENTS[event.kind], event.seconds)
        if self.listener is not None:
            self.listener.happens(event)

    def count(self, outcome: Outcome) -> int:
        """Return the number of tasks of an outcome."""
        return sum(one.tasks for (_, each), one in self.sums.items() if each is outcome)

    def seconds(self, outcomes: Iterable[Outcome]) -> float:
        """Return the seconds of the tasks of some outcomes."""
        asked = set(outcomes)
        return sum(one.seconds for (_, each), one in self.sums.items() if each in asked)

    def __str__(self) -> str:
        """Return a line: ``7 ran, 7 cached, 14 not needed; 8.0 s computed, 46 s saved``."""
        shown = [outcome for outcome in Outcome if outcome in (Outcome.RAN, Outcome.CACHED) or self.count(outcome)]
        counts = ", ".join(f"{self.count(outcome)} {outcome.value.replace('_', ' ')}" for outcome in shown)
        return f"{counts}; {in_words(self.seconds([Outcome.RAN]))} computed, {in_words(self.seconds(REUSED))} saved"


def in_words(seconds: float) -> str:
    """Return a duration in one or two units: ``0.25 s``, ``46 s``, ``1 min 5 s``, ``3 h 2 min``."""
    if seconds < 59.5:
        return f"{seconds:.2f} s" if 0 < seconds < 1 else f"{seconds:.1f} s" if 0 < seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{minutes} min {rest} s" if not hours else f"{hours:,} h {minutes} min"


def size_text(count: int) -> str:
    """Return a number of bytes with a unit: ``1.5 MB``."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
