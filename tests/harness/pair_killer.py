"""Kills runs of a task with three outputs, again and again, while another process reads these and builds from them.

Each run is a fork of one process, which has loaded all that the runs need. A third of the runs die in a random moment,
the others just before or just after the publication of an object. Prints what was seen, as JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airflow_kart import Target, TaskOnKart, Workspace, build
from airflow_kart.artifacts import publication, together
from airflow_kart.exceptions import ArtifactError, MissingInputError, ObjectChangedError
from airflow_kart.tasks.outputs import load_nested

__all__ = ["kill_and_check", "main"]

OUTPUTS = {"metrics": "metrics/m.json", "model": "models/m.pkl", "notes": "notes/n.txt"}
_STEPS = 9  # three outputs, each with an interim sidecar, an artifact and a final sidecar


def kill_and_check(workspace: str, kills: int, folder: Path) -> None:
    """Run this module in a process of its own, and assert that nothing was mixed, wrong or lost.

    Args:
        workspace: path or uri of the workspace.
        kills: the number of runs to kill.
        folder: the current directory of the process.
    """
    paths = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "harness.pair_killer", workspace, str(kills)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["killed"] == kills
    assert seen["lost"] == seen["mixed"] == seen["reader failed"] == 0, (seen, done.stderr[-5000:])
    assert not [name for name in seen if name.startswith("raw")], seen
    assert seen["together"] > 0
    assert seen["card"] > 0


class Trained(TaskOnKart[Any]):
    def output(self) -> dict[str, Target]:
        return {name: self.make_target(path) for name, path in OUTPUTS.items()}

    def run(self) -> None:
        run = f"{os.getpid()}-{time.time_ns()}"
        self.dump({"run": run, "filler": "m" * 1000}, "metrics")
        self.dump({"run": run, "filler": b"m" * 100_000}, "model")
        self.dump(f"run {run}\n" * 50, "notes")


class Card(TaskOnKart[list[str]]):
    """What is made of all three; loads them one by one, as many tasks do."""

    def requires(self) -> Trained:
        return Trained()

    def run(self) -> None:
        outputs = Trained().output()
        self.dump(runs_of({name: self.load(outputs[name]) for name in random.sample(sorted(outputs), 3)}))


def runs_of(loaded: dict[str, Any]) -> list[str]:
    """Return the runs that outputs say they are of, checked to be whole."""
    notes = loaded["notes"].splitlines()
    assert len(notes) == 50
    assert loaded["metrics"]["filler"] == "m" * 1000
    assert loaded["model"]["filler"] == b"m" * 100_000
    return [loaded["metrics"]["run"], loaded["model"]["run"], *{line.removeprefix("run ") for line in notes}]


def forked(work: Callable[[], object]) -> int:
    child = os.fork()
    if not child:
        code = 1
        try:
            work()
            code = 0
        except BaseException:  # told, and then the fork ends
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def ends(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def train(dies: int) -> None:
    """Make the outputs again, and die at one of the steps of the publication."""
    store: Any = type(next(iter(Trained().output().values())).store)
    upload = store.upload
    steps = iter(range(1_000_000))

    def watched(self: Any, uri: str, **options: Any) -> Any:
        made = upload(self, uri, **options)
        publish = made.publish

        def publish_or_die(*expected: Any) -> Any:
            step = next(steps)
            if dies == 2 * step:
                os.kill(os.getpid(), signal.SIGKILL)
            version = publish(*expected)
            if dies == 2 * step + 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return version

        if any(f"/{path.partition('/')[0]}/" in uri for path in OUTPUTS.values()):
            made.publish = publish_or_die
        return made

    store.upload = watched
    build(Trained(), rerun=["Trained"])


def read(stop: Path, told: Path) -> None:
    """Load the outputs together and one by one, until told to stop."""
    seen: Counter[str] = Counter()
    build(Card())
    while not stop.exists():
        for kind, load in (("together", load_together), ("card", make_card)):
            try:
                runs = load()
            except (ArtifactError, MissingInputError, ObjectChangedError) as error:
                seen[f"{kind} {type(error).__name__}"] += 1
                time.sleep(0.01)
            except Exception as error:  # counted, and expected to be none
                seen[f"raw {type(error).__name__}: {error}"[:200]] += 1
            else:
                seen[kind] += 1
                seen["mixed"] += len(set(runs)) > 1
    told.write_text(json.dumps(seen))


def load_together() -> list[str]:
    return runs_of(load_nested(Trained().output()))


def make_card() -> list[str]:
    from airflow_kart.runtime.runner import run_task

    run_task(Card(), force=True)
    made: list[str] = Card().output().load()
    return made


def main(directory: str, kills: int) -> None:
    """Kill so many runs, and print what was seen."""
    stop, told = Path("stop"), Path("told.json")
    if directory.startswith("s3://"):  # loaded once, as each fork would take seconds for it
        importlib.import_module("airflow.providers.amazon.aws.hooks.s3")
    together._PATIENCE = 0.3  # a dead writer is not waited for
    publication._PATIENCE = 0.3
    seen: Counter[str] = Counter()
    with Workspace(directory):
        assert ends(forked(lambda: build(Card()))) == 0
        started = time.perf_counter()
        assert ends(forked(lambda: build(Trained(), rerun=["Trained"]))) == 0
        takes = time.perf_counter() - started
        reader = forked(lambda: read(stop, told))
        while seen["killed"] < kills:
            at_random = random.random() < 1 / 3
            dies = -1 if at_random else random.randrange(6, 2 * (_STEPS + 3))  # the first three mark for recomputation
            child = forked(lambda dies=dies: train(dies))  # type: ignore[misc]
            if at_random:
                time.sleep(random.uniform(0, takes))
                os.kill(child, signal.SIGKILL)
            seen["killed" if ends(child) == -9 else "survived"] += 1
            if random.random() < 0.4:  # the others die again before anything is whole
                seen["lost"] += ends(forked(recover)) != 0
        seen["lost"] += ends(forked(recover)) != 0
        stop.touch()
        seen["reader failed"] = ends(reader) != 0
    print(json.dumps({**seen, **json.loads(told.read_text())}))


def recover() -> None:
    """Make what is not complete, and look whether all of it is of one run."""
    assert len(set(runs_of(build(Trained())))) == 1
    assert Trained().complete()
    assert len(set(load_together())) == 1


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
