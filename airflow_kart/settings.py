"""Airflow's configuration, read without importing Airflow.

Importing Airflow's own configuration takes over a second, so a notebook that only calls ``build()`` should not
pay for it. Where Airflow is loaded already it is asked; elsewhere the same two places are read that it reads
first: the ``AIRFLOW__SECTION__OPTION`` environment variable, then ``airflow.cfg``. Nothing is read at import.
"""

from __future__ import annotations

import configparser
import functools
import os
import sys
from pathlib import Path
from typing import Any

from airflow_kart.exceptions import ConfigurationError
from airflow_kart.get_provider_info import get_provider_info

__all__ = [
    "airflow_home",
    "airflow_option",
    "below_airflow_home",
    "kart_bool",
    "kart_int",
    "kart_option",
    "workspace_directory",
]

_TRUE = frozenset({"t", "true", "1", "yes", "on"})
_FALSE = frozenset({"f", "false", "0", "no", "off"})


def airflow_home() -> Path:
    """Return ``AIRFLOW_HOME``, by default ``~/airflow``, as an absolute path."""
    return Path(os.environ.get("AIRFLOW_HOME") or "~/airflow").expanduser().absolute()


def airflow_option(section: str, option: str) -> str | None:
    """Return one option of Airflow's configuration, or ``None`` where nobody set it."""
    value = os.environ.get(f"AIRFLOW__{section.upper()}__{option.upper()}")
    if value is not None:
        return os.path.expandvars(value)
    loaded: Any = sys.modules.get("airflow.configuration")
    conf = getattr(loaded, "conf", None)
    if conf is not None:
        found = conf.get(section, option, fallback=None)
        return None if found is None else str(found)
    file = Path(os.environ.get("AIRFLOW_CONFIG") or airflow_home() / "airflow.cfg").expanduser()
    try:
        changed = file.stat().st_mtime_ns
    except OSError:
        return None
    found = _config_file(str(file), changed).get(section, option, fallback=None)
    return None if found is None else os.path.expandvars(found)  # as Airflow does


@functools.lru_cache(maxsize=4)
def _config_file(file: str, _changed: int) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
    try:
        parser.read(file, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{file} cannot be read: {error}; mend it, or remove it and let Airflow write it anew"
        ) from error
    return parser


def kart_option(option: str) -> str:
    """Return an option of the ``[kart]`` section, or its documented default."""
    value = airflow_option("kart", option)
    return value if value is not None else _default(option)


@functools.lru_cache(maxsize=32)
def _default(option: str) -> str:
    return str(get_provider_info()["config"]["kart"]["options"][option]["default"])


def kart_bool(option: str) -> bool:
    """Return a ``[kart]`` option as a bool.

    Raises:
        ConfigurationError: the option is neither true nor false.
    """
    text = kart_option(option).strip().lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ConfigurationError(f"[kart] {option} is {text!r}; set it to True or False")


def kart_int(option: str) -> int:
    """Return a ``[kart]`` option as a positive int.

    Raises:
        ConfigurationError: the option is not a whole number above zero.
    """
    text = kart_option(option).strip()
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise ConfigurationError(f"[kart] {option} is {text!r}; set it to a whole number above zero")


def workspace_directory() -> str:
    """Return the configured workspace, absolute, so that every process agrees on it."""
    return below_airflow_home(kart_option("workspace_directory"))


def below_airflow_home(directory: str) -> str:
    """Return a directory of a DAG or of the configuration, absolute: a relative one is taken from ``AIRFLOW_HOME``."""
    return directory if "://" in directory else str(airflow_home() / Path(directory).expanduser())
