"""The way of stores and locks to their services: Airflow's connections, and one client per process."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from airflow_kart import settings
from airflow_kart.exceptions import ConfigurationError

_LEAST_CONNECTIONS = 32
_USERINFO = re.compile(r"(https?://)[^\s\"'<>]*@|(?<=://)[^/\s\"'<>]*:[^/\s\"'<>]*@", re.IGNORECASE)

_T = TypeVar("_T")


def connection_id(option: str, default: str, given: str | None) -> str | None:
    """Return the id of the connection to use, ``None`` for the service's own search for credentials.

    Args:
        option: the ``[kart]`` option that may name a connection.
        default: the id that Airflow uses by default; this connection need not exist.
        given: the id that a DAG or a uri names, ``None`` where neither does.

    Raises:
        ConfigurationError: the named connection does not exist.
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
        conn_id: the id.
        to_correct: the option and the places that may name the connection, for the error.

    Raises:
        ConfigurationError: the connection does not exist.
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
    """Return the words for the connection in use, or for its absence."""
    return f"connection {used}" if used else f"without a connection, as there is no {default}"


def without_passwords(text: str) -> str:
    """Return a text without the user and password of addresses in the text; ids of connections stay."""
    return _USERINFO.sub(r"\1***@", text)


def safe_cause(error: BaseException) -> BaseException | None:
    """Return an error as the cause of another one; ``None`` where the error or its causes tell a password in a traceback."""
    linked: BaseException | None = error
    while linked is not None:
        if any(without_passwords(text) != text for text in (str(linked), repr(linked))):
            return None
        linked = linked.__cause__ or linked.__context__
    return error


def pool_size() -> int:
    """Return how many connections to a service stay open: one for each thread that looks things up, and some more."""
    return max(_LEAST_CONNECTIONS, settings.check_threads() + 8)


class _Slot(Generic[_T]):
    __slots__ = ("lock", "made")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.made: list[_T] = []


class PerProcess(Generic[_T]):
    """A value that must not cross a fork, as a client with open connections. Threads share the value.

    Args:
        make: makes the value of a process, at first use.
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
