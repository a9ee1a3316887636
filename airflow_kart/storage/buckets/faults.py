"""What can go wrong with a request to a service, and how often it is tried again.

A service raises one of the faults below for whatever its client library raised. :class:`Retries` is the only place that
tries again: client libraries are told not to, since retries within retries multiply.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from airflow_kart import settings

__all__ = [
    "BusyFault",
    "ConflictFault",
    "ExpiredFault",
    "Fault",
    "LostUploadFault",
    "MissingFault",
    "RefusedFault",
    "Retries",
    "TransientFault",
]

_T = TypeVar("_T")
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 10.0
_LONGEST_STRETCH = 60.0

log = logging.getLogger(__name__)


class Fault(Exception):  # noqa: N818 - these never reach the user, whose errors are in exceptions.py
    """A request failed; the text says why, in words for the user."""


class TransientFault(Fault):
    """It may go well another time: throttling, a broken connection, a service that is not well."""


class BusyFault(TransientFault):
    """Another writer was at the same object at this very moment."""


class ExpiredFault(Fault):
    """The credentials are no longer valid.

    Args:
        words: as in every fault.
        client: what holds them.
    """

    def __init__(self, words: str, client: object) -> None:
        super().__init__(words)
        self.client = client


class MissingFault(Fault):
    """There is no such object."""


class ConflictFault(Fault):
    """A condition of the request does not hold."""


class LostUploadFault(Fault):
    """An upload that was begun is not there any more: it was completed, or given up."""


class RefusedFault(Fault):
    """It will not go well another time either."""


class Retries:
    """How often, and for how long, a request is tried again.

    Args:
        most: how many times at most; by default as ``[kart] storage_retries`` says.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = settings.kart_int("storage_retries", least=0) if most is None else most

    def call(self, what: str, request: Callable[[], _T], renew: Callable[[ExpiredFault], object] | None = None) -> _T:
        """Make a request, again and again if need be.

        Args:
            what: what the request does, for the log.
            request: makes it, or raises a fault.
            renew: gets new credentials, where that may help; asked once.

        Raises:
            Fault: what the last attempt came to.
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
        """Make the request until it goes well, or there is no use in it any more."""
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
        """Count a failed attempt and wait before the next one, or raise its fault where it was the last."""
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
