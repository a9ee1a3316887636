"""A real Airflow on loopback: API server, DAG processor, scheduler with LocalExecutor, and a triggerer where it is wanted."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.loopback import free_port

FINISHED = ("success", "failed")
_PROCESSES = {
    "api": ["api-server", "--port", "PORT", "--workers", "1"],
    "dag-processor": ["dag-processor"],
    "scheduler": ["scheduler"],
    "triggerer": ["triggerer"],
}


class AirflowServer:
    """Starts Airflow's processes in a directory and talks to them as a user does: REST API and command line.

    Args:
        home: the AIRFLOW_HOME to be; DAG files go to its ``dags``.
        database: address of an empty PostgreSQL database, ``user@host:port/name``.
        environment: further environment variables for all processes.
        triggerer: whether there is a triggerer, for operators that defer.
    """

    def __init__(
        self, home: Path, database: str, environment: dict[str, str] | None = None, *, triggerer: bool = False
    ) -> None:
        self.home = home
        self.dags = home / "dags"
        self.dags.mkdir(parents=True, exist_ok=True)
        self.workspace = home / "kart_workspace"
        self._port = free_port()
        self._environment = {**os.environ, **_configuration(home, self._port, database), **(environment or {})}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._names = [name for name in _PROCESSES if triggerer or name != "triggerer"]
        self._token = ""

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of all processes."""
        return self._environment

    @property
    def address(self) -> str:
        """Of the UI."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def token(self) -> str:
        """Of a user who may do everything."""
        if not self._token:
            who = {"username": "admin", "password": self.password_of("admin")}
            self._token = str(self._request("POST", "/auth/token", who)["access_token"])
        return self._token

    def password_of(self, user: str) -> str:
        """Return the password that Airflow has made up for a user."""
        file = self.home / "simple_auth_manager_passwords.json.generated"
        return str(json.loads(file.read_text())[user])

    def start(self) -> None:
        """Migrate the database, start the processes, wait until the API answers."""
        self.command("db", "migrate")
        for name in self._names:
            self._spawn(name)
        self._wait(self._healthy, 120, "the API server to answer")

    def kill(self, name: str) -> None:
        """Kill one of the processes, and all they started, as a machine does that loses its power."""
        process = self._processes.pop(name)
        for pid in [process.pid, *_below(process.pid)]:  # from above, so that nobody reports another's death
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(20)

    def spawn_again(self, name: str, environment: dict[str, str] | None = None) -> None:
        """Start a killed process again, with other environment variables if need be."""
        self._environment.update(environment or {})
        self._spawn(name)

    def _spawn(self, name: str) -> None:
        arguments = [str(self._port) if part == "PORT" else part for part in _PROCESSES[name]]
        with (self.home / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [_airflow(), *arguments], env=self._environment, stdout=log, stderr=log, start_new_session=True
            )

    def stop(self) -> None:
        """End the processes and all they started."""
        for name, process in self._processes.items():  # the API server would wait for browsers for seconds
            _signal_group(process, signal.SIGKILL if name == "api" else signal.SIGTERM)
        for process in self._processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                _signal_group(process, signal.SIGKILL)
                process.wait(20)

    def command(self, *arguments: str, timeout: float = 300) -> str:
        """Run ``airflow ...``; return what it printed."""
        done = subprocess.run(
            [_airflow(), *arguments], env=self._environment, capture_output=True, text=True, timeout=timeout, check=False
        )
        if done.returncode:
            raise AssertionError(
                f"airflow {' '.join(arguments)} exited with {done.returncode}\n{done.stdout}\n{done.stderr}"
            )
        return done.stdout + done.stderr

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Call the REST API below ``/api/v2``; return the JSON it answers.

        Raises:
            urllib.error.HTTPError: it refused.
        """
        return self._request(method, f"/api/v2{path}", body, {"Authorization": f"Bearer {self.token}"})

    def wait_for_dags(self, *dag_ids: str) -> None:
        """Wait until DAGs are parsed."""
        self._wait(
            lambda: set(dag_ids) <= {dag["dag_id"] for dag in self.call("GET", "/dags?limit=100")["dags"]}, 120, dag_ids
        )

    def trigger(
        self, dag_id: str, conf: dict[str, Any] | None = None, day: str | None = None, start: str | None = None
    ) -> str:
        """Trigger a run, without a logical date unless a day is given; ``start`` is a day not to start before. Return its id."""
        body = {"logical_date": f"{day}T00:00:00+00:00" if day else None, "conf": conf or {}}
        if start is not None:
            body["run_after"] = f"{start}T00:00:00+00:00"
        return str(self.call("POST", f"/dags/{dag_id}/dagRuns", body)["dag_run_id"])

    def run(
        self,
        dag_id: str,
        conf: dict[str, Any] | None = None,
        day: str | None = None,
        timeout: float = 240,
        start: str | None = None,
    ) -> DagRun:
        """Trigger a run and wait for its end."""
        return self.finished(dag_id, self.trigger(dag_id, conf, day, start), timeout)

    def clear(self, dag_id: str, run_id: str, *task_ids: str) -> DagRun:
        """Clear a finished run, or some of its tasks, as the UI does; wait for its end."""
        body: dict[str, Any] = {"dag_run_id": run_id, "dry_run": False, "only_failed": False, "reset_dag_runs": True}
        if task_ids:
            body["task_ids"] = list(task_ids)
        self.call("POST", f"/dags/{dag_id}/clearTaskInstances", body)
        return self.finished(dag_id, run_id)

    def set_state(self, dag_id: str, run_id: str, task_id: str, state: str) -> None:
        """Mark a task, as the UI does."""
        path = f"/dags/{dag_id}/dagRuns/{_quoted(run_id)}/taskInstances/{_quoted(task_id)}"
        self.call("PATCH", path, {"new_state": state})

    def state(self, dag_id: str, run_id: str, task_id: str) -> str:
        """Return the state of a task at this moment; empty where it has none yet."""
        path = f"/dags/{dag_id}/dagRuns/{_quoted(run_id)}/taskInstances/{_quoted(task_id)}"
        return str(self.call("GET", path)["state"] or "")

    def log_of(self, dag_id: str, run_id: str, task_id: str) -> str:
        """Return what the tries of a task have logged so far, and the triggerer for it."""
        folder = self.home / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
        files = sorted(file for file in folder.glob("*.log*") if file.is_file())
        return "\n".join(_log_text(line) for file in files for line in file.read_text().splitlines())

    def wait(self, condition: Callable[[], Any], seconds: float, what: str, seen: Callable[[], object] = str) -> Any:
        """Wait until a condition gives something true; return that.

        Args:
            condition: is asked five times in a second.
            seconds: how long to wait at most.
            what: is waited for, in words.
            seen: says what there is instead, when it was waited for in vain.
        """
        found: list[Any] = []

        def holds() -> bool:
            found[:] = [condition()]
            return bool(found[0])

        try:
            self._wait(holds, seconds, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n--- instead: {seen()}") from None
        return found[0]

    def finished(self, dag_id: str, run_id: str, timeout: float = 240) -> DagRun:
        """Wait for the end of a run."""
        path = f"/dags/{dag_id}/dagRuns/{_quoted(run_id)}"
        self._wait(lambda: self.call("GET", path)["state"] in FINISHED, timeout, f"{dag_id} {run_id} to finish")
        return DagRun(self, dag_id, run_id, self.call("GET", path))

    def _healthy(self) -> bool:
        try:
            return bool(self._request("GET", "/api/v2/version"))
        except OSError:
            return False

    def _request(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Any:
        request = urllib.request.Request(
            f"{self.address}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **(headers or {})},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def _wait(self, condition: Any, seconds: float, what: object) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            dead = [name for name, process in self._processes.items() if process.poll() is not None]
            if dead or time.monotonic() > deadline:
                raise AssertionError(f"waited in vain for {what}; ended processes: {dead}\n{self._log_tails()}")
            time.sleep(0.2)

    def _log_tails(self) -> str:
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in self.home.glob("*.log"))


class DagRun:
    """A finished run: its state, its tasks, and what they logged and pushed."""

    def __init__(self, server: AirflowServer, dag_id: str, run_id: str, content: dict[str, Any]) -> None:
        self._server = server
        self.dag_id = dag_id
        self.run_id = run_id
        self.state = content["state"]
        self.seconds = (_moment(content["end_date"]) - _moment(content["start_date"])).total_seconds()
        self._path = f"/dags/{dag_id}/dagRuns/{_quoted(run_id)}"
        self.tasks = self._task_instances()

    def _task_instances(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        while True:
            page = self._server.call("GET", f"{self._path}/taskInstances?limit=100&offset={len(found)}")
            found.update({task["task_id"]: task for task in page["task_instances"]})
            if len(found) >= page["total_entries"]:
                return found

    @property
    def states(self) -> dict[str, str]:
        """The state of each task."""
        return {task_id: task["state"] for task_id, task in self.tasks.items()}

    def started(self) -> set[str]:
        """The tasks that had a worker process."""
        return {task_id for task_id, task in self.tasks.items() if task["try_number"] > 0 or task["hostname"]}

    def xcom(self, task_id: str, key: str = "return_value") -> Any:
        """What a task pushed."""
        found = self._server.call(
            "GET", f"{self._path}/taskInstances/{_quoted(task_id)}/xcomEntries/{key}?deserialize=false&stringify=false"
        )
        return found["value"]

    def log(self, task_id: str) -> str:
        """What the tries of a task logged."""
        return self._server.log_of(self.dag_id, self.run_id, task_id)


def _log_text(line: str) -> str:
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    errors = [f"{error['exc_type']}: {error['exc_value']}" for error in entry.get("error_detail") or []]
    exited = [str(entry["exit_code"])] if "exit_code" in entry else []
    return "\n".join([str(entry.get("event", "")), *exited, *errors])


def _configuration(home: Path, port: int, database: str) -> dict[str, str]:
    secret = secrets.token_hex(32)
    options: dict[str, dict[str, object]] = {
        "core": {
            "dags_folder": home / "dags",
            "load_examples": False,
            "executor": "LocalExecutor",
            "parallelism": 4,
            "dags_are_paused_at_creation": False,
            "execution_api_server_url": f"http://127.0.0.1:{port}/execution/",
        },
        "api": {"base_url": f"http://127.0.0.1:{port}", "secret_key": secret},
        "api_auth": {"jwt_secret": secret},
        "database": {
            "sql_alchemy_conn": f"postgresql+psycopg2://{database}",
            "sql_alchemy_conn_async": f"postgresql+asyncpg://{database}",
        },
        "dag_processor": {"refresh_interval": 2, "min_file_process_interval": 300},
        "scheduler": {"scheduler_idle_sleep_time": 0.5, "scheduler_heartbeat_sec": 1},
        "logging": {
            "logging_level": "INFO",
            "worker_log_server_port": free_port(),
            "trigger_log_server_port": free_port(),
        },
    }
    configuration = {
        f"AIRFLOW__{section.upper()}__{option.upper()}": str(value)
        for section, values in options.items()
        for option, value in values.items()
    }
    # Compiled modules are kept: otherwise each of the many processes would compile Airflow again.
    return {**configuration, "AIRFLOW_HOME": str(home), "PYTHONDONTWRITEBYTECODE": ""}


def _airflow() -> str:
    """Return the program: of this environment, or of one with another version of Airflow."""
    return os.environ.get("KART_TEST_AIRFLOW") or str(Path(sys.executable).parent / "airflow")


def _below(pid: int) -> list[int]:
    """Return the processes that a process started, and those that they did, the uppermost first."""
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False).stdout
    return [found for child in children.split() for found in (int(child), *_below(int(child)))]


def _quoted(text: str) -> str:
    return urllib.parse.quote(text, safe="")


def _moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text.replace("Z", "+00:00"))


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
