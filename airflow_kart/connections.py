"""Airflow's connections, and one client per process: what stores and locks reach their services with."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from airflow_kart import settings
from airflow_kart.exceptions import ConfigurationError

__all__ = ["PerProcess", "connection_id", "pool_size", "require_connection", "whose"]

_LEAST_CONNECTIONS = 32

_T = TypeVar("_T")


def connection_id(option: str, default: str, given: str | None) -> str | None:
    """Return the id of the connection to use, or ``None`` where the service's own ways to credentials are to be tried.

    Args:
        option: the ``[kart]`` option that may name one.
        default: the id that Airflow uses by default; such a connection need not exist.
        given: the id that a DAG or a uri names, if it does.

    Raises:
        ConfigurationError: a connection is named that does not exist.
    """
    wanted = given or settings.kart_option(option).strip() or default
    try:
        require_connection(wanted, f"{option} where it is set (in the DAG, the uri, or section [kart])")
    except ConfigurationError:
        if wanted == default:
            return None
        raise
    return wanted


def require_connection(conn_id: str, to_correct: str) -> Any:
    """Return an Airflow connection.

    Args:
        conn_id: its id.
        to_correct: what names it, and where, for the error.

    Raises:
        ConfigurationError: there is none.
    """
    from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

    try:
        return BaseHook.get_connection(conn_id)
    except AirflowNotFoundException as error:
        raise ConfigurationError(
            f"there is no connection {conn_id!r}: add it under Admin > Connections or as the environment variable "
            f"AIRFLOW_CONN_{conn_id.upper()}, or correct {to_correct}"
        ) from error


def whose(used: str | None, default: str) -> str:
    """Return the words for a connection that is used, or for none, as there is no default one."""
    return f"connection {used}" if used else f"without a connection, as there is no {default}"


def pool_size() -> int:
    """Return how many connections to a service are kept open: enough for all threads that look things up, and some more."""
    return max(_LEAST_CONNECTIONS, settings.kart_int("check_threads") + 8)


class _Slot(Generic[_T]):
    __slots__ = ("lock", "made")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.made: list[_T] = []


class PerProcess(Generic[_T]):
    """A value, such as a client with open connections, that must not cross a fork. Threads share it.

    Args:
        make: makes the value of a process, when it is first asked for.
    """

    def __init__(self, make: Callable[[], _T]) -> None:
        self._make = make
        self._slots: dict[int, _Slot[_T]] = {}  # a slot's lock is its process's own, so no fork can leave it locked

    def get(self) -> _T:
        """Return this process's value."""
        slot = self._slots.setdefault(os.getpid(), _Slot())
        with slot.lock:
            if not slot.made:
                slot.made.append(self._make())
            return slot.made[0]

    def renew(self, old: _T) -> None:
        """Make the value anew, unless another thread has done so since ``old`` was got."""
        slot = self._slots.setdefault(os.getpid(), _Slot())
        with slot.lock:
            if slot.made and slot.made[0] is old:
                slot.made[:] = [self._make()]
