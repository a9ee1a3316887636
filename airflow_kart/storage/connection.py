"""Which Airflow connection a store uses."""

from __future__ import annotations

from airflow_kart import settings
from airflow_kart.exceptions import ConfigurationError

__all__ = ["connection_id"]


def connection_id(option: str, default: str, given: str | None) -> str | None:
    """Return the id of the connection to use, or ``None`` where the service's own ways to credentials are to be tried.

    Args:
        option: the ``[kart]`` option that may name one.
        default: the id that Airflow uses by default; such a connection need not exist.
        given: the id that a DAG or a uri names, if it does.

    Raises:
        ConfigurationError: a connection is named that does not exist.
    """
    from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

    wanted = given or settings.kart_option(option).strip() or default
    try:
        BaseHook.get_connection(wanted)
    except AirflowNotFoundException as error:
        if wanted == default:
            return None
        raise ConfigurationError(
            f"there is no connection {wanted!r}: add it under Admin > Connections or as the environment variable "
            f"AIRFLOW_CONN_{wanted.upper()}, or correct {option} where it is set (in the DAG, the uri, or section [kart])"
        ) from error
    return wanted
