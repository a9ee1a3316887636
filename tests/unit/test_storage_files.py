"""Files that are none, and disks that fail: the local store names the uri and the remedy, and never waits."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.store_conformance import get, put

from airflow_kart import Target, TaskOnKart, Workspace, build
from airflow_kart.exceptions import KartError, StorageError
from airflow_kart.storage import LocalStore, local


def a_named_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made, tempfile.TemporaryDirectory() as short:
        made.bind(f"{short}/s")
        os.rename(f"{short}/s", path)


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_folder(path: Path) -> None:
    path.mkdir()


OBSTACLES = [
    (a_named_pipe, "a named pipe is in the way"),
    (a_socket, "a socket or a device is in the way"),
    (a_device, "a device is in the way"),
    (a_folder, "a directory is in the way"),
]


@pytest.mark.parametrize(("obstruct", "words"), OBSTACLES)
def test_only_files_are_read(tmp_path: Path, obstruct: Callable[[Path], None], words: str) -> None:
    path, store = tmp_path / "x", LocalStore()
    obstruct(path)
    assert store.stat(str(path)) is None
    for read in (store.open, store.read):
        began = time.monotonic()
        with pytest.raises(StorageError, match=f"could not read {path}: {words}") as caught:
            read(str(path))
        assert time.monotonic() - began < 2
        assert caught.value.uri == str(path)


class Five(TaskOnKart[int]):
    def run(self) -> None:
        self.dump(5)


@pytest.mark.parametrize("suffix", ["", ".kart.json"])
@pytest.mark.parametrize(("obstruct", "words"), OBSTACLES)
def test_a_task_with_an_obstacle_in_its_way_ends(
    workspace: Path, suffix: str, obstruct: Callable[[Path], None], words: str
) -> None:
    path = Path(Five().output().uri + suffix)
    path.parent.mkdir(parents=True)
    obstruct(path)
    try:
        assert build(Five()) == 5  # publishing has replaced the obstacle
    except KartError as error:
        assert words in str(error)
        assert error.uri == str(path)


def test_links_to_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"x")
    (tmp_path / "link").symlink_to("there")
    assert get(LocalStore(), str(tmp_path / "link")) == b"x"
    assert LocalStore().stat(str(tmp_path / "link")) is not None


def test_a_disk_that_fails_while_it_is_read_is_named() -> None:
    store, uri = LocalStore(), "/proc/self/mem"  # whose first bytes nobody can read
    with store.open(uri) as stream:
        reads: list[Callable[[], bytes]] = [lambda: stream.read(10), stream.read, stream.readline]
        for read in reads:
            with pytest.raises(StorageError, match=r"could not read /proc/self/mem: the disk failed") as caught:
                read()
            assert caught.value.uri == uri
    with pytest.raises(StorageError, match="the disk failed"):
        store.read(uri)


def test_a_stream_is_a_file_for_those_who_ask(tmp_path: Path) -> None:
    store, uri = LocalStore(), str(tmp_path / "x")
    put(store, uri, b"0123456789")
    with store.open(uri) as stream:
        assert os.pread(stream.fileno(), 3, 4) == b"456"
        assert stream.name == uri
        with pytest.raises(OSError, match="Invalid argument") as caught:
            stream.seek(-20, os.SEEK_END)
        assert not isinstance(caught.value, KartError)
        with pytest.raises(zipfile.BadZipFile):  # which relies on that
            zipfile.ZipFile(stream)
        stream.seek(0)
        assert io.TextIOWrapper(stream).read() == "0123456789"
    assert stream.closed


def test_what_is_too_large_for_a_small_object_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "LARGEST_READ", 100)
    store, uri = LocalStore(), str(tmp_path / "x")
    put(store, uri, b"x" * 100)
    assert store.read(uri) is not None
    put(store, uri, b"x" * 101)
    with pytest.raises(StorageError, match="101 bytes are too many for a small file"):
        store.read(uri)
    assert len(get(store, uri)) == 101


def test_who_may_not_write_is_told_what_users_of_one_workspace_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    store = LocalStore()
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)  # as these tests may be run by root, to whom nothing is refused
        words = r"could not lock .*permission denied; .*a common group, folders with g\+ws"
        with pytest.raises(StorageError, match=words), store.publishing([str(tmp_path / "x")]):
            pass


def fill_the_disk(*_: object) -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        full.write(b"x")


class Model(TaskOnKart[str]):
    def output(self) -> Target:
        return self.make_model_target("model.zip", save_function=SAVE[0], load_function=LOAD[0])

    def run(self) -> None:
        self.dump("x")


def save(obj: str, path: str) -> None:
    Path(path).write_text(obj)


def load(path: str) -> str:
    return Path(path).read_text()


SAVE: list[Callable[[str, str], None]] = [save]
LOAD: list[Callable[[str], str]] = [load]


def test_a_full_directory_for_temporary_files_is_told_as_what_it_is(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = r"a temporary file could not be written \(No space left on device: .*\); free some space there, or set TMPDIR"
    monkeypatch.setattr(sys.modules[__name__], "SAVE", [fill_the_disk])
    with pytest.raises(StorageError, match=f"could not dump to .*model.*zip: {words}"):
        build(Model())
    monkeypatch.undo()
    with Workspace(str(workspace)):
        build(Model())
        monkeypatch.setattr(sys.modules[__name__], "LOAD", [fill_the_disk])
        with pytest.raises(StorageError, match=f"could not load .*model.*zip: {words}"):
            Model().output().load()


def test_a_host_may_have_any_name(tmp_path: Path) -> None:
    script = r"""
import os
kind, _, *others = os.uname()
os.uname = lambda: os.uname_result((kind, "b\udcffd", *others))  # bytes that are no UTF-8
from airflow_kart import TaskOnKart, build

class One(TaskOnKart[int]):
    def run(self) -> None:
        self.dump(1)

print(build(One(), workspace_directory="w", progress=False))
"""
    ended = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.stderr) == ("1\n", "")
    (sidecar,) = tmp_path.glob("w/**/*.kart.json")
    assert json.loads(sidecar.read_text(encoding="utf-8"))["environment"]["host"] == "b?d"
