"""Locks of the kind ``file``: in one file of bytes, and in a file for each lock where the kernel locks whole files only."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.lock_conformance import NAME, EveryLock, at_once, looked_at, seconds_of_a_lock, taken
from harness.lock_process import LockPlace
from harness.lock_words import Words
from harness.obstacles import OBSTACLES

from airflow_kart.exceptions import LockError, LockLostError
from airflow_kart.locks import Holder, Taken
from airflow_kart.locks.file import FileLocks
from airflow_kart.storage import LocalStore, lock_file

FORKS = {"PYTHONWARNINGS": "ignore"}


def without_ranges(directory: str) -> FileLocks:
    """Return locks as on a kernel that locks whole files only, in whichever process."""
    lock_file._kernel_locks_ranges = lambda: False  # type: ignore[assignment]
    return FileLocks(directory)


class TestFileLocks(EveryLock):
    @pytest.fixture
    def place(self, tmp_path: Path) -> LockPlace:
        return LockPlace(FileLocks, (str(tmp_path / "ws"),), None)


class TestFileLocksWithoutRanges(EveryLock):
    @pytest.fixture
    def place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LockPlace:
        monkeypatch.setattr(lock_file, "_kernel_locks_ranges", lambda: False)  # for the end of the test, too
        return LockPlace(without_ranges, (str(tmp_path / "ws"),), None)


@pytest.fixture(params=["ranges", "whole files"])
def locking(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Lock as Linux does, and as other kernels have to; the code that makes another process do the same."""
    if request.param == "ranges":
        if not lock_file._kernel_locks_ranges():
            pytest.skip("this kernel locks no ranges")
        return ""
    monkeypatch.setattr(lock_file, "_kernel_locks_ranges", lambda: False)
    return "from airflow_kart.storage import lock_file; lock_file._kernel_locks_ranges = lambda: False"


@pytest.fixture
def ranges() -> None:
    if not lock_file._kernel_locks_ranges():
        pytest.skip("this kernel locks no ranges")


def files_below(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("ranges")
def test_all_locks_are_in_one_file_that_stays_and_no_listing_shows_it(tmp_path: Path) -> None:
    locks = FileLocks(str(tmp_path))
    taken(locks).release()
    changed = (tmp_path / ".kart-locks").stat().st_mtime_ns
    for lease in [taken(locks, str(number)) for number in range(100)]:
        assert files_below(tmp_path) == {".kart-locks/held"}
        lease.release()
    assert (tmp_path / ".kart-locks").stat().st_mtime_ns == changed
    assert list(LocalStore().list(f"{tmp_path}/")) == []


def test_without_ranges_a_lock_has_a_file_that_its_release_removes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_file, "_kernel_locks_ranges", lambda: False)
    lease = taken(FileLocks(str(tmp_path)))
    assert files_below(tmp_path) == {f".kart-locks/{NAME}.lock"}
    lease.release()
    assert files_below(tmp_path) == set()


@pytest.mark.usefixtures("ranges")
def test_a_lock_without_a_rival_takes_five_system_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locks = FileLocks(str(tmp_path))
    taken(locks).release()
    asked: list[str] = []

    def counted(module: Any, name: str) -> None:
        real = getattr(module, name)

        def ask(*arguments: Any, **options: Any) -> Any:
            asked.append(name)
            return real(*arguments, **options)

        monkeypatch.setattr(module, name, ask)

    for name in ("open", "fstat", "stat", "pwrite", "pread", "close", "unlink", "makedirs"):
        counted(os, name)
    for name in ("fcntl", "flock"):
        counted(fcntl, name)
    lease = taken(locks, "another")
    lease.renew()
    lease.release()
    assert asked == ["fcntl", "stat", "pwrite", "stat", "fcntl"]


def test_a_file_whose_words_are_cut_off_is_held_by_nobody_knows_whom(tmp_path: Path, locking: str) -> None:
    locks, words = FileLocks(str(tmp_path)), Words(tmp_path, NAME)
    lease = taken(locks)
    good = words.read() + b"\n"
    for line in (
        b"",
        words.mark,
        words.mark + b"{\n",
        words.mark + b'{"task": "x"}\n',
        b"[1]\n",
        good[:-1],
        good[:-5],
        good[1:],
    ):
        words.replace(line)
        assert locks.look(NAME) == Taken(None)
    words.replace(good)
    assert locks.look(NAME) == Taken(lease.holder)
    lease.release()


def test_what_a_killed_holder_wrote_is_written_over(tmp_path: Path, locking: str) -> None:
    locks, words = FileLocks(str(tmp_path)), Words(tmp_path, NAME)
    words.file.parent.mkdir()
    words.replace(words.mark + Holder("x" * 1000).to_json().encode() + b"\n")
    assert locks.look(NAME) is None
    holder = Holder("Train")
    lease = locks.acquire(NAME, holder)
    assert json.loads(words.read().removeprefix(words.mark))["task"] == "Train"
    assert locks.look(NAME) == Taken(holder)
    assert not isinstance(lease, Taken)
    lease.release()


def held_by(locks: FileLocks, name: str) -> str | None:
    found = locks.look(name)
    assert found is not None
    return found.holder.task if found.holder is not None else None


def test_many_locks_at_once_have_words_of_their_own_however_many_come_and_go(tmp_path: Path, locking: str) -> None:
    others = FileLocks(str(tmp_path))
    for locks in (FileLocks(str(tmp_path)), FileLocks(str(tmp_path))):
        names = [f"{number}-{id(locks)}" for number in range(60)]
        leases = [taken(locks, name, name) for name in names]
        for number in range(300):
            taken(others, f"other-{number}").release()
        assert [held_by(others, name) for name in names] == names
        for lease in leases:
            lease.release()
        assert [others.look(name) for name in names] == [None] * 60
    if not locking:
        assert os.stat(Words(tmp_path, NAME).file).st_size < 130 * lock_file._SLOT


@pytest.mark.usefixtures("ranges")
def test_where_all_slots_are_claimed_locks_share_one_and_words_are_never_taken_for_another_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_file, "_SLOTS", 4)
    locks = FileLocks(str(tmp_path))
    leases = [taken(locks, str(number), str(number)) for number in range(6)]
    assert [held_by(locks, str(number)) for number in range(6)] == ["0", "1", "2", None, None, "5"]
    for lease in leases:
        lease.renew()
        lease.release()
    assert [locks.look(str(number)) for number in range(6)] == [None] * 6


@pytest.mark.usefixtures("ranges")
def test_long_words_run_on_and_are_whole_or_nobodys(tmp_path: Path) -> None:
    locks = FileLocks(str(tmp_path))
    ids = {"dag_id": "d" * 250, "run_id": "é" * 250, "task_id": "文" * 250, "try_number": 1}
    long = locks.acquire("long", Holder("🚂" * 5000, ids))
    assert not isinstance(long, Taken)
    seen = locks.look("long")
    assert seen is not None and seen.holder is not None
    assert (seen.holder.task, seen.holder.airflow) == ("🚂" * 2000, ids)
    near = taken(locks, "near", "Near")
    assert (held_by(locks, "long"), held_by(locks, "near")) == (None, "Near")
    again = FileLocks(str(tmp_path))
    long.release()
    lease = again.acquire("long", Holder("🚂" * 5000, ids))  # the next slot is its neighbour's
    assert not isinstance(lease, Taken)
    assert held_by(locks, "near") == "Near"
    lease.release()
    near.release()


@pytest.mark.usefixtures("ranges")
def test_a_lock_that_a_stranger_made_has_no_words(tmp_path: Path) -> None:
    locks = FileLocks(str(tmp_path))
    taken(locks).release()
    with Words(tmp_path, NAME).file.open("r+b") as strange:
        fcntl.fcntl(
            strange, lock_file._F_OFD_SETLK, lock_file._FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, lock_file._FIRST, 0, 0)
        )
        assert locks.look(NAME) == Taken(None)
        assert locks.acquire(NAME, Holder("Train")) == Taken(None)
        assert FileLocks(str(tmp_path)).acquire("other", Holder("Train")) == Taken(None)
    taken(locks).release()


@pytest.mark.usefixtures("ranges")
def test_places_are_apart_and_lie_behind_all_words() -> None:
    places = {lock_file.place_of(str(number)) for number in range(20_000)}
    assert len(places) == 20_000
    assert min(places) >= lock_file._FIRST > lock_file._SLOTS * lock_file._SLOT + lock_file._LONGEST
    assert 1 << 62 < max(places) < (1 << 63) - lock_file._SLOTS
    assert {place % lock_file._SLOTS for place in places} == {0}  # a place is as long as there are slots


@pytest.mark.parametrize(("obstruct", "words"), OBSTACLES)
def test_only_a_regular_file_is_locked_and_nothing_elsewhere_is_changed(
    tmp_path: Path, obstruct: Callable[[Path], None], words: str, locking: str
) -> None:
    path = Words(tmp_path / "ws", NAME).file
    path.parent.mkdir(parents=True)
    (tmp_path / "precious").write_text("precious")
    obstruct(path)
    locks, began = FileLocks(str(tmp_path / "ws")), time.monotonic()
    for ask in (lambda: locks.acquire(NAME, Holder("Train")), lambda: locks.look(NAME)):
        with pytest.raises(LockError, match=words) as caught:
            ask()
        assert caught.value.uri == str(path)
    assert time.monotonic() - began < 5
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


def test_a_file_that_became_a_link_is_a_lost_lock(tmp_path: Path, locking: str) -> None:
    lease = taken(FileLocks(str(tmp_path)))
    file = Words(tmp_path, NAME).file
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LockLostError, match="was removed while it was held"):
        lease.renew()
    lease.release()
    assert (tmp_path / "elsewhere").exists()


def test_a_removed_file_is_a_lost_lock(tmp_path: Path, locking: str) -> None:
    locks = FileLocks(str(tmp_path))
    old = taken(locks)
    Words(tmp_path, NAME).file.unlink()
    new = taken(locks)
    with pytest.raises(LockLostError, match="was removed while it was held"):
        old.renew()
    old.release()
    assert isinstance(FileLocks(str(tmp_path)).acquire(NAME, Holder("Other")), Taken)
    new.renew()
    new.release()


def test_a_workspace_that_was_removed_between_two_locks_is_made_again(tmp_path: Path, locking: str) -> None:
    locks = FileLocks(str(tmp_path))
    for _ in range(3):
        lease = taken(locks)
        lease.renew()
        lease.release()
        for file in (tmp_path / ".kart-locks").iterdir():
            file.unlink()
        (tmp_path / ".kart-locks").rmdir()
    assert locks.look(NAME) is None
    assert files_below(tmp_path) == set()  # looking makes nothing


def test_two_openings_in_one_process_exclude_each_other(tmp_path: Path, locking: str) -> None:
    openings = [FileLocks(str(tmp_path)) for _ in range(2)]
    inside, most, had = [0], [0], [0, 0]
    end = time.monotonic() + 0.5

    def work(number: int) -> None:
        while time.monotonic() < end:
            found = openings[number].acquire(NAME, Holder(str(number)))
            if isinstance(found, Taken):
                continue
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.0005)
            inside[0] -= 1
            had[number] += 1
            found.release()

    numbers = iter([0, 1, 0, 1])
    at_once(lambda: work(next(numbers)), 4)
    assert most == [1]
    assert sum(had) >= 1


def test_a_lease_that_nobody_released_is_free_with_its_end(tmp_path: Path, locking: str) -> None:
    locks = FileLocks(str(tmp_path))
    kept = taken(locks, "kept")
    lease = taken(locks)
    assert isinstance(locks.look(NAME), Taken)
    del lease
    assert locks.look(NAME) is None
    taken(locks).release()
    assert isinstance(locks.look("kept"), Taken)
    kept.release()


@pytest.mark.usefixtures("ranges")
def test_looking_at_ranges_gets_in_nobodys_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locks = FileLocks(str(tmp_path))
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("had to try again"))
    with looked_at(locks, 2):
        for _ in range(300):
            taken(locks).release()


def test_a_second_lease_is_held_across_a_fork_by_nobody_but_the_parent(
    python: Callable[..., str], tmp_path: Path, locking: str
) -> None:
    code = f"""
import os, time
from airflow_kart.exceptions import LockLostError
from airflow_kart.locks import Holder, Taken
from airflow_kart.locks.file import FileLocks
{locking}
locks = FileLocks({str(tmp_path)!r})
leases = [locks.acquire(name, Holder(name)) for name in ("first", "second")]
locks.acquire("idle", Holder("idle")).release()  # what stays open for the next lock is the parent's, too
reading, writing = os.pipe()
child = os.fork()
if not child:
    for lease in leases:
        try:
            lease.renew()
        except LockLostError:
            os.write(writing, b"not mine\\n")
        lease.release()  # does nothing: the leases are the parent's
        if isinstance(locks.acquire(lease.holder.task, Holder("child")), Taken):
            os.write(writing, b"taken\\n")
    own = locks.acquire("third", Holder("child"))
    del lease, leases
    os.write(writing, b"ready\\n")
    time.sleep(60)
    os._exit(0)
said = b""
while b"ready" not in said:
    said += os.read(reading, 100)
print(said.decode().split())
print([isinstance(locks.look(name), Taken) for name in ("first", "second", "third")])
print(isinstance(locks.acquire("third", Holder("parent")), Taken))
locks.acquire("idle", Holder("idle")).release()
for lease in leases:
    lease.renew()
    lease.release()
print([locks.look(name) for name in ("first", "second", "idle")])
os.kill(child, 9)
os.waitpid(child, 0)
print(locks.look("third"))
"""
    assert python(code=code, env=FORKS).splitlines() == [
        "['not', 'mine', 'taken', 'not', 'mine', 'taken', 'ready']",
        "[True, True, True]",
        "True",
        "[None, None, None]",
        "None",
    ]


def test_forks_in_the_midst_of_locking_keep_nobody_out(python: Callable[..., str], tmp_path: Path, locking: str) -> None:
    code = f"""
import os, threading, time
from airflow_kart.locks import Holder, Taken
from airflow_kart.locks.file import FileLocks
{locking}
locks, end, failed = FileLocks({str(tmp_path)!r}), threading.Event(), []
def work(name):
    while not end.is_set():
        lease = locks.acquire(name, Holder(name))
        if isinstance(lease, Taken):
            failed.append(name)
        else:
            lease.renew()
            lease.release()
threads = [threading.Thread(target=work, args=(str(number),)) for number in range(3)]
for thread in threads:
    thread.start()
children, good = [], 0
for number in range(15):
    time.sleep(0.01)
    child = os.fork()
    if not child:
        lease = locks.acquire(f"child {{number}}".replace(" ", "-"), Holder("child"))
        if isinstance(lease, Taken):
            os._exit(1)
        lease.renew()
        lease.release()
        time.sleep(60)
        os._exit(0)
    children.append(child)
time.sleep(0.3)
end.set()
for thread in threads:
    thread.join()
print(failed, [locks.look(str(number)) for number in range(3)])
for child in children:
    os.kill(child, 9)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert python(code=code, env=FORKS).splitlines() == ["[] [None, None, None]", *["-9"] * 15]


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locking: str) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    locks = FileLocks(str(tmp_path))
    with monkeypatch.context() as patch:
        for name in ("flock", "fcntl"):
            patch.setattr(fcntl, name, refuse)  # such a file system is not to be had here
        with pytest.raises(LockError, match=r"keeps no locks .*set \[kart\] lock to lease or redis, or to none"):
            locks.acquire(NAME, Holder("Train"))
    taken(locks).release()


def test_a_disk_that_takes_no_words_is_named_and_the_lock_is_free(
    python: Callable[..., str], tmp_path: Path, locking: str
) -> None:
    code = f"""
import resource, signal
from airflow_kart.exceptions import LockError
from airflow_kart.locks import Holder
from airflow_kart.locks.file import FileLocks
{locking}
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
locks = FileLocks({str(tmp_path)!r})
try:
    locks.acquire("name", Holder("Train"))
except LockError as error:
    print(str(error).partition(": ")[2].partition(";")[0])
    print(locks.look("name"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(locks.acquire("name", Holder("Train")).holder.task)
"""
    assert python(code=code).splitlines() == ["File too large", "None", "Train"]


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path, locking: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LockError, match=r"could not lock .*file/.kart-locks/.*\[kart\] lock"):
        FileLocks(str(tmp_path / "file")).acquire(NAME, Holder("Train"))


def test_locking_a_file_takes_less_than_a_millisecond(tmp_path: Path) -> None:
    assert seconds_of_a_lock(FileLocks(str(tmp_path)), 20) < 0.001


def test_a_whole_file_that_others_only_look_at_is_tried_again_after_a_short_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_file, "_kernel_locks_ranges", lambda: False)
    locks = FileLocks(str(tmp_path))
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    taken(locks).release()
    with Words(tmp_path, NAME).file.open("wb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        for _ in range(5):
            assert locks.acquire(NAME, Holder("Train")) == Taken(None)
    assert len(waits) % 5 == 0
    tries = len(waits) // 5
    assert tries > 1
    for count, wait in enumerate(waits):
        assert 0 <= wait <= 0.001 * (count % tries)
    assert max(waits) > 0.001
    taken(locks).release()


def test_a_folder_that_another_run_makes_just_before_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locking: str
) -> None:
    real = os.open

    def overtaken(path: str, *options: int) -> int:
        monkeypatch.setattr(os, "open", real)
        (tmp_path / ".kart-locks").mkdir()
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "open", overtaken)
    taken(FileLocks(str(tmp_path))).release()


def test_a_process_that_ends_while_it_holds_locks_and_uploads_says_nothing(tmp_path: Path) -> None:
    code = f"""
import contextlib
from airflow_kart.locks import Holder
from airflow_kart.locks.file import FileLocks
from airflow_kart.storage.local import LocalStore
locks = FileLocks({str(tmp_path / "locks")!r})
lease = locks.acquire("name", Holder("me"))
upload = LocalStore().upload({str(tmp_path / "artifact")!r})
contextlib.suppress = None  # as Python leaves a module that was taken down first
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
