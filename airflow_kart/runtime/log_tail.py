"""The last lines of a run's log, kept for its sidecar."""

from __future__ import annotations

import logging
import threading
from collections import deque
from types import TracebackType

from typing_extensions import Self

from airflow_kart.idioms.ambient import Ambient
from airflow_kart.tasks.redaction import Redaction


class LogTail:
    """Keeps the last lines that a run logs inside its ``with`` block, without secrets.

    A line belongs to the innermost block around the code that logs. A thread has no block around it: its lines belong to
    the run that was active when the thread started. Where several runs are active side by side in one process, nobody can
    tell to which one such a thread belongs, and its lines are left out.

    Args:
        redaction: takes secrets out of each line.
        lines: the number of lines to keep.
        width: the number of characters to keep of each line.
    """

    def __init__(self, redaction: Redaction, lines: int = 50, width: int = 400) -> None:
        self._redaction = redaction
        self._lines: deque[tuple[str, str]] = deque(maxlen=lines)
        self._width = width
        self._outer: LogTail | None = None
        self._earlier: frozenset[threading.Thread] = frozenset()

    def keep(self, prefix: str, text: str) -> None:
        """Keep a line: its beginning, which holds no secret but digits like a short one, and what was logged."""
        redacted = self._redaction.text(text)  # before the cut: nothing recognises a part of a secret
        self._lines.append((prefix, redacted[: max(0, self._width - len(prefix))]))

    @property
    def lines(self) -> list[str]:
        """The last lines, oldest first, without the secrets known by now."""
        return [prefix + self._redaction.text(text) for prefix, text in self._lines]

    def __enter__(self) -> Self:
        """Begin to listen to the root logger."""
        self._outer = _TAILS.current
        self._earlier = frozenset(threading.enumerate())
        _TAILS.enter(self)
        _listen()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop listening."""
        _TAILS.leave(self)
        self._earlier = frozenset()
        _listen()


def _listen() -> None:
    """Let the root logger have the handler while any run is active: looked at again after each change, for other threads."""
    root = logging.getLogger()
    while (_LISTENER in root.handlers) != (active := bool(_TAILS.entered)):
        (root.addHandler if active else root.removeHandler)(_LISTENER)


class _Listener(logging.Handler):
    """Gives each line to the run that has logged it; the handler of the root logger while any run is active."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._working = threading.local()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Give a line to its run, if it is certain which one that is."""
        if getattr(self._working, "here", False):  # the redaction itself logs
            return
        self._working.here = True
        try:
            tail = _TAILS.current or _tail_of(threading.current_thread())
            if tail is not None:
                text = self.format(record)
                prefix = f"{record.asctime} {record.levelname} {record.name}: "
                tail.keep(prefix, text.removeprefix(prefix))
        except Exception:  # noqa: BLE001 - a handler must not break what logs
            self.handleError(record)
        finally:
            self._working.here = False


def _tail_of(thread: threading.Thread) -> LogTail | None:
    """Return the run that a thread without a block of its own belongs to, as far as that is certain."""
    active = _TAILS.entered
    outer = {id(tail._outer) for tail in active}  # noqa: SLF001 - of this class
    innermost = [tail for tail in active if id(tail) not in outer]
    if len(innermost) != 1:
        return None
    tail: LogTail | None = innermost[0]
    while tail is not None and thread in tail._earlier:  # noqa: SLF001
        tail = tail._outer  # noqa: SLF001
    return tail


_TAILS: Ambient[LogTail] = Ambient("airflow_kart_log_tail")
_LISTENER = _Listener()
