"""Faults of requests to a service, and the policy of retries.

A service raises one of the faults below in place of its client library's errors. Only :class:`Retries` repeats a request:
client libraries have their own retries switched off, since retries within retries multiply.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from airflow_kart import settings
from airflow_kart.connections import without_passwords

_T = TypeVar("_T")
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 10.0
_LONGEST_STRETCH = 60.0

log = logging.getLogger(__name__)


class Fault(Exception):  # noqa: N818 - these never reach the user, whose errors are in exceptions.py
    """A request failed; the text gives the user the reason, without passwords.

    Args:
        words: the reason.
    """

    def __init__(self, words: str = "") -> None:
        super().__init__(without_passwords(words))


class TransientFault(Fault):
    """A later request may succeed: throttling, a broken connection, a service in trouble."""


class BusyFault(TransientFault):
    """Another writer was at the same object at this very moment."""


class ExpiredFault(Fault):
    """The credentials are no longer valid.

    Args:
        words: as in every fault.
        client: the client that holds the credentials.
    """

    def __init__(self, words: str, client: object) -> None:
        super().__init__(words)
        self.client = client


class MissingFault(Fault):
    """The object does not exist."""


class ConflictFault(Fault):
    """A condition of the request does not hold."""


class LostUploadFault(Fault):
    """The service no longer has this upload: somebody completed or aborted the upload."""


class RefusedFault(Fault):
    """A later request would fail too."""


class Retries:
    """How often, and for how long, to repeat a request.

    Args:
        most: how many times at most; by default as ``[kart] storage_retries`` says.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = settings.kart_int("storage_retries", least=0) if most is None else most

    def call(self, what: str, request: Callable[[], _T], renew: Callable[[ExpiredFault], object] | None = None) -> _T:
        """Make a request, and repeat it after transient faults.

        Args:
            what: the action and the uri, for the log.
            request: makes the request, or raises a fault.
            renew: gets new credentials; called once at most.

        Raises:
            Fault: the fault of the last attempt.
        """
        return Attempts(self._most, what).call(request, renew)


class Attempts:
    """The attempts at one thing."""

    def __init__(self, most: int, what: str) -> None:
        self._most = most
        self._what = what
        self._failed = 0
        self._first_failure = 0.0
        self._renewed = False

    def call(self, request: Callable[[], _T], renew: Callable[[ExpiredFault], object] | None = None) -> _T:
        """Make the request until it succeeds, or further attempts are useless."""
        while True:
            try:
                return request()
            except TransientFault as fault:
                self.pause(fault)
            except ExpiredFault as fault:
                if renew is None or self._renewed:
                    raise
                self._renewed = True
                renew(fault)

    def pause(self, fault: TransientFault) -> None:
        """Count a failed attempt and wait before the next one; raise the fault of the last attempt."""
        now = time.monotonic()
        if not self._failed:
            self._first_failure = now
        self._failed += 1
        # Jitter keeps the many writers that failed at one moment from coming back at one moment.
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(self._failed - 1, 10)) * random.uniform(0.5, 1)
        if self._failed > self._most or now + pause - self._first_failure > _LONGEST_STRETCH:
            raise fault
        log.warning(
            "could not %s: %s; trying again in %.1f s (%d of %d)", self._what, fault, pause, self._failed, self._most
        )
        time.sleep(pause)
