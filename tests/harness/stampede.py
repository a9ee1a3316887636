"""Many processes that all want the same tasks made, while some are killed and some are stopped.

Run as ``python -m harness.stampede <json>`` with the fields of :class:`Plan`; prints what happened as JSON. The processes
are forked from this one, which has loaded all they need.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import logging
import os
import random
import re
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from airflow_kart import IntParameter, Target, TaskOnKart, Workspace, build
from airflow_kart.exceptions import KartError
from airflow_kart.locks import locks_for
from airflow_kart.locks.file import FileLocks
from airflow_kart.storage import store_for

__all__ = ["Plan", "stampede"]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to happen."""

    workspace: str
    log: str
    """A directory for what the processes write down."""
    tasks: int = 100
    processes: int = 16
    kills: int = 10
    stops: int = 4
    stopped_for: float = 8.0
    """Seconds; longer than a lock's time to live."""
    seed: int = 0
    at_most: float = 400.0


class Item(TaskOnKart[dict[str, Any]]):
    number: int = IntParameter()

    def output(self) -> Target:
        return self.make_target("items/item.json")

    def run(self) -> None:
        note("run", self.number)
        # Some take long enough to be hit in the midst of it, by a stop or a kill.
        time.sleep(1.0 if self.number % 10 == 0 else random.uniform(0.0, 0.2))
        self.dump({"number": self.number, "made": uuid.uuid4().hex})


_NOTES: list[Any] = []


def note(what: str, number: int, words: str = "") -> None:
    """Write a line down, in one piece, so that it stays whatever happens to the process."""
    os.write(_NOTES[0], f"{json.dumps([what, number, os.getpid(), words])}\n".encode())


class _Listener(logging.Handler):
    """Writes down what the package's log says of publications and locks."""

    _SAYINGS = (
        ("published", re.compile(r"Item\(number=(\d+)\) ran in .* and published ")),
        ("adopted", re.compile(r"Item\(number=(\d+)\) ran in .* and left the artifacts")),
        ("took over", re.compile(r"Item\(number=(\d+)\) takes over")),
        ("waited", re.compile(r"Item\(number=(\d+)\) has its turn after")),
    )

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        for what, pattern in self._SAYINGS:
            if found := pattern.search(text):
                note(what, int(found[1]))


def stampede(plan: Plan, **environment: str) -> dict[str, Any]:
    """Do all of it in processes of their own, with short times to live; return counts."""
    done = subprocess.run(
        [sys.executable, "-m", "harness.stampede", json.dumps(dataclasses.asdict(plan))],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "AIRFLOW__KART__LOCK_TIME_TO_LIVE": "5",
            **environment,
        },
        stdout=subprocess.PIPE,
        text=True,
        timeout=plan.at_most + 60,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def work(plan: Plan, seed: int) -> None:
    """Want all tasks, in an order of one's own, until all are there."""
    random.seed(seed)
    _NOTES[:] = [os.open(os.path.join(plan.log, "notes"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)]
    numbers = random.sample(range(plan.tasks), plan.tasks)
    with Workspace(plan.workspace):
        while numbers:
            number = numbers.pop()
            try:
                assert build(Item(number=number), progress=False)["number"] == number
            except KartError as error:
                note(type(error).__name__, number, str(error))
                numbers.insert(0, number)
                time.sleep(0.1)
    note("done", -1)


def run_stampede(plan: Plan) -> dict[str, Any]:
    """Do all of it; return counts."""
    random.seed(plan.seed)
    logger = logging.getLogger("airflow_kart")
    logger.setLevel(logging.INFO)
    logger.addHandler(_Listener())
    logger.propagate = False
    living: dict[int, int] = {}
    stopped: dict[int, float] = {}
    done = kills = stops = births = 0
    started = time.monotonic()
    pause = 0.25

    def bear() -> None:
        nonlocal births
        births += 1
        child = os.fork()
        if child == 0:
            try:
                work(plan, plan.seed * 1000 + births)
                os._exit(0)
            except BaseException as error:
                note(type(error).__name__, -2, repr(error))
                os._exit(1)
        living[child] = births

    with Workspace(plan.workspace) as workspace:  # loads what all of them need
        locks_for(workspace).look("nobody")
        Item(number=0).complete()
    for _ in range(plan.processes):
        bear()
    while done < plan.processes:
        if time.monotonic() - started > plan.at_most:
            for child in living:
                os.kill(child, signal.SIGKILL)
            raise SystemExit(f"not done after {plan.at_most} s: {counts_of(plan)}")
        time.sleep(pause * random.uniform(0.5, 1.5))
        for child, until in list(stopped.items()):
            if time.monotonic() > until:
                del stopped[child]
                os.kill(child, signal.SIGCONT)
        while True:
            child, status = os.waitpid(-1, os.WNOHANG)
            if child == 0:
                break
            living.pop(child)
            if os.waitstatus_to_exitcode(status) == 0:
                done += 1
            elif os.waitstatus_to_exitcode(status) == -signal.SIGKILL:
                bear()
            else:
                raise SystemExit(f"a process failed: {counts_of(plan)}")
            if not living:
                break
        free = [child for child in living if child not in stopped]
        todo = ["kill"] * (plan.kills - kills) + ["stop"] * (plan.stops - stops)
        what = random.choice(todo) if todo and len(free) > 2 else ""
        if what == "kill":
            kills += 1
            os.kill(random.choice(free), signal.SIGKILL)
        elif what == "stop":
            stops += 1
            victim = random.choice([child for child in free if child in _busy(plan)] or free)
            stopped[victim] = time.monotonic() + plan.stopped_for
            os.kill(victim, signal.SIGSTOP)
    return {
        **counts_of(plan),
        "kills": kills,
        "stops": stops,
        "seconds": round(time.monotonic() - started, 1),
    }


def _busy(plan: Plan) -> set[int]:
    """Return the processes that are in the midst of a task."""
    last = {process: what for what, _, process, _ in _notes(plan)}
    return {process for process, what in last.items() if what == "run"}


def _notes(plan: Plan) -> list[Any]:
    return [json.loads(line) for line in Path(plan.log, "notes").read_text().splitlines()]


def counts_of(plan: Plan) -> dict[str, Any]:
    """Return what the processes have written down, counted; what was published more than once by number."""
    notes = _notes(plan)
    found = collections.Counter(what for what, *_ in notes)
    published = collections.Counter(number for what, number, *_ in notes if what == "published")
    ran = collections.Counter(number for what, number, *_ in notes if what == "run")
    there = missing = held = 0
    files = FileLocks(plan.workspace)  # for a bucket, a directory that is not there
    with Workspace(plan.workspace):
        for number in range(plan.tasks):
            item = Item(number=number)
            held += files.look(item.unique_id) is not None
            target = item.output()
            if target.exists() and target.load()["number"] == number:
                there += 1
            else:
                missing += 1
    folder = f"{plan.workspace}/.kart-locks/"
    return {
        **found,
        "there": there,
        "missing": missing,
        "published twice": sorted(number for number, count in published.items() if count > 1),
        "ran more than once": {number: count for number, count in ran.items() if count > 1},
        "locks left": held + sum(1 for uri in store_for(folder).list(folder) if not uri.endswith("/held")),
        "errors": sorted({words for what, _, _, words in notes if what.endswith("Error")})[:10],
    }


if __name__ == "__main__":
    print(json.dumps(run_stampede(Plan(**json.loads(sys.argv[1])))))
