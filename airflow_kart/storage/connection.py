"""Which Airflow connection is used, and how many of its own a store keeps open."""

from __future__ import annotations

from typing import Any

from airflow_kart import settings
from airflow_kart.exceptions import ConfigurationError

__all__ = ["connection_id", "pool_size", "require_connection", "whose"]

_LEAST_CONNECTIONS = 32


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
