"""Holding a lock while a run works: renewal meanwhile, release afterwards."""

from __future__ import annotations

import logging
import os
import threading
import time

from typing_extensions import Self

from airflow_kart.exceptions import KartError, LockLostError
from airflow_kart.locks.base import Lease

log = logging.getLogger(__name__)


class Hold:
    """Holds a lock for the time of its ``with`` block.

    A thread renews the lock four times in its time to live. When the lock is lost, the thread logs an error and ends; the
    work goes on, as nobody can stop foreign code safely. :attr:`lost` tells of the loss, and :meth:`check` raises it when
    the work is done: a run that has lost its lock publishes nothing.

    Args:
        lease: the lock, just acquired.
    """

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._turn = threading.Lock()  # held while a renewal is under way, and while its outcome is judged
        self._end = threading.Event()
        self._heartbeat: threading.Thread | None = None
        self._process = 0
        self._renewed = 0.0
        self._trouble: KartError | None = None
        self._lost: LockLostError | None = None

    @property
    def lost(self) -> LockLostError | None:
        """The loss of the lock, as soon as a renewal has noticed it; asking costs nothing."""
        return self._lost

    def check(self) -> None:
        """Make sure, before the work is published, that this process holds the lock.

        A renewal within the last half of the time to live is proof enough; otherwise the lock is renewed now. A lock without
        a time to live is looked at.

        Raises:
            LockLostError: the lock is lost, or belongs to the process that this one was forked from.
        """
        if os.getpid() != self._process:
            raise LockLostError(
                f"the lock of {self._lease.holder.task} belongs to process {self._process}, and this is a fork of it: "
                "publish in the process in which run() was called",
                task=self._lease.holder.task,
            )
        stays = self._lease.time_to_live
        with self._turn:
            if self._lost is None and (stays is None or _now() - self._renewed > stays / 2):
                self._renew()
        if self._lost is not None:
            raise self._lost

    def __enter__(self) -> Self:
        """Begin to renew the lock."""
        self._process, self._renewed = os.getpid(), _now()
        if self._lease.time_to_live is not None:
            self._heartbeat = threading.Thread(
                target=self._beat, args=(self._lease.time_to_live,), name="kart-lock", daemon=True
            )
            self._heartbeat.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        """Release the lock."""
        if os.getpid() != self._process:
            return  # a child that was forked inside the block leaves the block too; the lock is its parent's
        try:
            if self._heartbeat is not None:
                self._end.set()
                self._heartbeat.join()  # else a renewal under way could follow the release
        finally:
            try:
                self._lease.release()
            except KartError as error:
                log.warning("%s; the lock is free after its time to live", error)

    def _beat(self, stays: float) -> None:
        """Renew the lock again and again, until the block ends or the lock is lost."""
        while not self._end.wait(stays / (4 if self._trouble is None else 12)):
            with self._turn:
                if self._lost is not None:
                    return  # check() has noticed, and raises
                self._renew()
            if self.lost is not None:
                if not self._end.is_set():
                    log.error("%s", self.lost)
                return

    def _renew(self) -> None:
        """Renew the lock; judge from the outcome whether the lock is lost."""
        began, stays = _now(), self._lease.time_to_live
        gap = began - self._renewed
        try:
            self._lease.renew()
        except LockLostError as error:
            self._lost = self._loss(error, gap)
        except KartError as error:
            self._trouble = error
            if stays is None:
                log.warning("%s; cannot tell whether this run still holds the lock", error)
            elif _now() - self._renewed >= stays:
                self._lost = self._loss(error, gap)
            else:
                log.warning("%s; this run holds the lock for %.0f s more", error, self._renewed + stays - _now())
        else:
            if stays is not None and gap > stays / 2:
                log.warning(
                    "the lock of %s was renewed after %.1f s only, and is lost after %g s: %s. Raise [kart] lock_time_to_live",
                    self._lease.holder.task,
                    gap,
                    stays,
                    self._why(),
                )
            self._renewed, self._trouble = began, None

    def _why(self) -> str:
        """Return why the renewal came late."""
        if self._trouble is not None:
            return str(self._trouble)
        return "the interpreter was busy, as with a C call that kept the GIL, or the machine slept"

    def _loss(self, error: KartError, gap: float) -> LockLostError:
        """Return the error that tells how the lock was lost."""
        stays = self._lease.time_to_live
        late = stays is not None and gap > stays / 2
        why = (
            f"; this run did not renew the lock for {gap:.1f} s: {self._why()}"
            if late and error is not self._trouble
            else ""
        )
        if error is self._trouble and stays is not None:
            why = f"; this run could not renew the lock for {_now() - self._renewed:.1f} s"
        advice = f"; if this happens again, raise [kart] lock_time_to_live ({stays:g} s)" if stays is not None else ""
        task = self._lease.holder.task
        lost = LockLostError(
            f"the lock of {task} was lost: {error}{why}. "
            f"Its artifact is not published; the next try finds what another run has made{advice}",
            task=task,
        )
        lost.__cause__ = error
        return lost


def _now() -> float:
    """Return the seconds of a clock that nobody sets; on Linux the clock counts the machine's sleep too."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
