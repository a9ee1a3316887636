"""Worker processes: what becomes of exceptions on their way, and of the workers when their parent dies."""

from __future__ import annotations

import ast
import builtins
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import Self

from airflow_kart import StrParameter, TaskOnKart, build
from airflow_kart.exceptions import TaskFailedError
from airflow_kart.runtime.parcel import Parcel


class ShopError(Exception):
    def __init__(self, shop: str, code: int) -> None:
        super().__init__(f"{shop} said {code}")
        self.shop, self.code = shop, code


class LockedError(ShopError):
    def __init__(self, shop: str, code: int) -> None:
        super().__init__(shop, code)
        self.lock = threading.Lock()


class KeywordError(Exception):
    def __init__(self, text: str, *, request: object) -> None:
        super().__init__(text)
        self.request = request


class HiddenError(Exception):
    """Its words come from an attribute that cannot be pickled."""

    def __init__(self) -> None:
        self.words = (word for word in ["once"])

    def __str__(self) -> str:
        return f"{type(self.words).__name__}"


class RefusingError(Exception):
    def __reduce__(self) -> Any:
        raise RuntimeError("no")


class SilentError(Exception):
    def __new__(cls, *args: object) -> Self:
        if not args:
            raise TypeError("give words")
        return super().__new__(cls, *args)

    def __reduce__(self) -> Any:
        return (SilentError, ())


def travelled(error: BaseException) -> BaseException:
    found = pickle.loads(pickle.dumps(Parcel(error, "Fetch()")))
    assert isinstance(found, BaseException)
    return found


@pytest.mark.parametrize(
    "error",
    [
        ValueError("plain", 3),
        KeyError("k"),
        FileNotFoundError(2, "No such file", "/data/x"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "wrong"),
        ShopError("Kyoto", 503),
        LockedError("Kyoto", 503),
        KeywordError("Kyoto said 503", request="r"),
        RefusingError("Kyoto"),
        SilentError("Kyoto"),
        KeyboardInterrupt(),
        SystemExit(3),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_comes_back_as_itself(error: BaseException) -> None:
    found = travelled(error)
    assert type(found) is type(error)
    assert (str(found), found.args) == (str(error), error.args)
    for attributes in (vars(found), vars(error)):
        attributes.pop("lock", None)
    assert vars(found) == vars(error)


def test_a_class_of_this_moment_comes_back_too() -> None:
    class LocalError(ShopError):
        pass

    found = travelled(LocalError("Kyoto", 503))
    assert (type(found).__name__, str(found), vars(found)["code"]) == ("LocalError", "Kyoto said 503", 503)


def test_an_argument_that_cannot_be_pickled_becomes_its_words() -> None:
    found = travelled(ValueError("held", threading.Lock()))
    assert isinstance(found, (ValueError, TaskFailedError))
    assert "held" in str(found)


def test_words_are_all_that_is_left_where_an_exception_cannot_be_made_again() -> None:
    found = travelled(HiddenError())
    assert isinstance(found, TaskFailedError)
    assert str(found) == "Fetch() failed in a worker process: HiddenError: generator"
    assert found.task == "Fetch()"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.11 brought notes and groups")
def test_groups_and_notes_come_back() -> None:
    inner = ShopError("Kyoto", 503)
    vars(inner)["__notes__"] = ["while asking"]
    group: Any = vars(builtins)["ExceptionGroup"]
    found: Any = travelled(group("both", [LockedError("Osaka", 500), group("in it", [inner])]))
    assert str(found) == "both (2 sub-exceptions)"
    assert [str(each) for each in found.exceptions] == ["Osaka said 500", "in it (1 sub-exception)"]
    assert found.exceptions[1].exceptions[0].shop == "Kyoto"
    assert found.exceptions[1].exceptions[0].__notes__ == ["while asking"]


class Fails(TaskOnKart[int]):
    kind: str = StrParameter()

    def run(self) -> None:
        raise {"locked": LockedError, "shop": ShopError}[self.kind]("Kyoto", 503)


class Quick(TaskOnKart[int]):
    def run(self) -> None:
        self.dump(1)


class Both(TaskOnKart[int]):
    kind: str = StrParameter()

    def requires(self) -> Any:
        return [Fails(kind=self.kind), Quick()]

    def run(self) -> None:
        self.dump(1)


def test_a_tasks_own_exception_comes_through(workspace: Path) -> None:
    with pytest.raises(LockedError, match="Kyoto said 503") as caught:
        build(Both(kind="locked"), workers=2, progress=False)
    assert caught.value.code == 503
    assert "in run\n" in str(caught.value.__cause__)  # the traceback of the worker


PROCESSES = """
import os, sys
from airflow_kart import IntParameter, ListTaskInstanceParameter, OptionalTaskInstanceParameter, TaskOnKart, build

WIDTH, asked = 5, []

class Node(TaskOnKart[int]):
    layer: int = IntParameter()
    place: int = IntParameter()
    def requires(self):
        asked.append(self)
        return [Node(layer=self.layer - 1, place=place) for place in range(WIDTH)] if self.layer else []
    def run(self):
        self.dump(os.getpid() if self.layer else len(asked))

class Counts(TaskOnKart[dict]):
    '''How often this process has asked nodes for their requirements: many paths lead through few tasks.'''
    def requires(self):
        return [Node(layer=8, place=place) for place in range(WIDTH)]
    def run(self):
        self.dump({"asked": len(asked), "distinct": len(set(asked))})

class Link(TaskOnKart[int]):
    number: int = IntParameter()
    before: "TaskOnKart[int] | None" = OptionalTaskInstanceParameter(default=None)
    def run(self):
        self.dump(0 if self.before is None else self.load(self.before) + 1)

class Fickle(TaskOnKart[int]):
    def requires(self):
        return [Node(layer=0, place=0)] if __name__ == "__main__" else [Node(layer=0, place=1)]
    def run(self):
        self.dump(1)

class Both(TaskOnKart[int]):
    def requires(self):
        return [Fickle(), Node(layer=0, place=2)]
    def run(self):
        self.dump(2)

def chain(length):
    found = None
    for number in range(length):
        found = Link(number=number, before=found)
    return found

if __name__ == "__main__" or sys.argv[1] == "unguarded":
    task = {"counts": Counts, "chain": lambda: chain(400), "fickle": Both, "unguarded": Both}[sys.argv[1]]()
    print(build(task, workspace_directory=sys.argv[2], workers=2, progress=False))
"""


def test_a_worker_asks_each_task_once_for_its_requirements(python: Any, script: Any) -> None:
    counts = ast.literal_eval(python(script("processes.py", PROCESSES), "counts", "ws").splitlines()[-1])
    assert counts == {"asked": 45, "distinct": 45}


def test_a_long_chain_of_tasks_in_parameters(python: Any, script: Any) -> None:
    assert python(script("processes.py", PROCESSES), "chain", "ws").splitlines()[-1] == "399"


def failed(script: Any, tmp_path: Path, which: str) -> str:
    command = [sys.executable, script("processes.py", PROCESSES), which, tmp_path / "ws"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    return done.stderr.splitlines()[-1]


def test_a_task_that_is_another_one_in_a_worker_makes_nothing(script: Any, tmp_path: Path) -> None:
    error = failed(script, tmp_path, "fickle")
    assert re.search(r"IdentityError: Fickle\(\) has the unique id \w{32} in a worker process, but \w{32} in the one", error)
    assert list(tmp_path.rglob("Fickle*")) == []


def test_a_script_without_a_guard_is_told_so(script: Any, tmp_path: Path) -> None:
    assert "TaskFailedError: a worker process died before it had a task" in failed(script, tmp_path, "unguarded")


SLEEPER = """
import sys, time
from pathlib import Path
from airflow_kart import IntParameter, TaskOnKart, Workspace, build

class Sleeps(TaskOnKart[int]):
    number: int = IntParameter()
    def run(self):
        Path(sys.argv[1], f"begun{self.number}").touch()
        time.sleep(120)

class Both(TaskOnKart[int]):
    def requires(self):
        return [Sleeps(number=0), Sleeps(number=1)]

if __name__ == "__main__":
    with Workspace(sys.argv[1]):
        build(Both(), workers=2, progress=False)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_parent(tmp_path: Path, script: Any, number: signal.Signals) -> None:
    path = script("sleeper.py", SLEEPER)
    parent = subprocess.Popen([sys.executable, path, tmp_path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 100
    while not (tmp_path / "begun0").exists() or not (tmp_path / "begun1").exists():
        assert time.monotonic() < deadline and parent.poll() is None
        time.sleep(0.05)
    os.kill(parent.pid, number)
    parent.communicate(timeout=30)  # ends when no process holds the pipe any more
    assert parent.returncode == -number


LAST = """
import sys, threading, time
from airflow_kart import TaskOnKart, Workspace, build

class Large(TaskOnKart[bytes]):
    def run(self):
        threading.main_thread().join()
        self.dump(bytes(3_000_000))

def work():
    with Workspace(sys.argv[1]):
        print(len(build(Large())))

threading.Thread(target=work).start()
"""


def test_a_thread_may_dump_while_the_interpreter_ends(python: Any, tmp_path: Path) -> None:
    assert python(tmp_path / "ws", code=LAST).strip() == "3000000"
