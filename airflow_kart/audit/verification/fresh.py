"""Fresh processes that make a task again: with another seed of hashes, fewer threads, or other values of what a run reads.

A *starter* is a Python process that has loaded this package, but none of the project's code. It forks once for each experiment:
that process loads the task, makes its outputs in a scratch directory, and ends. A crash or an endless loop ends only that process.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import json
import os
import pickle
import signal
import subprocess
import sys
import warnings
from dataclasses import dataclass, replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import NamedTuple, cast

from typing_extensions import Self

from airflow_kart.artifacts.sidecar.environment import environment
from airflow_kart.audit.verification.sources import Sources, Use
from airflow_kart.exceptions import ConfigurationError, IdentityError
from airflow_kart.identity.names import is_importable
from airflow_kart.runtime.plan import make_plan
from airflow_kart.runtime.runner import make_all
from airflow_kart.runtime.session import Session
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.graph import Graph
from airflow_kart.tasks.model import Task
from airflow_kart.tasks.resolution import resolve

_THREADS = ("OMP_NUM", "OPENBLAS_NUM", "MKL_NUM", "NUMEXPR_NUM", "RAYON_NUM", "VECLIB_MAXIMUM", "POLARS_MAX")
_INSIDE = "_AIRFLOW_KART_INSIDE_VERIFY"
"""The environment variable of starters."""
_PRELOADED = ("numpy", "pandas", "pyarrow", "polars", "scipy", "sklearn", "matplotlib", "torch", "airflow.sdk", "boto3")
_PRELOADED_PARTS = ("airflow_kart.", "airflow.providers.", "google.cloud.storage")
"""Installed packages that starters import if the parent has: the processes to come need not."""
_STARTER = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from airflow_kart.audit.verification.fresh import serve; serve()"


def scratch_of(workspace: Workspace, directory: str) -> Workspace:
    """Return a workspace in a scratch directory, with the artifacts of another one to read."""
    return replace(
        workspace,
        directory=directory,
        read_from=(workspace.directory, *workspace.others),
        on_changed_code="ignore",
        reuse_equal_inputs=False,
        lock="none",
    )


def make_again(task: Task, content: bytes) -> None:
    """Make a task in the current workspace, with random numbers as of some content.

    Raises:
        Exception: any error of ``run()``.
    """
    make_all(make_plan(Graph.of([task]), rerun=[task.unique_id]), session=Session(contents={task.unique_id: content}))


class Way(NamedTuple):
    """The circumstances of one experiment."""

    hash_seed: int = 1
    other_threads: bool = False
    """Whether compiled libraries get another number of threads."""
    starter: int = 0
    """The number of the starter: each has other memory addresses."""
    frozen: tuple[str, ...] = ()
    """The sources of :mod:`~airflow_kart.audit.verification.sources` that get another value."""


@dataclass(frozen=True)
class Job:
    """A task to make again, as a pickle of the task, its workspace and the content that seeds random numbers."""

    pickled: bytes
    unique_id: str
    then: tuple[float, str]
    """When and on which host the earlier run began."""
    module: tuple[str, str]
    """Name and file of the module of the task's class."""
    known: tuple[str, ...] = ()
    """Files of the task's inputs."""


@dataclass(frozen=True)
class Ended:
    """The end of an experiment."""

    error: str | None = None
    loaded: bool = True
    """Whether the task could be loaded in the fresh process at all."""
    uses: tuple[Use, ...] = ()


class Bench:
    """Starters, each started at its first experiment; a context manager that ends them.

    Args:
        timeout: seconds, after which an experiment is stopped.

    Raises:
        ConfigurationError: this process is an experiment.
    """

    def __init__(self, timeout: float) -> None:
        if _INSIDE in os.environ:
            raise ConfigurationError(
                "a module or task that is being made again calls verify() itself; put the call into a function or an operator, or "
                "behind `if __name__ == '__main__':`"
            )
        self._timeout = timeout
        self._starters: dict[Way, tuple[subprocess.Popen[bytes], Connection]] = {}

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """End the starters."""
        for process, pipe in self._starters.values():
            pipe.close()
            process.wait()
        self._starters.clear()

    def made(self, job: Job, scratch: str, way: Way) -> Ended:
        """Make a task again in a scratch directory; return how that ended."""
        key = way._replace(frozen=())
        result = os.path.join(scratch, ".result")
        if key not in self._starters:
            self._starters[key] = _started(way)
        process, pipe = self._starters[key]
        try:
            pipe.recv()  # the starter has started, or is ready for the next experiment
            pipe.send((job, scratch, way.frozen, result))
            if late := not pipe.poll(self._timeout):
                pipe.send(None)
            status = pipe.recv()
        except (EOFError, OSError):
            del self._starters[key]
            return Ended(f"the process that starts others ended with {process.wait()}")
        with contextlib.suppress(OSError), open(result, "rb") as file:
            return cast(Ended, pickle.load(file))
        if late:
            return Ended(f"it was stopped after {self._timeout:g} s")
        words = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit code {status}"
        return Ended(f"its process crashed with {words}")


def other_number_of_threads() -> int:
    """Return a number of threads that compiled libraries do not have by now."""
    return 1 if os.environ.get("OMP_NUM_THREADS", str(os.cpu_count())) != "1" else 2


def _started(way: Way) -> tuple[subprocess.Popen[bytes], Connection]:
    pipe, end = Pipe()
    with end:
        limits = {f"{name}_THREADS": str(other_number_of_threads()) for name in _THREADS} if way.other_threads else {}
        loaded = [name for name in sys.modules if name in _PRELOADED or name.startswith(_PRELOADED_PARTS)]
        command = [sys.executable, "-c", _STARTER, json.dumps(sys.path), str(end.fileno()), *loaded]
        # Threads that wait for each other on a busy machine had better sleep: no result depends on that.
        surroundings = {
            "OMP_WAIT_POLICY": "PASSIVE",
            **os.environ,
            **limits,
            "PYTHONHASHSEED": str(way.hash_seed),
            _INSIDE: "1",
        }
        nowhere = subprocess.DEVNULL
        process = subprocess.Popen(  # noqa: S603 - Python itself
            command,
            stdin=nowhere,
            stdout=nowhere,
            stderr=nowhere,
            env=surroundings,
            pass_fds=[end.fileno()],
            start_new_session=True,
        )
    return process, pipe


def serve() -> None:
    """Fork for each experiment, until the parent closes the pipe."""
    pipe = Connection(int(sys.argv[2]))
    for name in sys.argv[3:]:
        with contextlib.suppress(Exception):  # a module that was made, and not imported
            importlib.import_module(name)
    gc.freeze()  # a collection in a process to come would copy the memory
    environment()  # remembers the distributions of all that is imported, for the processes to come
    with contextlib.suppress(EOFError, OSError):
        while True:
            pipe.send(None)
            while (message := pipe.recv()) is None:  # the parent's patience ended at the same moment as the experiment
                pass
            job, scratch, frozen, result = message
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of libraries' threads, which wait
                child = os.fork()
            if not child:
                _experiment(job, scratch, frozen, result)
            pipe.send(_waited(child, pipe))


def _waited(child: int, pipe: Connection) -> int:
    """Wait for a process; kill the process and all that it started as soon as the parent asks for that, or is gone."""
    pause = 0.001
    while (found := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if pipe.poll(pause):
            os.kill(child, signal.SIGKILL)
        pause = min(2 * pause, 0.02)
    with contextlib.suppress(OSError):  # there is nobody left
        os.killpg(child, signal.SIGKILL)
    with contextlib.suppress(EOFError):
        while pipe.poll():
            pipe.recv()
    return os.waitstatus_to_exitcode(found[1])


def _experiment(job: Job, scratch: str, frozen: tuple[str, ...], result: str) -> None:
    """Make a task, write the result, and end this process."""
    ended = Ended("", loaded=False)
    try:
        os.setpgid(0, 0)
        sources = Sources(frozen, job.then, job.module[1:], (*job.known, scratch))
        sources.install()
        try:
            _load_module(*job.module)
            task, workspace, content = pickle.loads(job.pickled)
            with scratch_of(workspace, scratch):
                if (own := resolve(task).unique_id) != job.unique_id:
                    raise IdentityError(f"its unique id is {own} in a fresh process")
                ended = replace(ended, loaded=True)
                make_again(task, content)
            ended = Ended()
        except BaseException as error:  # noqa: BLE001 - the answer, whatever it is
            ended = replace(ended, error=f"{type(error).__name__}: {error}")
        ended = replace(ended, uses=tuple(sources.uses.values()))
        with open(f"{result}.part", "wb") as file:
            pickle.dump(ended, file)
        os.replace(f"{result}.part", result)
    finally:
        os._exit(0)


def _load_module(name: str, file: str) -> None:
    """Load a module that the pickle names, and that was not imported through ``sys.path`` where the task comes from."""
    if file and is_importable(name) and importlib.util.find_spec(name.partition(".")[0]) is None:
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is not None and spec.loader is not None:
            sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[name])
