"""What a ``run()`` reads besides parameters and inputs: recorded, and on request given another value.

For a process that runs one experiment of :mod:`airflow_kart.audit.verification.verify` and then ends: functions of Python's library are replaced
for good. Only calls out of the project's code count, directly or through libraries; those of this package stay as they are.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import gc
import hashlib
import os
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from types import FrameType
from typing import Any, NamedTuple

from typing_extensions import Self

from airflow_kart.identity.names import own_folder

TIME, RANDOM, UUID, PROCESS, HOST, FOLDER = "time", "random numbers", "uuid", "process id", "host", "working directory"
VARIABLE, PROCESSORS, LISTING, ZONE = "environment variable", "number of processors", "order of a listing", "time zone"
THREADS, NETWORK, COMMAND, FILE, LOCALE = "timing of threads", "network", "command", "file", "locale"
FROZEN = (TIME, RANDOM, UUID, PROCESS, HOST, FOLDER, VARIABLE, PROCESSORS, LISTING, ZONE, LOCALE, THREADS)
"""The sources that can be given another value, always the same one."""

_MOST = 40
"""Recorded uses of one source."""
_LONGEST_WAIT = 0.5
"""Seconds for which the start of a thread waits for its end, where threads run one after the other."""
_DIRECT = (VARIABLE, ZONE, LOCALE, HOST, LISTING)
"""Libraries read these too, without consequence: only what the project's code reads itself counts."""


class Use(NamedTuple):
    """One use of a source."""

    source: str
    name: str
    """The function, variable, file, host or program."""
    place: str
    """The line of the project's code, as ``file.py:7``."""


class Sources:
    """Records the uses of sources by the project's code, and gives those named another value.

    Args:
        frozen: the sources to give another value.
        then: the time and the host of the earlier run, which are the other values.
        own: files that count as the project's wherever they are.
        known: files that are inputs of the task, and folders with its own files.
    """

    def __init__(
        self, frozen: Collection[str], then: tuple[float, str], own: Collection[str], known: Collection[str]
    ) -> None:
        self.uses: dict[tuple[str, str], Use] = {}
        self._frozen = frozenset(frozen)
        self._started, self._host = then
        self._own = frozenset(own)
        self._known = (*_NO_DATA, *map(os.path.realpath, known))
        self._calls = 0

    def install(self) -> None:
        """Replace the functions, for the rest of this process."""
        self._replace_clocks()
        self._replace_random()
        self._replace_machine()
        self._replace_zone()
        self._replace_threads()
        self._replace(VARIABLE, os._Environ, "__getitem__", _other_variable, named=lambda _environ, key: str(key))  # noqa: SLF001
        self._replace(LISTING, os, "listdir", lambda original, *given: original(*given)[::-1])
        self._replace(LISTING, os, "scandir", lambda original, *given: _Entries(list(original(*given))[::-1]))
        sys.addaudithook(self._heard)

    def _replace_clocks(self) -> None:
        replace = functools.partial(self._replace, TIME)
        for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time"):
            replace(time, name, lambda _original: self._clock())
            replace(time, f"{name}_ns", lambda _original: int(self._clock() * 1e9))
        for name in ("localtime", "gmtime", "ctime"):
            replace(time, name, lambda original, *_: original(self._clock()), lambda *given: given in ((), (None,)))
        formats_now = lambda *given: len(given) == 1  # noqa: E731 - strftime without a time
        replace(time, "strftime", lambda original, form: original(form, time.gmtime(self._clock())), formats_now)
        pandas = sys.modules.get("pandas")
        for cls in (dt.datetime,) if pandas is None else (dt.datetime, pandas.Timestamp):
            replace(cls, "now", lambda original, tz=None: original.__self__.fromtimestamp(self._clock(), tz=tz))
            replace(cls, "utcnow", lambda original: original.__self__.utcfromtimestamp(self._clock()))
        if pandas is not None:
            replace(
                pandas.Timestamp, "today", lambda original, tz=None: original.__self__.fromtimestamp(self._clock(), tz=tz)
            )

    def _replace_random(self) -> None:
        import random
        import secrets  # noqa: F401 - holds functions that call the one replaced here
        import uuid

        for owner, name in ((os, "urandom"), (random, "_urandom")):
            self._replace(RANDOM, owner, name, lambda _original, size: self._bytes(size))
        self._replace(UUID, uuid, "uuid1", lambda _original, *_, **__: uuid.UUID(bytes=self._bytes(16)))
        self._replace(RANDOM, random, "seed", lambda original, *_, **__: original(0), _is_unseeded)
        method: Callable[..., Any] = lambda original, self, *_, **__: original(self, 0)  # noqa: E731
        self._replace(RANDOM, random.Random, "seed", method, lambda _self, *given, **more: _is_unseeded(*given, **more))
        for generator in filter(None, (random, getattr(sys.modules.get("numpy"), "random", None))):
            generator.seed(
                0 if RANDOM in self._frozen else None
            )  # a task whose class seeds nothing would go on in this state

    def _replace_machine(self) -> None:
        import platform
        import socket

        for name in ("getpid", "getppid"):
            self._replace(PROCESS, os, name, lambda _original: 4242)
        self._replace(FOLDER, os, "getcwd", lambda _original: "/")
        for name in ("cpu_count", "sched_getaffinity", "process_cpu_count"):
            self._replace(PROCESSORS, os, name, lambda original, *given: _fewer(original(*given)))
        for owner, name in ((socket, "gethostname"), (socket, "getfqdn"), (platform, "node")):
            self._replace(HOST, owner, name, lambda _original, *_: self._host)
        self._replace(HOST, os, "uname", lambda original: os.uname_result((original()[0], self._host, *original()[2:])))

    def _replace_zone(self) -> None:
        import locale

        if ZONE in self._frozen:
            os.environ["TZ"] = "KART-05:45"
            time.tzset()
        if LOCALE in self._frozen:
            os.environ["LC_ALL"] = "C.UTF-8" if locale.setlocale(locale.LC_ALL) == "C" else "C"
        for name in ("mktime", "localtime", "ctime", "strftime"):
            self._replace(ZONE, time, name)
        for name in ("fromtimestamp", "astimezone", "timestamp"):
            self._replace(ZONE, dt.datetime, name)
        for name in ("setlocale", "getlocale", "localeconv", "getpreferredencoding", "strxfrm", "strcoll", "format_string"):
            self._replace(LOCALE, locale, name)

    def _replace_threads(self) -> None:
        from concurrent.futures import ThreadPoolExecutor, wait

        def started(original: Callable[[Any], None], thread: threading.Thread) -> None:
            original(thread)
            if getattr(getattr(thread, "_target", None), "__module__", "") != "concurrent.futures.thread":
                thread.join(_LONGEST_WAIT)

        def submitted(original: Callable[..., Any], *given: Any, **more: Any) -> Any:
            future = original(*given, **more)
            wait([future], _LONGEST_WAIT)
            return future

        self._replace(THREADS, threading.Thread, "start", started)
        self._replace(THREADS, ThreadPoolExecutor, "submit", submitted)

    def _replace(
        self,
        source: str,
        owner: Any,
        name: str,
        other: Callable[..., Any] | None = None,
        counts: Callable[..., bool] = lambda *_given, **_more: True,
        *,
        named: Callable[..., str] | None = None,
    ) -> None:
        """Replace a function or method: calls out of the project's code are recorded, and for frozen sources call ``other``."""
        original = vars(owner).get(name)
        if original is None:
            return
        of_class = isinstance(original, (classmethod, type(vars(dict)["fromkeys"])))
        whole = f"{owner.__module__}.{owner.__qualname__}.{name}" if isinstance(owner, type) else f"{owner.__name__}.{name}"

        def reached(function: Callable[..., Any], given: tuple[Any, ...], more: Mapping[str, Any]) -> Any:
            use = self._use(source, whole, sys._getframe(2)) if counts(*given, **more) else None  # noqa: SLF001
            if use is not None:
                self._record(use if named is None else use._replace(name=named(*given, **more)))
                if other is not None and use.source in self._frozen:
                    return other(function, *given, **more)
            return function(*given, **more)

        def call(*given: Any, **more: Any) -> Any:
            return reached(original, given, more)

        def class_call(cls: Any, *given: Any, **more: Any) -> Any:
            return reached(original.__get__(None, cls), given, more)

        replacement = classmethod(class_call) if of_class else functools.wraps(original)(call)
        try:
            setattr(owner, name, replacement)
        except TypeError:  # a class of the interpreter's
            import ctypes

            gc.get_referents(vars(owner))[0][name] = replacement
            ctypes.pythonapi.PyType_Modified(ctypes.py_object(owner))

    def _use(self, source: str, name: str, frame: FrameType | None) -> Use | None:
        """Return the use of a source by the project's code, ``None`` where this package, or an import, uses the source.

        Args:
            source: the source.
            name: the function.
            frame: of the caller.
        """
        while frame is not None:
            code, kind = frame.f_code, _kind_of(frame.f_code.co_filename)
            if kind == "project" or code.co_filename in self._own:
                found = UUID if source == RANDOM and name.startswith("uuid.") else source
                return Use(found, name, f"{os.path.basename(code.co_filename)}:{frame.f_lineno}")
            if kind in ("kart", "import") or (kind == "library" and source in _DIRECT):
                return None
            if kind == "python" and not code.co_name.startswith("<"):
                name = f"{frame.f_globals.get('__name__')}.{getattr(code, 'co_qualname', code.co_name)}"
            frame = frame.f_back
        return None

    def _record(self, use: Use) -> None:
        if sum(source == use.source for source, _ in self.uses) < _MOST:
            self.uses.setdefault((use.source, use.name), use)

    def _clock(self) -> float:
        """Return the time of the earlier run, a millisecond later at each call, so that loops which wait for a time end."""
        self._calls += 1
        return self._started + self._calls / 1000

    def _bytes(self, size: int) -> bytes:
        self._calls += 1
        return hashlib.shake_128(str(self._calls).encode()).digest(size)

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Record files that are read, connections and programs."""
        if event in _EVENTS:
            with contextlib.suppress(Exception):  # an error here would be one of the project's code
                name = _name_of(event, arguments)
                if event == "open" and (not name or name.startswith(self._known) or name.endswith((".py", ".pyc", ".so"))):
                    return
                use = self._use(_EVENTS[event], name, sys._getframe(1))  # noqa: SLF001
                if use is not None:
                    self._record(use._replace(name=name))


def _name_of(event: str, arguments: tuple[Any, ...]) -> str:
    """Return the file, address or program of an event; no name for a file that is only written."""
    if event == "open":
        path, _, flags = arguments
        return "" if isinstance(path, int) or flags & os.O_TRUNC else os.path.realpath(os.fsdecode(path))
    if event == "socket.connect":
        return ":".join(map(str, arguments[1][:2])) if isinstance(arguments[1], tuple) else str(arguments[1])
    return str(arguments[0]).partition(" ")[0]  # arguments may be secret


_EVENTS = {
    "open": FILE,
    "socket.connect": NETWORK,
    "subprocess.Popen": COMMAND,
    "os.system": COMMAND,
    "os.posix_spawn": COMMAND,
}
_PYTHON = tuple({os.path.join(sysconfig.get_path(kind), "") for kind in ("stdlib", "platstdlib")})
_KART = os.path.join(str(own_folder()), "")
_NO_DATA = (*_PYTHON, os.path.join(sys.prefix, ""), "/usr/share/", "/usr/lib/", "/proc/", "/sys/", "/dev/", "/etc/localtime")


@functools.cache
def _kind_of(file: str) -> str:
    if file.startswith(_KART):
        return "kart" if file != __file__ else "own"
    if "site-packages" in file or "dist-packages" in file:
        return "library"
    if file.startswith("<frozen importlib"):
        return "import"
    return "python" if file.startswith((*_PYTHON, "<frozen", "<string>")) else "project"


class _Entries:
    """The entries of a folder, as ``os.scandir`` returns them."""

    def __init__(self, entries: list[Any]) -> None:
        self._entries = iter(entries)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._entries)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Do nothing."""


def _is_unseeded(*given: object, **more: object) -> bool:
    return (*given, more.get("a"))[0] is None


def _other_variable(original: Callable[..., str], environ: object, key: str) -> str:
    try:
        original(environ, key)
    except KeyError:
        return "kart"
    raise KeyError(key)


def _fewer(count: Any) -> Any:
    """Return another number of processors, or another set of them."""
    if isinstance(count, set):
        return {min(count)} if len(count) > 1 else {*count, max(count) + 1}
    return 1 if count != 1 else 2
