"""Verification: tasks are made again in fresh processes; where bytes differ, the answer names the cause."""

from __future__ import annotations

import datetime as dt
import importlib
import json
import locale
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from airflow_kart import Workspace, build
from airflow_kart.artifacts.sidecar import Sidecar, read_sidecar, write_sidecar
from airflow_kart.audit.verification.checksums import verify_checksums
from airflow_kart.audit.verification.verify import Verified, verify
from airflow_kart.cli.main import main

PLANTED = """
from __future__ import annotations
import concurrent.futures, datetime, glob, locale, os, platform, random, socket, subprocess, sys, threading, time, urllib.request
import uuid
from datetime import date
import numpy as np
import pandas as pd
from airflow_kart import IntParameter, ParameterVisibility, StrParameter, TaskInstanceParameter, TaskOnKart

HERE = os.path.dirname(os.path.abspath(__file__))
STATE = []
VALUE = "new"

class Base(TaskOnKart[object]):
    pass

class Steady(Base):
    n: int = IntParameter(default=1)
    def run(self):
        self.dump((self.n, random.random(), np.random.rand(), str(sorted({"a", "b", "c"}))))

class Clock(Base):
    def run(self):
        self.dump(time.time())

class Now(Base):
    def run(self):
        self.dump(datetime.datetime.now().isoformat())

class Stamp(Base):
    def run(self):
        self.dump(str(pd.Timestamp.now()))

class Today(Base):
    def run(self):
        self.dump(date.today().isoformat())

class Urandom(Base):
    def run(self):
        self.dump(os.urandom(8))

class Uuid(Base):
    def run(self):
        self.dump(str(uuid.uuid4()))

class Unseeded(Base):
    def run(self):
        self.dump(random.Random().random())

class Generator(Base):
    def run(self):
        self.dump(np.random.default_rng().random())

class NoSeed(Base):
    seed_functions = ()
    def run(self):
        self.dump(random.random())

class Both(Base):
    def run(self):
        self.dump((time.time(), uuid.uuid4().hex))

class SetOrder(Base):
    def run(self):
        self.dump(list({f"word{n}" for n in range(50)}))

class Address(Base):
    def run(self):
        self.dump(repr(object()))

class Pid(Base):
    def run(self):
        self.dump(os.getpid())

class Host(Base):
    def run(self):
        self.dump(socket.gethostname())

class Folder(Base):
    def run(self):
        self.dump(os.getcwd())

class Variable(Base):
    def run(self):
        self.dump(os.environ.get("KART_PLANTED", "none"))

class Cpus(Base):
    def run(self):
        self.dump(os.cpu_count())

class Listing(Base):
    def run(self):
        self.dump([os.path.basename(name) for name in glob.glob(os.path.join(HERE, "listed", "*"))])

class Zone(Base):
    def run(self):
        self.dump(time.localtime(0).tm_hour)

class Threads(Base):
    def run(self):
        found = []
        def append(n):
            time.sleep(0.01 * random.SystemRandom().random() if n % 2 else 0.002)
            found.append(n)
        threads = [threading.Thread(target=append, args=(n,)) for n in range(12)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        self.dump(found)

class Counter(Base):
    def run(self):
        path = os.path.join(HERE, "counter")
        count = int(open(path).read()) if os.path.exists(path) else 0
        with open(path, "w") as file:
            file.write(str(count + 1))
        self.dump(count)

class File(Base):
    def run(self):
        self.dump(open(os.path.join(HERE, "lookup.txt")).read())

class Network(Base):
    def run(self):
        self.dump(urllib.request.urlopen(f"http://127.0.0.1:{port()}/").read())

def port():
    return int(open(os.path.join(HERE, "port")).read())

class Command(Base):
    def run(self):
        self.dump(subprocess.run(["date", "+%N"], capture_output=True, check=True).stdout)

class Memory(Base):
    def run(self):
        self.dump(len(STATE))

class Package(Base):
    def run(self):
        self.dump(VALUE)

class Python(Package):
    pass

class Blas(Base):
    def run(self):
        from threadpoolctl import threadpool_info
        self.dump([each["num_threads"] for each in threadpool_info() if each["internal_api"] == "openblas"])

class Locale(Base):
    def run(self):
        locale.setlocale(locale.LC_ALL, "")
        self.dump(locale.setlocale(locale.LC_ALL))

class Copies(Base):
    def run(self):
        text = "".join(["a", "b"])
        self.dump([text, text if VALUE == "old" else "".join(["a", "b"])])

class Input(Base):
    value: int = IntParameter(default=1)
    def run(self):
        self.dump(self.value)

class Reads(Base):
    of = TaskInstanceParameter(default=Input())
    def requires(self):
        return self.of
    def run(self):
        self.dump(self.load())

class Asks(Base):
    def run(self):
        asked = yield Input(value=5)
        self.dump(asked.load())

class Private(Base):
    token: str = StrParameter(default="none", significant=False, visibility=ParameterVisibility.PRIVATE)
    def run(self):
        self.dump(len(self.token))

class Fails(Base):
    def run(self):
        if os.path.exists(os.path.join(HERE, "fail")):
            raise ValueError("planted")
        self.dump(1)

class Crashes(Base):
    def run(self):
        if os.path.exists(os.path.join(HERE, "fail")):
            os.kill(os.getpid(), 11)
        self.dump(1)

class Hangs(Base):
    def run(self):
        if os.path.exists(os.path.join(HERE, "fail")):
            time.sleep(1000)
        self.dump(1)

class Two(Base):
    def output(self):
        return {"b": self.make_target("two/b.pkl"), "a": self.make_target("two/a.json")}
    def run(self):
        self.dump(1, "b")
        self.dump({"at": time.time()}, "a")
"""


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module with the planted causes; its workspace is current."""
    (tmp_path / "kart_planted.py").write_text(PLANTED)
    (tmp_path / "listed").mkdir()
    for n in range(8):
        (tmp_path / "listed" / f"f{n}").write_text("")
    (tmp_path / "lookup.txt").write_text("then")
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        with Workspace(str(tmp_path / "workspace")):
            yield importlib.import_module("kart_planted")
    finally:
        sys.modules.pop("kart_planted", None)


def rewrite(task: Any, change: Callable[[dict[str, Any]], object]) -> None:
    """Let the sidecar of a task's artifact say something else."""
    target = task.output()
    sidecar = read_sidecar(target.store, target.uri)
    assert sidecar is not None
    content = json.loads(json.dumps(dict(sidecar.content)))
    change(content)
    write_sidecar(
        target.store, Sidecar.of(sidecar.artifact, {k: v for k, v in content.items() if k != "artifact"}), sidecar.version
    )


def make(tasks: list[Any]) -> None:
    for task in tasks:
        build(task)


class Backwards:
    """A folder's entries, the last first."""

    def __init__(self, scandir: Any, *given: Any) -> None:
        self._entries = iter(list(scandir(*given))[::-1])

    def __enter__(self) -> Iterator[Any]:
        return self._entries

    def __exit__(self, *_exception: object) -> None:
        pass


class Counting(BaseHTTPRequestHandler):
    """Answers with the number of the request."""

    asked = 0

    def do_GET(self) -> None:
        Counting.asked += 1
        self.send_response(200)
        self.end_headers()
        self.wfile.write(str(Counting.asked).encode())

    def log_message(self, *_arguments: object) -> None:
        pass


UNSTEADY = {
    "Clock": "time",
    "Now": "time",
    "Stamp": "time",
    "Urandom": "random numbers",
    "Uuid": "uuid",
    "Unseeded": "random numbers",
    "Generator": "random numbers",
    "NoSeed": "random numbers",
    "SetOrder": "order of sets",
    "Address": "memory address",
    "Pid": "process id",
    "Threads": "timing of threads",
    "Counter": "file",
    "Network": "network",
    "Command": "command",
}
"""The planted causes that make any two runs differ."""
PLANTED_THEN = {
    "Today": "time",
    "Host": "host",
    "Folder": "working directory",
    "Variable": "environment variable",
    "Cpus": "number of processors",
    "Listing": "order of a listing",
    "Zone": "time zone",
    "Locale": "locale",
    "File": "file",
    "Memory": "state of the process",
    "Package": "packages",
    "Python": "Python",
    "Blas": "threads of libraries",
    "Copies": "state of the process",
}
"""The planted causes that lie in the circumstances of the earlier run; runs agree with each other by now."""


def make_as_then(module: ModuleType, folder: Path) -> None:
    """Make the tasks of :data:`PLANTED_THEN` in other circumstances than those of now."""
    usual = locale.setlocale(locale.LC_ALL)
    with pytest.MonkeyPatch.context() as then:
        old = type("Old", (dt.date,), {"today": classmethod(lambda _cls: dt.date(2001, 9, 9))})
        then.setattr(module, "date", old)
        then.setattr(module.socket, "gethostname", lambda: "elsewhere")
        then.chdir(folder)
        then.setenv("KART_PLANTED", "then")
        then.setenv("TZ", "UTC+9")
        time.tzset()
        then.setenv("LC_ALL", "POSIX")
        then.setattr(os, "cpu_count", lambda: 64)
        scandir = os.scandir
        module.STATE.append(1)
        then.setattr(module, "VALUE", "old")
        make([getattr(module, name)() for name in PLANTED_THEN if name not in ("Listing", "Blas")])
        then.setattr(os, "scandir", lambda *given: Backwards(scandir, *given))
        build(module.Listing())
    time.tzset()
    locale.setlocale(locale.LC_ALL, usual)  # the task has set its own
    with pytest.importorskip("threadpoolctl").threadpool_limits(1):
        build(module.Blas())
    rewrite(module.Today(), lambda content: content["run"].update(started_at="2001-09-09T12:00:00+00:00"))
    rewrite(module.Host(), lambda content: content["environment"].update(host="elsewhere"))
    rewrite(module.Package(), lambda content: content["environment"]["packages"].update(numpy="1.0"))
    rewrite(module.Python(), lambda content: content["environment"].update(python="3.9.0"))
    time.sleep(0.05)
    (folder / "lookup.txt").write_text("now")


def test_verification_tells_planted_causes_apart(planted: ModuleType, tmp_path: Path) -> None:
    make_as_then(planted, tmp_path)
    with HTTPServer(("127.0.0.1", 0), Counting) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        (tmp_path / "port").write_text(str(server.server_port))
        make([getattr(planted, name)() for name in UNSTEADY])
        names = {**UNSTEADY, **PLANTED_THEN}
        found = verify([getattr(planted, name)() for name in names])
        server.shutdown()
    told = {one.task.partition("(")[0]: one for one in found.results}
    wrong = {
        name: (expected, told[name].verdict, told[name].reason)
        for name, expected in names.items()
        if [cause.kind for cause in told[name].causes] != [expected]
        or told[name].verdict != ("equal" if name == "Copies" else "differs")
    }
    assert not wrong
    assert len(names) >= 20
    likely = {name for name, one in told.items() if not one.causes[0].proven}
    assert likely == {"Counter", "Network", "Command", "File", "Memory", "Package", "Python", "Copies"}
    assert "kart_planted.py:" in told["Clock"].reason
    assert "KART_PLANTED" in told["Variable"].reason
    for name in ("Today", "Host", "Listing", "Blas"):
        assert "those of then" in told[name].reason


def one(found: Any) -> Verified:
    (result,) = found.results
    assert isinstance(result, Verified)
    return result


def test_a_steady_task_is_identical_with_its_inputs_outputs_and_random_numbers(planted: ModuleType, tmp_path: Path) -> None:
    tasks = [planted.Steady(), planted.Steady(n=2), planted.Reads(), planted.Asks(), planted.Private()]
    make(tasks)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "workspace").rglob("[!.]*") if ".kart-" not in str(path)}
    found = verify()  # restored from sidecars, inputs included
    assert {one.task.partition("(")[0]: one.verdict for one in found.results} == {
        "Steady": "identical",
        "Reads": "identical",
        "Asks": "identical",
        "Input": "identical",
        "Private": "not verifiable",
    }
    assert str(found) == "6 of 7 identical; 1 not verifiable"
    assert "token is private" in next(one.reason for one in found.results if one.task.startswith("Private"))
    assert one(verify(planted.Private(token="none"))).verdict == "identical"
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "workspace").rglob("[!.]*") if ".kart-" not in str(path)}
    assert after == before
    told: list[int] = []
    sample = verify(sample=3, seed=1, tell=told.append)
    assert len({one.task.partition("(")[0] for one in sample.results}) == 3
    assert told == [1, 2, 3]


def test_what_is_not_verifiable_says_why(planted: ModuleType, tmp_path: Path) -> None:
    make([planted.Reads(), planted.Asks(), planted.Steady(), planted.Clock()])
    build(planted.Input(value=5))
    for value in (1, 5):
        path = Path(planted.Input(value=value).output().uri)
        Path(f"{path}.kart.json").unlink()
        path.unlink()
    text = PLANTED.replace("class Clock(Base):", "class Gone(Base):").replace('str(sorted({"a"', 'str(sorted({"x"')
    (tmp_path / "kart_planted.py").write_text(text)
    sys.modules.pop("kart_planted")
    importlib.invalidate_caches()
    verdicts = {each.task.partition("(")[0]: (each.verdict, each.reason) for each in verify().results}
    assert verdicts.pop("Clock")[1].startswith("there is no class kart_planted.Clock here")
    assert "its code has changed since: kart_planted.Steady.run" in verdicts.pop("Steady")[1]
    assert verdicts["Reads"][0] == "not verifiable"
    again = importlib.import_module("kart_planted")
    assert "is gone (no artifact)" in one(verify(again.Reads())).reason
    with pytest.MonkeyPatch.context() as then:
        then.setattr(again.Input, "run", lambda self: self.dump("other"))
        make([again.Input(), again.Input(value=5)])
    assert "has other bytes now" in one(verify(again.Reads())).reason
    assert verdicts["Asks"] == ("identical", "")  # the task that it asks for was made again, too
    assert "it read other inputs than then" in one(verify(again.Asks())).reason


def test_a_run_that_fails_crashes_or_hangs_is_a_result(planted: ModuleType, tmp_path: Path) -> None:
    tasks = [planted.Fails(), planted.Crashes(), planted.Hangs(), planted.Steady()]
    make(tasks)
    (tmp_path / "fail").touch()
    found = {one.task.partition("(")[0]: (one.verdict, one.reason) for one in verify(tasks, timeout=1.5).results}
    assert found == {
        "Fails": ("failed", "ValueError: planted"),
        "Crashes": ("failed", "its process crashed with signal SIGSEGV"),
        "Hangs": ("failed", "it was stopped after 1.5 s"),
        "Steady": ("identical", ""),
    }


def test_checksums_of_a_workspace(planted: ModuleType, tmp_path: Path) -> None:
    tasks = [planted.Steady(n=n) for n in range(12)]
    make(tasks)
    paths = [Path(task.output().uri) for task in tasks]
    assert (
        str(verify_checksums())
        == f"12 artifacts with {sum(path.stat().st_size for path in paths):,} bytes checked, 0 damaged"
    )
    damaged = paths[3].read_bytes()[:-1] + b"X"
    paths[3].write_bytes(damaged)
    paths[4].unlink()
    Path(f"{paths[5]}.kart.json").write_text("{}")
    told: list[int] = []
    found = verify_checksums(tell=told.append)
    assert told == list(range(1, len(told) + 1))
    reasons = {one.uri: one.reason for one in found.damaged}
    assert reasons[str(paths[3])].startswith("its SHA-256 is ")
    assert reasons[str(paths[4])] == "the artifact is gone, only its sidecar is there"
    assert "cannot be used" in reasons[str(paths[5])] or "sidecar" in reasons[str(paths[5])]
    assert len(reasons) == 3
    assert not any(one.marked for one in found.damaged)
    assert tasks[3].output().exists()  # nothing has changed
    marked = [one for one in verify_checksums(mark=True).damaged if one.marked]
    assert [one.uri for one in marked] == [str(paths[3])]
    assert not tasks[3].output().exists()
    make(tasks)
    assert verify_checksums().damaged == ()


def test_the_command(planted: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make([planted.Steady(n=1), planted.Steady(n=2), planted.Clock()])
    here = ["-w", str(tmp_path / "workspace")]
    main(["verify", "Steady", *here])
    assert "1 of 1 identical" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["verify", "--sample", "0", "--patience", "0s", "-o", "json", *here])
    assert ended.value.code == 3
    found = json.loads(capsys.readouterr().out)
    assert found["summary"] == "2 of 3 identical; 1 differs"
    assert sorted(one["verdict"] for one in found["results"]) == ["differs", "identical", "identical"]
    with pytest.raises(SystemExit):
        main(["verify", "Clock", "-o", "json", *here])
    (cause,) = json.loads(capsys.readouterr().out)["results"][0]["causes"]
    assert (cause["kind"], cause["proven"]) == ("time", True)
    with pytest.raises(SystemExit, match="name a task, or give --sample"):
        main(["verify", *here])
    main(["verify", "--checksums", *here])
    assert "3 artifacts" in capsys.readouterr().out
    Path(planted.Clock().output().uri).write_bytes(b"?")
    with pytest.raises(SystemExit) as ended:
        main(["verify", "--checksums", *here])
    assert ended.value.code == 3
    assert "Clock()" in capsys.readouterr().out


def test_a_workspace_in_memory_is_not_verifiable(planted: ModuleType) -> None:
    with Workspace("memory://planted"):
        build(planted.Steady())
        found = one(verify())
    assert found.verdict == "not verifiable"
    assert "in the memory of this process" in found.reason


def test_a_read_only_overlay_is_verified_where_it_is(planted: ModuleType, tmp_path: Path) -> None:
    make([planted.Reads()])
    with Workspace(str(tmp_path / "own"), read_from=(str(tmp_path / "workspace"),)):
        assert str(verify()) == "2 of 2 identical"
        assert str(verify_checksums()).startswith("2 artifacts")


def test_a_module_that_verifies_itself_does_not_go_on_for_ever(planted: ModuleType, tmp_path: Path) -> None:
    build(planted.Steady())
    with (tmp_path / "kart_planted.py").open("a") as file:
        file.write("\nimport airflow_kart\nairflow_kart.verify()\n")
    found = one(verify(planted.Steady()))
    assert found.verdict == "not verifiable"
    assert "calls verify() itself" in found.reason
