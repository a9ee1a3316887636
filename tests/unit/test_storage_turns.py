"""Turns at publishing files: who waits for whom, for how long, and what becomes of turns in forks and after kills."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from harness.obstacles import OBSTACLES
from typing_extensions import Self

from airflow_kart.exceptions import StorageError
from airflow_kart.storage import LocalStore, lock_file, turns


@pytest.fixture(params=["ranges", "whole file"])
def locking(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Lock by ranges, as Linux does, and by whole files, as other kernels have to."""
    if request.param == "whole file":
        monkeypatch.setattr(lock_file, "_kernel_locks_ranges", lambda: False)
    elif not lock_file._kernel_locks_ranges():
        pytest.skip("this kernel locks no ranges")
    return str(request.param)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_PATIENCE", 0.4)
    monkeypatch.setattr(turns, "_SAY_AFTER", 0.1)


@pytest.mark.parametrize("name", ["a.json", "model", "a", ".hidden", ".hidden.csv.gz"])
def test_an_artifact_and_its_sidecar_have_one_turn(name: str) -> None:
    assert turns._place(name) == turns._place(f"{name}.kart.json")
    if lock_file._kernel_locks_ranges():
        assert turns._place("model") != turns._place("modem")


HOLD = """
import os, sys, time
from airflow_kart.storage import LocalStore, lock_file, turns
if {whole}: lock_file._kernel_locks_ranges = lambda: False
with LocalStore().publishing({uris!r}):
    print(os.getpid(), flush=True)
    {then}
"""


class Writer:
    """Another process in the midst of its turn."""

    def __init__(self, locking: str, *uris: str, then: str = "time.sleep(60)") -> None:
        code = HOLD.format(whole=locking != "ranges", uris=list(uris), then=then)
        self.process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.pid = int(self.process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.process.kill()
        self.process.communicate()


def takes_its_turn(*uris: str) -> float:
    began = time.monotonic()
    with LocalStore().publishing(uris):
        return time.monotonic() - began


@pytest.mark.usefixtures("impatient")
def test_a_stopped_writer_holds_up_the_writers_of_its_own_file_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine, other = str(tmp_path / "a" / "mine.pkl"), str(tmp_path / "a" / "other.pkl")
    with Writer("ranges", mine, str(tmp_path / "b" / "x.pkl")) as writer:
        os.kill(writer.pid, signal.SIGSTOP)
        assert takes_its_turn(other) < 0.3
        with pytest.raises(StorageError) as caught, LocalStore().publishing([other, mine]):
            pass
        assert takes_its_turn(other) < 0.3  # of the turn that was not to be had nothing is left
    words = str(caught.value)
    assert words.startswith(f"could not publish {mine}: process {writer.pid} on ")
    assert "if that process is stopped, continue or kill it, then run the task again" in words
    assert caught.value.uri == mine
    assert any(message.startswith(f"waiting to publish {mine}: process {writer.pid} on ") for message in caplog.messages)


@pytest.mark.usefixtures("impatient")
def test_a_whole_folder_waits_no_longer_than_that_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_file, "_kernel_locks_ranges", lambda: False)
    with Writer("whole file", str(tmp_path / "a")) as writer:
        words = rf"could not publish .*other: process {writer.pid} on .*, since 20"
        with pytest.raises(StorageError, match=words):
            takes_its_turn(str(tmp_path / "other"))


def test_the_second_of_two_folders_is_locked_too(tmp_path: Path, locking: str, impatient: None) -> None:
    with Writer(locking, str(tmp_path / "a" / "x"), str(tmp_path / "b" / "y")):
        for name in ("a/x", "b/y"):
            with pytest.raises(StorageError):
                takes_its_turn(str(tmp_path / name))


def test_a_killed_writer_frees_its_turn(tmp_path: Path, locking: str) -> None:
    uri = str(tmp_path / "x")
    with Writer(locking, uri) as writer:
        threading.Timer(0.2, os.kill, (writer.pid, signal.SIGKILL)).start()
        assert 0.1 < takes_its_turn(uri) < 5


def test_a_child_keeps_no_turn_of_a_parent_that_was_killed(tmp_path: Path, locking: str) -> None:
    uri = str(tmp_path / "x")
    with Writer(locking, uri, then="child = os.fork(); time.sleep(60)") as writer:
        children = Path(f"/proc/{writer.pid}/task/{writer.pid}/children")
        while not children.read_text():
            time.sleep(0.01)
        child = int(children.read_text())
        time.sleep(0.1)
        try:
            os.kill(writer.pid, signal.SIGKILL)
            assert takes_its_turn(uri) < 5
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_child_that_leaves_the_block_frees_nothing(tmp_path: Path, locking: str, impatient: None) -> None:
    uri = str(tmp_path / "x")
    then = "child = os.fork(); child and os.waitpid(child, 0); child and print('left', flush=True); child and time.sleep(60)"
    with Writer(locking, uri, then=then) as writer:
        assert writer.process.stdout is not None
        assert writer.process.stdout.readline() == "left\n"
        with pytest.raises(StorageError):
            takes_its_turn(uri)


def test_a_fork_during_anothers_turn_keeps_nobody_out(python: Callable[..., str], tmp_path: Path, locking: str) -> None:
    code = f"""
import os, threading, time
from airflow_kart.storage import LocalStore, lock_file, turns
if {locking != "ranges"}: lock_file._kernel_locks_ranges = lambda: False
store, uri, inside = LocalStore(), {str(tmp_path / "x")!r}, threading.Event()
def publish():
    with store.publishing([uri]):
        inside.set()
        time.sleep(0.3)
thread = threading.Thread(target=publish)
thread.start()
inside.wait()
child = os.fork()
if not child:
    time.sleep(30)
    os._exit(0)
thread.join()
began = time.monotonic()
with store.publishing([uri]):
    print(time.monotonic() - began < 1)
os.kill(child, 9)
"""
    assert python(code=code, env={"PYTHONWARNINGS": "ignore"}) == "True\n"


@pytest.fixture
def spellings(tmp_path: Path) -> list[str]:
    (tmp_path / "ws").mkdir()
    (tmp_path / "link").symlink_to("ws")
    return [f"{tmp_path}/ws", f"file://{tmp_path}/ws", f"{tmp_path}/link", f"{tmp_path}/ws/../ws"]


def test_ways_to_write_a_folder_do_not_wait_for_each_other_for_ever(spellings: list[str], locking: str) -> None:
    rounds, inside, most = [0], [0], [0]

    def write(spelling: str) -> None:
        store = LocalStore()
        equals = "%3D" if spelling.startswith("file://") else "="  # which sort on other sides of the hyphen
        for _ in range(150):
            with store.publishing([f"{spelling}/m{equals}1/x.txt", f"{spelling}/m-1/x.txt"]):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                rounds[0] += 1
                inside[0] -= 1

    with ThreadPoolExecutor(len(spellings)) as pool:
        for done in [pool.submit(write, spelling) for spelling in spellings]:
            done.result(60)
    assert most == [1]
    assert rounds == [600]


def test_one_file_may_be_named_twice(spellings: list[str], locking: str) -> None:
    assert takes_its_turn(*(f"{spelling}/x" for spelling in spellings)) < 1


def test_a_turn_inside_ones_own_turn_does_not_wait(spellings: list[str], locking: str) -> None:
    store = LocalStore()
    with ThreadPoolExecutor(1) as pool:
        with store.publishing([f"{spellings[0]}/x", f"{spellings[0]}/y"]):
            with store.publishing([f"{spellings[1]}/y"]), store.publishing([f"{spellings[2]}/x"]):
                pass
            other = pool.submit(takes_its_turn, f"{spellings[0]}/y")
            time.sleep(0.05)
            assert not other.done()
        assert other.result(10) > 0.01


def test_a_removed_lock_file_is_made_again(tmp_path: Path, locking: str, impatient: None) -> None:
    uri = str(tmp_path / "x")
    with Writer(locking, uri):
        (tmp_path / ".kart-uploads" / "publishing.lock").unlink()
        with Writer(locking, uri), pytest.raises(StorageError):
            takes_its_turn(uri)


@pytest.fixture
def precious(tmp_path: Path) -> Iterator[Path]:
    file = tmp_path / "precious"
    file.write_text("outside of the workspace " * 9)
    yield file
    assert file.read_text() == "outside of the workspace " * 9
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.usefixtures("precious")
@pytest.mark.parametrize(("obstruct", "words"), OBSTACLES)
def test_only_a_file_is_a_lock_file(tmp_path: Path, obstruct: Callable[[Path], None], words: str) -> None:
    path = tmp_path / "ws" / ".kart-uploads" / "publishing.lock"
    path.parent.mkdir(parents=True)
    obstruct(path)
    began = time.monotonic()
    with pytest.raises(StorageError, match=words) as caught:
        takes_its_turn(str(tmp_path / "ws" / "x"))
    assert caught.value.uri == str(path)
    assert time.monotonic() - began < 5


def test_words_that_others_have_left_are_harmless(tmp_path: Path, impatient: None, caplog: pytest.LogCaptureFixture) -> None:
    uri = str(tmp_path / "x")
    with Writer("ranges", uri) as writer:
        lock = tmp_path / ".kart-uploads" / "publishing.lock"
        said = lock.read_bytes()
        place, process, since, host = said.split(b" ", 3)
        assert (int(place), int(process)) == (turns._place("x"), writer.pid)
        for words in (
            b"[" * len(said),
            b"\xff" * len(said),
            b"%s 9e999 %s %s" % (place, since, host),
            b"%s %s %s %s" % (place, process, b"9" * 30, host),
            b"%s %s %s %s" % (place, process, b"9" * 5000, host),
            b"%d %s %s %s" % (int(place) + 1, process, since, host),
            said[:-1],
            b"%s %s %s \xff\n" % (place, process, since),
            b"",
        ):
            lock.write_bytes(words)
            with caplog.at_level(logging.WARNING), pytest.raises(StorageError, match="another process has kept its turn"):
                takes_its_turn(uri)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere Python asks a program for the platform's name")
def test_a_sidecars_environment_starts_no_process(python: Callable[..., str]) -> None:
    """Else it would wait for the end of all children that another thread forks at that moment."""
    code = """
import platform, subprocess
from airflow_kart.artifacts.sidecar.environment import environment
expected = platform.platform()
platform._uname_cache = None
def forbidden(*arguments, **_):
    raise AssertionError(arguments)
subprocess.Popen = forbidden
print(environment()["platform"] == expected)
"""
    assert python(code=code) == "True\n"


def test_of_two_that_remove_a_folder_the_slower_leaves_the_turn_of_a_writer_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, held, go = tmp_path / "d", threading.Event(), threading.Event()
    lock_all, calls = lock_file.LockFile.lock_all, []

    def holds() -> None:
        with turns.turn_at([str(folder / "a")]):
            held.set()
            go.wait(10)

    def slow(self: lock_file.LockFile) -> bool:
        calls.append(self)
        if len(calls) == 1:
            assert turns.remove_empty(str(folder))  # the faster one
            pool.submit(holds)
            assert held.wait(10)
        return lock_all(self)

    with turns.turn_at([str(folder / "a")]):
        pass
    monkeypatch.setattr(lock_file.LockFile, "lock_all", slow)
    with ThreadPoolExecutor(2) as pool:
        try:
            assert not turns.remove_empty(str(folder))
            third = pool.submit(lambda: turns.turn_at([str(folder / "a")]).__enter__())
            time.sleep(0.1)
            assert not third.done()
        finally:
            go.set()
        third.result(10)


def test_many_folders_keep_few_files_open(tmp_path: Path) -> None:
    for number in range(100):
        with turns.turn_at([str(tmp_path / str(number) / "a")]):
            pass
    assert len(turns._IDLE) <= turns._MOST_IDLE
    paths = [os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if _is_open(name)]
    assert sum(path.startswith(str(tmp_path)) for path in paths) <= turns._MOST_IDLE


def _is_open(name: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{name}")


def interrupted_at(step: int, work: Callable[[], None]) -> bool:
    """Do some work, and raise ``KeyboardInterrupt`` before the instruction of that number in turns and lock files."""
    left = step

    def trace(frame: Any, event: str, _argument: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in (turns.__file__, lock_file.__file__) or frame.f_code.co_name == "__del__":
            return None  # Python swallows what __del__ raises
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return False


def test_a_turn_that_an_interrupt_ends_anywhere_does_not_stay(locking: str, tmp_path: Path) -> None:
    path = str(tmp_path / "model.json")
    lock = tmp_path / ".kart-uploads" / "publishing.lock"
    place = turns._place("model.json")

    def one_turn() -> None:
        with turns.turn_at([path]), turns.turn_at([path]):
            pass

    def is_free() -> bool:
        with contextlib.closing(lock_file.LockFile(str(lock))) as other:
            return other.lock(place)

    one_turn()
    steps = 0
    while interrupted_at(steps + 1, one_turn):
        steps += 1
        assert is_free(), f"step {steps}"
        with turns.turn_at([path]):
            assert not is_free(), f"step {steps}"
        assert is_free(), f"step {steps}"
    assert steps > 100
