"""Logs of Airflow that keep silent as the standard library's do: they go to ``stdout``, among the answers."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from structlog.typing import EventDict

_WITHOUT_AIRFLOW = ("", "file", "memory")


def quiet_airflow(directory: str = "") -> None:
    """Let Airflow's own loggers obey :func:`logging.disable`, where Airflow is loaded, or a directory's connections will need it."""
    scheme = directory.partition("://")[0] if "://" in directory else ""
    if "airflow" not in sys.modules and scheme in _WITHOUT_AIRFLOW:
        return
    import airflow.settings  # noqa: F401 - sets up Airflow's logging, which replaces what was set up before
    import structlog

    processors = structlog.get_config()["processors"]
    if isinstance(processors, list) and _dropped_if_disabled not in processors:
        processors.insert(0, _dropped_if_disabled)  # in place: loggers keep this list


def _dropped_if_disabled(_logger: object, method: str, event: EventDict) -> EventDict:
    if logging.getLevelName(method.upper()) <= logging.root.manager.disable:
        import structlog

        raise structlog.DropEvent
    return event
