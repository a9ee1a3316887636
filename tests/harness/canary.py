"""Secret values of every origin, a pipeline that comes near all of them, and a search for what became of them."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import string
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

__all__ = ["DAGS", "SECRETS", "command_lines", "environment_of", "hits", "texts_below"]

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

import contextlib
import logging
import os
import time
from pathlib import Path
from typing import Any

from airflow_kart import (
    DictParameter, ExternalTask, IntParameter, KartDag, ListParameter, ParameterVisibility, StrParameter,
    TaskInstanceParameter, TaskOnKart, Workspace, build,
)

SECRET = {name: os.environ[f"CANARY_{name.upper()}"] for name in os.environ["CANARIES"].split()}
HIDDEN = {"visibility": ParameterVisibility.PRIVATE, "significant": False}
log = logging.getLogger("canary")
HOME = Path(os.environ["AIRFLOW_HOME"])
PLACES = {"": None}  # the configured workspace, and a bucket where there is one
if "CANARY_BUCKET" in os.environ:
    PLACES["bucket_"] = Workspace(
        os.environ["CANARY_BUCKET"], aws_conn_id="canary_s3", lock="redis", redis_conn_id="canary_redis"
    )


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
        return self.make_target(str(HOME / self.name))


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
        (HOME / f"runs-{os.getpid()}").touch()
        while "CANARY_GATE" in os.environ and not (HOME / "gate").exists():
            time.sleep(0.05)
        once = HOME / f"tried-{self.mode}"
        if self.mode == "fails" or (self.mode == "retries" and not once.exists()):
            once.touch()
            raise RuntimeError(f"no access with {everything}")
        self.dump(1, custom_labels={"all": everything, **{str(secret): "key" for secret in everything}})


class Last(TaskOnKart[int]):
    holder: TaskOnKart[int] = TaskInstanceParameter(default=Holder())

    def run(self) -> None:
        log.info("knows %s", self.holder.default)
        self.dump(self.load())


for place, workspace in PLACES.items():
    for mode in ("works", "fails", "retries"):
        options = {"schedule": None, "workspace": workspace,
                   "operator_kwargs": {"retries": int(mode == "retries"), "retry_delay": 1}}
        KartDag(f"canary_{place}{mode}", Last(holder=Holder(mode=mode)), **options)
        KartDag(f"canary_{place}bound_{mode}", Holder, **options,
                bind={"mode": mode, "bound": "{{ var.value.canary }}", "template": "{{ conn.canary_template.password }}"})

if __name__ == "__main__":  # makes and draws the tasks of these modes
    import sys

    from airflow_kart.views import graphviz, mermaid, table, tree

    logging.basicConfig(level=logging.INFO, format="%(name)s %(levelname)s")
    for task in (Last(holder=Holder(mode=mode)) for mode in sys.argv[1:]):
        with PLACES.get("bucket_") or contextlib.nullcontext():
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
        "AIRFLOW__CORE__FERNET_KEY": "",  # what Airflow encrypts, nobody could search
    }


def forms(secret: str) -> Iterator[bytes]:
    """Return a secret in plain, quoted, in JSON, URL-encoded, in hex, and in base64 wherever in a longer text it begins.

    The part before a quotation mark stands for all of it: SQL and its like double them.
    """
    for line in (re.split(r"""['"\\]""", whole)[0] for whole in secret.splitlines()):
        data = line.encode()
        yield data
        yield repr(line)[1:-1].encode()
        yield json.dumps(line)[1:-1].encode()
        yield json.dumps(json.dumps(line))[2:-2].encode()
        yield quote(line, safe="").encode()
        yield quote(line).encode()
        yield quote_plus(line).encode()
        yield quote(line, safe=string.printable.replace("%", "")).encode()  # metadata of objects in buckets
        yield data.hex().encode()
        yield data.hex().upper().encode()
        for shift in range(3):
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                # The digits that depend on these bytes alone.
                yield encode(bytes(shift) + data)[(4, 2, 3)[0] if shift else 0 : -4][: max(8, len(data))]


def hits(secrets: Mapping[str, str], texts: Iterable[tuple[str, bytes]]) -> list[str]:
    """Return where a secret is found, also in what zlib or gzip has packed: its origin, the place, and the surroundings."""
    sought = [(name, form) for name, secret in secrets.items() for form in set(forms(secret)) if len(form) > 5]
    found = []
    for place, text in texts:
        for name, form in sought:
            for content in (text, unpacked(text)):
                if (at := content.find(form)) >= 0:
                    found.append(f"{name} in {place}: {content[max(0, at - 120) : at + len(form) + 40]!r}")
    return found


def unpacked(data: bytes) -> bytes:
    with contextlib.suppress(zlib.error):
        return zlib.decompress(data, zlib.MAX_WBITS | 32)
    return b""


def texts_below(*directories: Path) -> Iterator[tuple[str, bytes]]:
    """Return the names and the contents of all files below directories, also while others write there."""
    for directory in directories:
        for path in directory.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                if path.is_file():
                    yield str(path), str(path).encode() + b"\n" + path.read_bytes()


@contextlib.contextmanager
def command_lines(home: Path) -> Iterator[set[tuple[str, bytes]]]:
    """Watch the command lines of the processes whose AIRFLOW_HOME is a directory, for as long as the block lasts."""
    seen: set[tuple[str, bytes]] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.3):
            for process in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    if f"AIRFLOW_HOME={home}".encode() in (process / "environ").read_bytes().split(b"\0"):
                        seen.add((f"command line of {process.name}", (process / "cmdline").read_bytes()))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield seen
    finally:
        ended.set()
        watching.join()
