"""The log tail and the task log of a sidecar: lines of this run only, and no secrets."""

from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_kart import (
    BoolParameter,
    DictParameter,
    IntParameter,
    ListParameter,
    ParameterVisibility,
    StrParameter,
    TaskInstanceParameter,
    TaskOnKart,
    Workspace,
    build,
)
from airflow_kart.artifacts.sidecar.jsonable import Json
from airflow_kart.runtime import log_tail
from airflow_kart.runtime.log_tail import LogTail
from airflow_kart.tasks.redaction import Redaction

log = logging.getLogger("shop")
PRIVATE = ParameterVisibility.PRIVATE


@pytest.fixture(autouse=True)
def logged() -> Iterator[None]:
    before = logging.getLogger().level
    logging.getLogger().setLevel(logging.INFO)
    yield
    logging.getLogger().setLevel(before)


def content(task: TaskOnKart[Any]) -> dict[str, Any]:
    sidecar = task.output().sidecar()
    assert sidecar is not None
    return dict(sidecar.content)


def tail(task: TaskOnKart[Any]) -> list[str]:
    """Return the messages in the log tail of a task, those of the runner left out."""
    lines = [line.partition(" INFO ")[2] for line in content(task)["log_tail"]]
    return [line.removeprefix("shop: ") for line in lines if not line.startswith("airflow_kart.")]


class Fetch(TaskOnKart[int]):
    token: str = StrParameter(visibility=PRIVATE, significant=False)
    pin: int = IntParameter(default=4711, visibility=PRIVATE, significant=False)
    keys: tuple[str, ...] = ListParameter(default=("first-key", "second-key"), visibility=PRIVATE, significant=False)
    account: Any = DictParameter(default={"user": "kyoto-user"}, visibility=PRIVATE, significant=False)

    def run(self) -> None:
        log.info("as it is %s", self.token)
        log.info("encoded %s", quote(self.token, safe=""))
        log.info("form %s", quote_plus(self.token))
        log.info("header %s", base64.b64encode(self.token.encode()).decode())
        log.info("hex %s", self.token.encode().hex())
        log.info("written %r in %s", self.token, [self.token])
        log.info("%s%s", "x" * 330, self.token)
        log.info("pin %s, and 47112, keys %s, account %s", self.pin, self.keys[1], self.account["user"])
        try:
            raise ValueError(f"no access with {self.token}")
        except ValueError:
            log.exception("failed")
        self.task_log["tokens"] = 5
        self.task_log["url"] = f"https://shop/?token={self.token}"
        self.task_log["deep"] = {self.token: [(self.token, 1.5)], "pin": self.pin, "raw": self.token.encode()}
        self.dump(1)


class Shop(TaskOnKart[int]):
    fetch: TaskOnKart[int] = TaskInstanceParameter()

    def run(self) -> None:
        log.info("with %s", vars(self.fetch)["token"])
        self.dump(self.load(self.fetch))


TOKEN = 'Zürich & "Köln"/50%'


def test_private_values_are_replaced_in_every_form(workspace: Path) -> None:
    task = Fetch(token=TOKEN)
    build(task)
    text = task.output().sidecar().to_bytes().decode()
    for form in (TOKEN, repr(TOKEN)[1:-1], quote(TOKEN), quote_plus(TOKEN), TOKEN.encode().hex()):
        assert form not in text
    assert base64.b64encode(TOKEN.encode()).decode() not in text
    for secret in ("Zürich", "4711,", "second-key", "kyoto-user"):
        assert secret not in text
    lines = tail(task)
    assert lines[:5] == ["as it is ***", "encoded ***", "form ***", "header ***", "hex ***"]
    assert lines[5] == "written '***' in ['***']"
    assert lines[7] == "pin ***, and 47112, keys ***, account ***"
    (failed,) = (line for line in content(task)["log_tail"] if " ERROR " in line)
    assert "ValueError: no access with ***" in failed
    logged = content(task)["task_log"]
    assert logged["tokens"] == 5
    assert logged["url"] == "https://shop/?token=***"
    assert logged["deep"] == {"***": [["***", 1.5]], "pin": "***", "raw": "b'***'"}


def test_private_values_are_replaced_in_labels(workspace: Path) -> None:
    class Labelled(Fetch):
        def run(self) -> None:
            self.dump(
                1, custom_labels={"url": f"https://shop/?token={quote(self.token)}", self.token: "key", "team": "data"}
            )

    build(Labelled(token=TOKEN))
    sidecar = Labelled(token=TOKEN).output().sidecar()
    assert sidecar is not None
    assert sidecar.artifact.labels == {"url": "https://shop/?token=***", "***": "key", "team": "data"}


def test_private_values_are_replaced_where_a_target_is_written_by_itself(workspace: Path) -> None:
    task = Fetch(token=TOKEN)
    task.task_log["url"] = f"https://shop/?token={TOKEN}"
    task.output().dump(1, custom_labels={"token": TOKEN})
    assert content(task)["task_log"] == {"url": "https://shop/?token=***"}
    assert content(task)["artifact"]["labels"] == {"token": "***"}


def test_private_values_of_tasks_that_a_task_holds_are_replaced(workspace: Path) -> None:
    task = Shop(fetch=Fetch(token=TOKEN))
    build(task)
    assert tail(task) == ["with ***"]


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="<>"), min_size=5).filter(lambda text: text.lower() != "false"),
    st.sampled_from([str, lambda text: repr(text)[1:-1], quote, quote_plus, lambda text: json.dumps(text)[1:-1]]),
)
def test_a_private_value_never_shows_through(token: str, form: Any) -> None:
    assert Redaction(Fetch(token=token)).text(f"<{form(token)}>") == "<***>"


def test_a_text_without_secrets_stays_as_it_is() -> None:
    value: Json = {"a": ["b", 1, None, True], "c": [2.5, {"d": "e"}]}
    assert Redaction(Fetch(token=TOKEN)).json(value) == value


def test_empty_and_missing_private_values_replace_nothing() -> None:
    redaction = Redaction(Fetch(token="", pin=0, keys=(), account={}))
    assert redaction.text("None True 10 {} ()") == "None True 10 {} ()"


class Threads(TaskOnKart[int]):
    name: str = StrParameter()

    def run(self) -> None:
        thread = threading.Thread(target=log.info, args=(f"{self.name}: thread",))
        thread.start()
        thread.join()
        with ThreadPoolExecutor(2) as pool:
            pool.submit(log.info, f"{self.name}: pool").result()
        log.info("%s: run", self.name)
        self.dump(1)


def test_lines_of_a_tasks_own_threads_are_kept(workspace: Path) -> None:
    build(Threads(name="a"))
    assert tail(Threads(name="a")) == ["a: thread", "a: pool", "a: run"]


class Patient(TaskOnKart[int]):
    def run(self) -> None:
        RUNNING.set()
        assert SPOKEN.wait(30)
        log.info("of the run")
        self.dump(1)


RUNNING, SPOKEN = threading.Event(), threading.Event()


def test_lines_of_an_earlier_thread_are_left_out(workspace: Path) -> None:
    def speak() -> None:
        RUNNING.wait(30)
        log.info("the secret of another task")
        SPOKEN.set()

    other = threading.Thread(target=speak)
    other.start()
    build(Patient())
    other.join()
    assert tail(Patient()) == ["of the run"]


def test_runs_side_by_side_keep_to_themselves(tmp_path: Path) -> None:
    together = threading.Barrier(2)

    class Meets(Threads):
        def run(self) -> None:
            together.wait(30)
            log.info("%s: run", self.name)
            thread = threading.Thread(target=log.info, args=("whose is this?",))
            thread.start()
            thread.join()
            together.wait(30)
            self.dump(1)

    def work(name: str) -> None:
        with Workspace(str(tmp_path / name)):
            build(Meets(name=name), progress=False)

    builders = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    for name in "ab":
        with Workspace(str(tmp_path / name)):
            assert tail(Meets(name=name)) == [f"{name}: run"]


class Asks(TaskOnKart[int]):
    def run(self) -> Any:
        log.info("before")
        yield Threads(name="inner")
        log.info("after")
        self.dump(1)


def test_a_run_within_a_run_keeps_its_lines(workspace: Path) -> None:
    build(Asks())
    assert tail(Threads(name="inner")) == ["inner: thread", "inner: pool", "inner: run"]
    assert tail(Asks()) == ["before", "after"]


class Sends(TaskOnKart[int]):
    fails: bool = BoolParameter(default=False)

    def run(self) -> Any:
        yield Fetch(token=TOKEN)
        log.info("sent %s", TOKEN)
        self.task_log["sent"] = TOKEN
        self.dump(1, custom_labels={"token": TOKEN})
        if self.fails:
            raise ValueError(f"{TOKEN} is refused")


def test_private_values_of_tasks_that_a_run_asks_for_are_replaced(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(Sends())
    assert tail(Sends())[-1] == "sent ***"
    assert content(Sends())["task_log"] == {"sent": "***"}
    assert content(Sends())["artifact"]["labels"] == {"token": "***"}
    with pytest.raises(ValueError, match="is refused"):
        build(Sends(fails=True), progress=True)
    told = capsys.readouterr().err
    assert "ValueError: *** is refused" in told
    assert TOKEN not in told


class LongWords:
    """Has words in which a secret stands across the thousandth character."""

    def __str__(self) -> str:
        return "x" * 990 + TOKEN


def test_a_secret_in_the_midst_of_long_words_is_replaced(workspace: Path) -> None:
    class Wordy(Fetch):
        def run(self) -> None:
            self.task_log["words"] = LongWords()
            self.dump(1)

    build(Wordy(token=TOKEN))
    assert content(Wordy(token=TOKEN))["task_log"] == {"words": "x" * 990 + "***"}


def test_a_run_that_ends_while_another_one_ends_leaves_no_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    one, other = LogTail(Redaction(Plain())), LogTail(Redaction(Plain()))
    one.__enter__()
    other.__enter__()
    add = root.addHandler

    def late(handler: logging.Handler) -> None:
        monkeypatch.setattr(root, "addHandler", add)
        other.__exit__(None, None, None)  # between the other's look and its change
        add(handler)

    root.removeHandler(log_tail._LISTENER)
    monkeypatch.setattr(root, "addHandler", late)
    one.__exit__(None, None, None)
    assert log_tail._LISTENER not in root.handlers
    assert log_tail._TAILS.entered == []


class Plain(TaskOnKart[int]):
    def run(self) -> None:
        self.dump(1)
