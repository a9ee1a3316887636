"""The last lines of a run's log, kept for its sidecar."""

from __future__ import annotations

import logging
from collections import deque
from types import TracebackType

from typing_extensions import Self

__all__ = ["LogTail"]


class LogTail(logging.Handler):
    """Keeps the last lines that are logged inside its ``with`` block."""

    def __init__(self, lines: int = 50, width: int = 400) -> None:
        super().__init__(logging.INFO)
        self._lines: deque[str] = deque(maxlen=lines)
        self._width = width
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        try:
            self._lines.append(self.format(record)[: self._width])
        except Exception:  # noqa: BLE001 - a handler must not break what logs
            self.handleError(record)

    @property
    def lines(self) -> list[str]:
        """The last lines, oldest first."""
        return list(self._lines)

    def __enter__(self) -> Self:
        """Begin to listen to the root logger."""
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop listening."""
        logging.getLogger().removeHandler(self)
