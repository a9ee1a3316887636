"""What every store promises, and what only the local one does."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import tracemalloc
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.own_store import OwnStore
from harness.store_conformance import MB, EveryStore, get, put

from airflow_kart import TaskOnKart, Workspace, build
from airflow_kart.exceptions import ConfigurationError, StorageError, TargetPathError
from airflow_kart.storage import LocalStore, MemoryStore, Store, join_uri, register_store, store_for

Factory = Callable[[Path], tuple[Store, str]]


def local(directory: Path) -> tuple[Store, str]:
    return LocalStore(), str(directory / "store")


def memory(directory: Path) -> tuple[Store, str]:
    return MemoryStore(), f"memory://{directory.name}/store"


def documented(directory: Path) -> tuple[Store, str]:
    """The store that docs/storage.md shows how to write."""
    return OwnStore(directory / "artifacts.db"), f"sqlite://{directory.name}/store"


FACTORIES: list[Factory] = [local, memory, documented]
"""Each makes a store and gives a uri below which a test may do what it likes."""


@pytest.fixture(params=FACTORIES, ids=lambda factory: factory.__name__)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Store, str]:
    made: tuple[Store, str] = request.param(tmp_path)
    return made


@pytest.fixture
def store(place: tuple[Store, str]) -> Store:
    return place[0]


@pytest.fixture
def base(place: tuple[Store, str]) -> str:
    return place[1]


class TestEveryStore(EveryStore):
    def test_writers_take_turns(self, store: Store, base: str) -> None:
        if not store.turns_exclude:
            pytest.skip("a store without turns")
        uris = [f"{base}/a.bin", f"{base}/b/c.bin"]
        inside: list[int] = []
        most: list[int] = []

        def publish() -> None:
            for _ in range(50):
                with store.publishing(uris), store.publishing(uris[:1]):  # a turn inside one's own turn does not wait
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()

        threads = [threading.Thread(target=publish) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in threads)
        assert max(most) == 1
        assert len(most) == 200


# A store of the user's own.


def test_a_scheme_gets_a_store(tmp_path: Path, own_scheme: str) -> None:
    with Workspace(f"{own_scheme}://a/b") as workspace:
        assert store_for(f"{own_scheme}://c") is workspace.store
        assert build(Five()) == 5
        assert len(list(workspace.store.list(f"{own_scheme}://a/b/"))) == 2
        assert Five().complete()
    replaced = OwnStore(tmp_path / "other.db")
    with pytest.raises(ConfigurationError, match="has a store already; pass replace=True"):
        register_store(own_scheme, lambda: replaced)
    register_store(own_scheme.upper(), lambda: replaced, replace=True)
    assert store_for(f"{own_scheme}://c") is replaced


@pytest.mark.parametrize("scheme", ["s3", "GS", "file", "memory", "", "a b", "1a", "a://"])
def test_some_schemes_get_no_store_of_their_own(scheme: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot have a store of its own; take another scheme"):
        register_store(scheme, MemoryStore)


class Five(TaskOnKart[int]):
    def run(self) -> None:
        self.dump(5)


# Only local.


def test_a_directory_is_no_object(tmp_path: Path) -> None:
    assert LocalStore().stat(str(tmp_path)) is None


def test_a_file_uri_names_a_path(tmp_path: Path) -> None:
    put(LocalStore(), f"file://{tmp_path}/a%20b.txt", b"x")
    assert (tmp_path / "a b.txt").read_bytes() == b"x"
    put(LocalStore(), f"file://localhost{tmp_path}/c.txt", b"y")
    assert (tmp_path / "c.txt").read_bytes() == b"y"


def test_a_workspace_may_be_a_file_uri(tmp_path: Path) -> None:
    class Task(TaskOnKart[int]):
        def run(self) -> None:
            self.dump(1)

    with Workspace(f"file://{tmp_path}/ws"):
        target = Task().output()
        target.dump(1)
        assert target.load() == 1
        assert target.uri.startswith("file:///")
    assert len(list((tmp_path / "ws").rglob("*.pkl"))) == 1


def test_a_file_uri_of_another_host_is_refused() -> None:
    with pytest.raises(StorageError, match="cannot name another host; mount its disk and use the path"):
        LocalStore().stat("file://elsewhere/a")


@pytest.mark.parametrize("mark", ["#", "?"])
def test_file_uris_that_differ_are_files_that_differ(tmp_path: Path, mark: str) -> None:
    for name in "ab":
        put(LocalStore(), join_uri(f"file://{tmp_path}", f"x{mark}{name}"), name.encode())
    assert get(LocalStore(), join_uri(f"file://{tmp_path}", f"x{mark}a")) == b"a"


def test_listing_a_file_uri_gives_file_uris(tmp_path: Path) -> None:
    put(LocalStore(), f"file://{tmp_path}/a", b"")
    assert list(LocalStore().list(f"file://{tmp_path}/")) == [f"file://{tmp_path}/a"]


def test_below_a_file_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"could not write .*/file/ws/a: .*(a part of the path is a file|File exists)"):
        LocalStore().upload(str(tmp_path / "file/ws/a"))
    with pytest.raises(StorageError):
        LocalStore().check_writable(str(tmp_path / "file"))


def test_a_place_that_cannot_be_written_to_is_named() -> None:
    with pytest.raises(StorageError, match=r"could not write /proc/kart/probe"):
        LocalStore().check_writable("/proc/kart")


def test_a_directory_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    acts: list[Callable[[], object]] = [
        lambda: put(LocalStore(), str(tmp_path / "a"), b"x"),
        lambda: LocalStore().open(str(tmp_path / "a")),
    ]
    for act in acts:
        with pytest.raises(StorageError, match="a directory is in the way"):
            act()


def test_a_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"choose a shorter path in make_target"):
        put(LocalStore(), str(tmp_path / ("x" * 300)), b"x")
    with pytest.raises(StorageError, match="name is too long"):
        LocalStore().stat(str(tmp_path / ("x" * 300)))


FULL_DISK = """
import os, pathlib, sys
import pandas as pd
from airflow_kart.exceptions import StorageError
from airflow_kart.formats import format_for
from airflow_kart.storage import LocalStore
from airflow_kart.artifacts.target import Target

small, text = pathlib.Path(sys.argv[1]), os.urandom(1 << 20).hex()
frame = pd.DataFrame({"a": [text[n : n + 8] for n in range(0, len(text), 8)]})
objects = {"parquet": frame, "csv": frame, "png": bytes.fromhex("89504e470d0a1a0a") + os.urandom(2 << 20)}
for extension in ["pkl", "parquet", "csv", "txt", "json", "png"]:
    target = Target(str(small / f"a.{extension}"), format_for(f"a.{extension}"), LocalStore())
    try:
        target.dump(objects.get(extension, text))
    except StorageError as error:
        assert f"could not write {small}/a.{extension}: no space is left there; free some, or choose" in str(error), error
    else:
        sys.exit(f"{extension} fits")
    assert [path for path in small.rglob("*") if path.is_file()] == [], extension
    assert target.state().reason == "no artifact"
target = Target(str(small / "b.txt"), format_for("b.txt"), LocalStore())
target.dump("small")
assert target.load() == "small"
"""
MOUNT_AND_RUN = 'mount -t tmpfs -o size=1m tmpfs "$1" || exit 77; exec "$2" -c "$3" "$1"'


def test_a_full_disk_is_named_and_left_as_it_was(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    # A mount namespace of its own, so that nothing stays mounted however the test ends.
    command = ["unshare", "--mount", "sh", "-c", MOUNT_AND_RUN, "sh", str(small), sys.executable, FULL_DISK]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        pytest.skip("there is no unshare here to mount a small file system with")
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"mounting a small file system is not permitted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr


ABANDON = """
import os, signal, sys
from airflow_kart.storage import LocalStore
upload = LocalStore().upload(sys.argv[1])
upload.write(b"half")
print(os.getpid(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path, python: Any, leftovers: Any) -> None:
    for _ in range(3):
        python("-c", ABANDON, tmp_path / "a.bin", exits=-9)
    assert len(leftovers(tmp_path)) == 1
    put(LocalStore(), str(tmp_path / "other.bin"), b"x")
    assert leftovers(tmp_path) == []


def test_uploads_of_living_writers_stay(tmp_path: Path, leftovers: Any) -> None:
    mine = LocalStore().upload(str(tmp_path / "a.bin"))
    mine.write(b"mine")
    (tmp_path / ".kart-uploads/00000000-1-00000000").write_bytes(b"of another host")
    (tmp_path / ".kart-uploads/notes.txt").write_bytes(b"of nobody")
    put(LocalStore(), str(tmp_path / "b.bin"), b"x")
    assert len(leftovers(tmp_path)) == 3
    mine.publish()
    assert get(LocalStore(), str(tmp_path / "a.bin")) == b"mine"


@pytest.mark.parametrize("fsync", [True, False])
def test_fsync_changes_nothing_that_can_be_seen(tmp_path: Path, fsync: bool) -> None:
    put(LocalStore(fsync=fsync), str(tmp_path / "a"), b"x")
    assert get(LocalStore(), str(tmp_path / "a")) == b"x"


@pytest.mark.parametrize(("text", "expected"), [("True", True), ("1", True), ("False", False), ("off", False)])
def test_fsync_is_an_option(monkeypatch: pytest.MonkeyPatch, text: str, expected: bool) -> None:
    monkeypatch.setenv("AIRFLOW__KART__FSYNC", text)
    assert LocalStore().fsync is expected


def test_files_get_the_permissions_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        put(LocalStore(), str(tmp_path / "a"), b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


# Only in memory.


def test_a_memory_workspace_outlives_its_blocks_but_not_the_process(python: Any) -> None:
    class Task(TaskOnKart[str]):
        def run(self) -> None:
            self.dump("made once")

    directory = f"memory://{uuid.uuid4().hex}/below"
    assert build(Task(), workspace_directory=directory) == "made once"
    with Workspace(directory) as workspace:
        target = Task().output()
        assert target.uri.startswith(f"{directory}/")
        assert target.exists()
        assert [uri.endswith((".pkl", ".kart.json")) for uri in workspace.store.list(f"{directory}/")] == [True, True]
        look = f"from airflow_kart.storage import store_for; print(store_for({target.uri!r}).stat({target.uri!r}))"
        assert python(code=look) == "None\n"
    with Workspace(f"{directory}/deeper"):
        assert not Task().complete()


def test_memory_uris_are_of_one_store_however_the_scheme_is_spelled() -> None:
    name = uuid.uuid4().hex
    assert store_for(f"memory://{name}") is store_for(f"MEMORY://{name}")
    put(store_for(f"memory://{name}"), f"memory://{name}/a", b"x")
    assert get(store_for(f"memory://{name}"), f"Memory://{name}/a") == b"x"
    assert list(store_for(f"memory://{name}").list(f"MEMORY://{name}/")) == [f"MEMORY://{name}/a"]


@pytest.mark.parametrize("uri", ["memory://", "memory:///", "memory:///a"])
def test_memory_without_a_name_is_refused(uri: str) -> None:
    class Task(TaskOnKart[int]):
        pass

    with pytest.raises(ConfigurationError, match="names no place in memory; write memory:// and a name"):
        store_for(uri)
    with Workspace(uri), pytest.raises(ConfigurationError, match="write memory:// and a name"):
        Task().output()


def test_readers_share_the_bytes() -> None:
    store, uri = MemoryStore(), "memory://large/a"
    upload = store.upload(uri)
    for _ in range(16):
        upload.write(bytes(MB))
    upload.finish()
    upload.publish()
    tracemalloc.start()
    try:
        streams = [store.open(uri) for _ in range(10)]
        whole = [stream.read() for stream in streams]
        assert tracemalloc.get_traced_memory()[1] < MB
    finally:
        tracemalloc.stop()
    assert all(one is whole[0] for one in whole)
    assert len(whole[0]) == 16 * MB


def test_who_writes_to_a_stream_changes_nothing() -> None:
    store = MemoryStore()
    put(store, "memory://ws/a", b"as it was")
    with store.open("memory://ws/a") as stream:
        stream.write(b"changed")
    assert get(store, "memory://ws/a") == b"as it was"


def test_other_processes_cannot_build_in_memory() -> None:
    class Task(TaskOnKart[int]):
        def run(self) -> None:
            self.dump(1)

    message = r"build\(workers=2\): other processes cannot see memory://ws; use workers=1, or a directory"
    with pytest.raises(ConfigurationError, match=message):
        build(Task(), workers=2, workspace_directory="memory://ws")


@pytest.mark.parametrize("uri", ["/a/b", "a/b", "file:///a", "FILE:///a"])
def test_paths_and_file_uris_are_local(uri: str) -> None:
    assert isinstance(store_for(uri), LocalStore)


@pytest.mark.parametrize("uri", ["s4://bucket/a", "bucket://a"])
def test_an_unknown_scheme_is_refused(uri: str) -> None:
    with pytest.raises(ConfigurationError, match=uri):
        store_for(uri)


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("a.pkl", "/ws/a.pkl"),
        ("a/b.pkl", "/ws/a/b.pkl"),
        ("./a.pkl", "/ws/a.pkl"),
        ("a//b.pkl", "/ws/a/b.pkl"),
        ("a/../b.pkl", "/ws/b.pkl"),
        ("..a", "/ws/..a"),
        ("ü b.pkl", "/ws/ü b.pkl"),
    ],
)
def test_a_path_is_joined(path: str, uri: str) -> None:
    assert join_uri("/ws", path) == join_uri("/ws/", path) == uri


@pytest.mark.parametrize(
    "path", ["", "/", "/a", "//a", "..", "../a", "a/../..", "a/../../b", ".", "a/", "a/..", "./", "a\0b"]
)
def test_a_path_that_is_not_below_the_workspace_is_refused(path: str) -> None:
    with pytest.raises(TargetPathError, match="is not a file below the workspace; give make_target a relative path"):
        join_uri("/ws", path)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("s3://bucket/x.pkl", "is a uri, and a task's targets lie below its workspace; .*or make the task an ExternalTask"),
        ("file:/x.pkl", "is a uri"),
        ("S3:/bucket/x.pkl", "is a uri"),
        ("custom+x://y", "is a uri"),
        (
            ".kart-uploads/x.pkl",
            r"is in a hidden folder of the workspace \(.kart-uploads, .kart-locks, .kart-index, .kart-catalogue, .kart-runs, .kart-pins\)",
        ),
        ("a/.kart-locks/x.pkl", "is in a hidden folder"),
        ("a/../.kart-locks", "is in a hidden folder"),
        ("a\nb.pkl", "has control characters or half characters in its name; give make_target printable ones"),
        ("a\x1b[2J.pkl", "has control characters"),
        ("a\u2028.pkl", "has control characters"),
        ("a\udcff.pkl", "has control characters or half characters"),
    ],
)
def test_names_that_no_target_should_have_are_refused(path: str, words: str) -> None:
    for directory in ("/ws", "s3://bucket/ws", "file:///ws"):
        with pytest.raises(TargetPathError, match=words):
            join_uri(directory, path)


@pytest.mark.parametrize("path", ["a:b.pkl", "C:/x.pkl", "data:/x.pkl", ".kart-locks.pkl", "x/.hidden/y.pkl", "ü 文.pkl"])
def test_unusual_names_will_do(path: str) -> None:
    assert join_uri("/ws", path) == f"/ws/{path}"


@pytest.mark.parametrize("given", ["file:/data/ws", Path("file:///data/ws"), "FILE:/data/ws"])
def test_a_file_uri_may_have_one_slash(given: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert Workspace(given).directory == "file:///data/ws"
    assert Workspace("/x", read_from=[given]).read_from == ("file:///data/ws",)  # type: ignore[arg-type]
    monkeypatch.setenv("AIRFLOW__KART__WORKSPACE_DIRECTORY", str(given))
    assert Workspace.current().directory == "file:///data/ws"
    with Workspace(f"file:{tmp_path}/ws"):
        assert build(Five()) == 5
    assert len(list((tmp_path / "ws").rglob("Five*.pkl"))) == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            Path("s3://bucket/ws"),
            "'s3:/bucket/ws' is no uri; write s3:// with two slashes, as a text: a pathlib.Path drops one",
        ),
        ("GS:/bucket", "is no uri; write GS:// with two slashes"),
        ("/ws/.kart-locks", "is in a hidden folder of a workspace"),
        ("s3://bucket/.kart-uploads/x", "is in a hidden folder of a workspace"),
        ("/ws\n", "has control characters or half characters in its name; choose printable ones"),
        ("s3://bucket/\udc80", "has control characters or half characters"),
    ],
)
def test_directories_that_no_workspace_should_have_are_refused(
    given: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Workspace(given)
    with pytest.raises(ConfigurationError, match=words):
        Workspace("/ws", read_from=(given,))
    if str(given).isprintable():
        monkeypatch.setenv("AIRFLOW__KART__WORKSPACE_DIRECTORY", str(given))
        with pytest.raises(ConfigurationError, match=words):
            Workspace.current()


def test_a_uri_of_others_has_a_printable_name_too() -> None:
    with pytest.raises(ConfigurationError, match=r"the uri 's3://bucket/a\\nb' has control characters"):
        store_for("s3://bucket/a\nb")
