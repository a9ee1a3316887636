"""A lock that is held while work is done: renewed meanwhile, let go of afterwards."""

from __future__ import annotations

import ctypes
import logging
import os
import threading
import time

from typing_extensions import Self

from airflow_kart.exceptions import KartError, LockLostError
from airflow_kart.locks.base import Lease

__all__ = ["Hold"]

log = logging.getLogger(__name__)


class Hold:
    """Holds a lock on for as long as its ``with`` block takes.

    A thread renews the lock four times in its time to live. When the lock is lost the thread that has entered the block is
    stopped: :class:`~airflow_kart.exceptions.LockLostError` is raised in it where it runs Python the next time. After
    :meth:`check`, when the work is done, and after the block nothing is raised any more.

    Args:
        lease: the lock, just taken.
    """

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._turn = threading.RLock()  # held while the lock is renewed, and while it is decided that it is lost
        self._wake = threading.Lock()  # held until the heartbeat is to end
        self._over = threading.Lock()  # held by the heartbeat until it has ended
        self._beating = False
        self._process = self._worker = 0
        self._renewed = 0.0
        self._trouble: KartError | None = None
        self._lost: LockLostError | None = None
        self._raised: type[LockLostError] | None = None
        self._checked = False

    def check(self) -> None:
        """Make sure that the lock is held: to be called before the work is published.

        A lock that was renewed within the last half of its time to live is; else it is renewed now. One that need not be
        renewed is looked at.

        Raises:
            LockLostError: it is lost.
        """
        stays = self._lease.time_to_live
        with self._turn:
            self._checked = True  # publishing is not to be stopped half way
            if self._lost is None and (stays is None or _now() - self._renewed > stays / 2):
                self._renew()
            if self._lost is not None:
                self._forget_raised()
                raise self._lost

    def __enter__(self) -> Self:
        """Begin to renew the lock."""
        self._process, self._worker, self._renewed = os.getpid(), threading.get_ident(), _now()
        if self._lease.time_to_live is not None:
            self._wake.acquire()
            self._over.acquire()
            self._beating = True
            with self._turn:  # so that nothing is raised in here
                threading.Thread(target=self._beat, name="kart-lock", daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        """Let the lock go."""
        if os.getpid() != self._process:
            return  # a child that was forked inside the block leaves it too; the lock is its parent's
        of_another: LockLostError | None = None
        while True:
            try:
                self._end()
                break
            except LockLostError as error:  # it was raised in here, at the last moment; that happens once for each Hold
                if self._raised is None or not isinstance(error, self._raised):
                    of_another = error
        try:
            self._lease.release()
        except KartError as error:
            log.warning("%s; it is free after its time to live", error)
        if of_another is not None:
            raise of_another

    def _end(self) -> None:
        """Have the heartbeat end, and what it has raised and nobody has seen yet forgotten. May be begun anew at any point."""
        if self._wake.locked():
            self._wake.release()
        while self._beating:
            self._over.acquire(timeout=1)
        self._forget_raised()

    def _forget_raised(self) -> None:
        if self._raised is not None:
            _raise_in(self._worker, None)

    def _beat(self) -> None:
        """Renew the lock again and again, until the block ends or the lock is lost."""
        stays = self._lease.time_to_live or 0.0
        try:
            while not self._wake.acquire(timeout=stays / (4 if self._trouble is None else 12)):
                with self._turn:
                    if self._lost is None:
                        self._renew()
                        self._stop_worker()
                    if self._lost is not None:
                        break
        finally:
            self._beating = False
            self._over.release()

    def _renew(self) -> None:
        """Renew the lock; decide whether it is lost."""
        began, stays = _now(), self._lease.time_to_live
        gap = began - self._renewed
        try:
            self._lease.renew()
        except LockLostError as error:
            self._lost = self._loss(error, gap)
        except KartError as error:
            self._trouble = error
            if stays is None:
                log.warning("%s; whether the lock is held still cannot be told", error)
            elif _now() - self._renewed >= stays:
                self._lost = self._loss(error, gap)
            else:
                log.warning("%s; the lock is held for %.0f s still", error, self._renewed + stays - _now())
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
        """Return why the lock was not renewed in time."""
        if self._trouble is not None:
            return str(self._trouble)
        return "the interpreter was busy, as with a C call that kept the GIL, or the machine slept"

    def _loss(self, error: KartError, gap: float) -> LockLostError:
        """Return the error that tells how the lock was lost."""
        stays = self._lease.time_to_live
        late = stays is not None and gap > stays / 2
        why = f"; it was not renewed for {gap:.1f} s: {self._why()}" if late and error is not self._trouble else ""
        if error is self._trouble and stays is not None:
            why = f"; it could not be renewed for {_now() - self._renewed:.1f} s"
        advice = f"; if this happens again, raise [kart] lock_time_to_live ({stays:g} s)" if stays is not None else ""
        lost = LockLostError(
            f"the lock of {self._lease.holder.task} was lost: {error}{why}. "
            f"Its artifact is not published; the next try finds what another run has made{advice}"
        )
        lost.__cause__ = error
        return lost

    def _stop_worker(self) -> None:
        """Raise what the loss of the lock is in the thread that works, if it is lost."""
        if self._lost is not None and not self._checked:
            self._raised = _class_of(self._lost)
            _raise_in(self._worker, self._raised)


def _class_of(error: LockLostError) -> type[LockLostError]:
    """Return a class whose only instance is like an error: in another thread only a class can be raised."""

    class RaisedError(LockLostError):
        def __init__(self) -> None:
            super().__init__(*error.args)
            self.__cause__ = error.__cause__

        def __reduce__(self) -> tuple[type[LockLostError], tuple[object, ...]]:
            return LockLostError, self.args

    RaisedError.__name__ = RaisedError.__qualname__ = LockLostError.__name__
    RaisedError.__module__ = LockLostError.__module__
    return RaisedError


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Have an exception raised in a thread, where it runs Python the next time; or forget one that was not raised yet."""
    raised = ctypes.py_object(error) if error is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), raised)


def _now() -> float:
    """Return the seconds of a clock that nobody sets, and that goes on while the machine sleeps where there is such a one."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
