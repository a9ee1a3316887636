"""Secret values of every origin, a pipeline that comes near all of them, and a search for what became of them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

__all__ = ["DAGS", "SECRETS", "environment_of", "hits", "texts_below"]

SECRETS = {
    "default": "canary-default-Zq81x",
    "bound": "canary-bound-Yw72v",
    "template": "canary-template-Xe63u",
    "configured": "canary-configured-Wr54t",
    "listed": "canary-listed-Vt45s",
    "named": "canary-named-Uy36r",
    "pin": "914273586",
    "upstream": "canary upstream & Tz27q/50%",
    "external": "canary-external-Si18p",
    "unicode": "canäry-ünicode-Rö09o'\"\\",
    "lines": "canary-line-one-Qp90n\ncanary-line-two-Pl81m",
    "significant": "canary-significant-Ok72l",
    "password": "canary-password-Nj63k",
    "digest_key": "canary-digest-key-Mh54j",
}
"""By origin: values of private parameters, the password of a connection, and the key of digests."""

DAGS = '''
from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from airflow_kart import (
    DictParameter, ExternalTask, IntParameter, KartDag, ListParameter, ParameterVisibility, StrParameter,
    TaskInstanceParameter, TaskOnKart, build,
)

SECRET = {name: os.environ[f"CANARY_{name.upper()}"] for name in os.environ["CANARIES"].split()}
HIDDEN = {"visibility": ParameterVisibility.PRIVATE, "significant": False}
log = logging.getLogger("canary")
CONSOLE = "CANARY_CONSOLE" in os.environ
if CONSOLE:  # Airflow prints a task's own lines and errors to a console as they are, even passwords of connections
    for handler in logging.getLogger().handlers:
        handler.addFilter(lambda record: record.name != "canary")


class Upstream(TaskOnKart[int]):
    secret: str = StrParameter(default=SECRET["upstream"], **HIDDEN)

    def run(self) -> None:
        self.task_log["seen"] = self.secret
        self.dump(1)


class Delivered(ExternalTask[str]):
    secret: str = StrParameter(default=SECRET["external"], **HIDDEN)
    name: str = StrParameter()
    poll_seconds = 1

    def output(self):
        return self.make_target(os.path.join(os.environ["AIRFLOW_HOME"], self.name))


class Holder(TaskOnKart[int]):
    """Comes near everything: logs, logs tracebacks, keeps notes."""

    up: TaskOnKart[int] = TaskInstanceParameter(default=Upstream())
    default: str = StrParameter(default=SECRET["default"], **HIDDEN)
    bound: str = StrParameter(default="x-not-bound", **HIDDEN)
    template: str = StrParameter(default="x-not-rendered", **HIDDEN)
    configured: str = StrParameter(**HIDDEN)
    listed: tuple[str, ...] = ListParameter(default=[SECRET["listed"]], **HIDDEN)
    named: Any = DictParameter(default={"key": SECRET["named"]}, **HIDDEN)
    pin: int = IntParameter(default=int(SECRET["pin"]), **HIDDEN)
    unicode: str = StrParameter(default=SECRET["unicode"], **HIDDEN)
    lines: str = StrParameter(default=SECRET["lines"], **HIDDEN)
    significant: str = StrParameter(default=SECRET["significant"], visibility=ParameterVisibility.PRIVATE)
    mode: str = StrParameter(default="works")

    def requires(self):
        return {"up": self.up, "file": Delivered(name=f"{self.mode}.txt")}

    def run(self) -> None:
        everything = [self.up.secret, self.default, self.bound, self.template, self.configured, *self.listed,
                      *self.named.values(), self.pin, self.unicode, self.lines, self.significant]
        for secret in everything:
            log.info("uses %s", secret)
            log.info("sends %r", secret)
        log.info("this is %r", self)
        self.task_log["all"] = everything
        self.task_log.update({str(secret): 1 for secret in everything})
        try:
            from airflow.sdk import BaseHook
        except ImportError:
            pass
        else:
            password = BaseHook.get_connection("canary").password
            log.info("connects with %s", password)
            self.task_log["password"] = password
        try:
            raise ValueError(f"caught with {everything}")
        except ValueError:
            log.exception("went wrong with %s", self.default)
        once = Path(os.environ["AIRFLOW_HOME"], f"tried-{self.mode}")
        if self.mode == "fails" or (self.mode == "retries" and not once.exists()):
            once.touch()
            raise RuntimeError("no access" if CONSOLE else f"no access with {everything}")
        self.dump(1)


class Last(TaskOnKart[int]):
    holder: TaskOnKart[int] = TaskInstanceParameter(default=Holder())

    def run(self) -> None:
        log.info("knows %s", self.holder.default)
        self.dump(self.load())


for mode in ("works", "fails", "retries"):
    KartDag(f"canary_{mode}", Last(holder=Holder(mode=mode)), schedule=None,
            operator_kwargs={"retries": int(mode == "retries"), "retry_delay": 1})
    KartDag(f"canary_bound_{mode}", Holder, schedule=None,
            bind={"mode": mode, "bound": "{{ var.value.canary }}", "template": "{{ conn.canary_template.password }}"},
            operator_kwargs={"retries": int(mode == "retries"), "retry_delay": 1})

if __name__ == "__main__":
    import sys

    from airflow_kart.views import graphviz, mermaid, table, tree

    logging.basicConfig(level=logging.INFO, format="%(name)s %(levelname)s")
    for task in (Last(), Last(holder=Holder(mode=sys.argv[1]))):
        try:
            build(task, workers=2, progress=True)
        except Exception as error:
            print("failed:", type(error).__name__)
        print(tree(task, details=True), table(task).to_json(), mermaid(task), graphviz(task), repr(task))
'''
"""A DAG file; the values come from the environment, as Airflow keeps the source of DAG files."""


def environment_of(secrets: Mapping[str, str]) -> dict[str, str]:
    """Return the environment from which the pipeline, Airflow and its connections get the secrets."""
    return {
        **{f"CANARY_{name.upper()}": value for name, value in secrets.items()},
        "CANARIES": " ".join(secrets),
        "AIRFLOW__KART_HOLDER__CONFIGURED": secrets["configured"],
        "AIRFLOW__KART__PRIVATE_DIGEST_KEY": secrets["digest_key"],
        "AIRFLOW_VAR_CANARY": secrets["bound"],
        "AIRFLOW_CONN_CANARY": json.dumps({"conn_type": "http", "password": secrets["password"]}),
        "AIRFLOW_CONN_CANARY_TEMPLATE": json.dumps({"conn_type": "http", "password": secrets["template"]}),
    }


def forms(secret: str) -> Iterator[bytes]:
    """Return a secret in plain, quoted, in JSON, URL-encoded, in hex, and in base64 wherever in a longer text it begins."""
    for line in secret.splitlines():
        data = line.encode()
        yield data
        yield repr(line)[1:-1].encode()
        yield json.dumps(line)[1:-1].encode()
        yield json.dumps(json.dumps(line))[2:-2].encode()
        yield quote(line, safe="").encode()
        yield quote(line).encode()
        yield quote_plus(line).encode()
        yield data.hex().encode()
        for shift in range(3):
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                # The digits that depend on these bytes alone.
                yield encode(bytes(shift) + data)[(4, 2, 3)[0] if shift else 0 : -4][: max(8, len(data))]


def hits(secrets: Mapping[str, str], texts: Iterable[tuple[str, bytes]]) -> list[str]:
    """Return where a secret is found: its origin, the place, and the surroundings."""
    sought = [(name, form) for name, secret in secrets.items() for form in set(forms(secret)) if len(form) > 5]
    found = []
    for place, text in texts:
        for name, form in sought:
            if (at := text.find(form)) >= 0:
                found.append(f"{name} in {place}: {text[max(0, at - 120) : at + len(form) + 40]!r}")
    return found


def texts_below(*directories: Path, except_for: tuple[str, ...] = ()) -> Iterator[tuple[str, bytes]]:
    """Return the names and the contents of all files below directories."""
    for directory in directories:
        for path in directory.rglob("*"):
            if path.is_file() and path.name not in except_for:
                yield str(path), str(path).encode() + b"\n" + path.read_bytes()
