"""Airflow's configuration, read without importing Airflow.

Importing Airflow's own configuration takes over a second, which a notebook that only calls ``build()`` should not pay.
In a process that has loaded Airflow, this module asks Airflow. Elsewhere the module reads the two places that Airflow
reads first: the ``AIRFLOW__SECTION__OPTION`` environment variable, then ``airflow.cfg``. Nothing is read at import.

The parameters of task classes have sections of their own, ``[kart.Train]``. Airflow's ``conf.get`` looks for sections in
lower case only, so this module reads them from Airflow's parser, in any case. As in Airflow, ``%%`` stands for ``%`` in
the file.
"""

from __future__ import annotations

import configparser
import copy
import functools
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

from airflow_kart.exceptions import ConfigurationError
from airflow_kart.get_provider_info import get_provider_info

_CLASS_SECTIONS = "kart."
_TRUE = frozenset({"t", "true", "1", "yes", "on"})
_FALSE = frozenset({"f", "false", "0", "no", "off"})
_FILES_EACH = 3  # of a thread that waits: two clients keep a connection for each, and others need files too


def airflow_home() -> Path:
    """Return ``AIRFLOW_HOME``, by default ``~/airflow``, as an absolute path."""
    return Path(os.environ.get("AIRFLOW_HOME") or "~/airflow").expanduser().absolute()


def airflow_option(section: str, option: str) -> str | None:
    """Return one option of Airflow's configuration; ``None`` for an unset one."""
    reading = _reading.get()
    if reading is None or reading.options is None:
        return _airflow_option(section, option)
    if (section, option) not in reading.options:
        reading.options[section, option] = _airflow_option(section, option)
    return reading.options[section, option]


def _airflow_option(section: str, option: str) -> str | None:
    value = os.environ.get(f"AIRFLOW__{section.upper()}__{option.upper()}")
    if value is not None:
        return os.path.expandvars(value)
    conf = _loaded_conf()
    if conf is not None:
        found = conf.get(section, option, fallback=None)
        return None if found is None else str(found)
    file = _config_file()
    found = _parsed(*file).get(section, option, fallback=None) if file is not None else None
    return None if found is None else _as_meant(found)


class ClassOption(NamedTuple):
    """The option and the environment variable that may set a parameter of a task class."""

    section: str
    name: str
    variable: str
    """The environment variable."""

    @classmethod
    def of(cls, class_name: str, parameter: str) -> ClassOption:
        """Return the option of a parameter; the class is named by its logical or its plain name."""
        section = f"{_CLASS_SECTIONS}{class_name}"
        return cls(section, parameter, f"AIRFLOW__{section.replace('.', '_').upper()}__{parameter.upper()}")

    def __str__(self) -> str:
        return f"[{self.section}] {self.name}"


class ClassOptions:
    """The parameters of task classes that the environment and the configuration file set."""

    def __init__(self, parser: configparser.RawConfigParser) -> None:
        self._parser = parser
        self._environment: Mapping[str, str] = os.environ
        self._names = {name.lower(): name for name in parser.sections() if name.startswith(_CLASS_SECTIONS)}
        self._sections: dict[str, dict[str, str | None]] = {}
        self.version: tuple[object, ...] = (id(parser), *self._names)
        """Equal for two readings of one configuration."""

    def get(self, option: ClassOption) -> str | None:
        """Return the text of an option; ``None`` for an unset one."""
        value = self._environment.get(option.variable)
        if value is not None:
            return os.path.expandvars(value)
        if not self._names:
            return None
        text = self._section(option.section.lower()).get(option.name.lower())
        return None if text is None else _as_meant(text)

    def set_for(self, class_name: str) -> list[ClassOption]:
        """Return all options that the environment and the file set for a class, by its logical or its plain name."""
        variables = ClassOption.of(class_name, "").variable
        names = [variable[len(variables) :].lower() for variable in self._environment if variable.startswith(variables)]
        if self._names:
            names += self._section(f"{_CLASS_SECTIONS}{class_name}".lower()).keys() - self._parser.defaults().keys()
        return [ClassOption.of(class_name, name) for name in sorted(set(names))]

    def _section(self, name: str) -> dict[str, str | None]:
        if name not in self._sections:
            # Airflow's own get() would lower the section's name.
            written = self._names.get(name)
            items = configparser.RawConfigParser.items(self._parser, written, raw=True) if written is not None else ()
            self._sections[name] = {option.lower(): text for option, text in items}
        return self._sections[name]

    def held(self) -> ClassOptions:
        """Return the options as they are now, whatever becomes of the environment."""
        found = copy.copy(self)
        found._environment = dict(os.environ)  # noqa: SLF001 - of this class
        return found


class _Reading:
    """What a block has read of the configuration."""

    def __init__(self, *, options: bool) -> None:
        self.options: dict[tuple[str, str], str | None] | None = {} if options else None
        self.classes: ClassOptions | None = None


_reading: ContextVar[_Reading | None] = ContextVar("kart_reading", default=None)


@contextmanager
def one_reading(*, options: bool = False) -> Iterator[None]:
    """Read the parameters of task classes at most once in this block, which makes thousands of tasks.

    Args:
        options: whether to read each option at most once too: in a block that calls no code of others.
    """
    outer = _reading.get()
    _reading.set(_Reading(options=True) if options else outer or _Reading(options=False))
    try:
        yield
    finally:
        _reading.set(outer)


def class_options() -> ClassOptions:
    """Return the present configuration. Cheap enough to call for every task."""
    reading = _reading.get()
    if reading is not None and reading.classes is not None:
        return reading.classes
    conf = _loaded_conf()
    found = ClassOptions(conf) if conf is not None else _class_options_of(_config_file())
    if reading is not None:
        reading.classes = found = found.held()
    return found


@functools.lru_cache(maxsize=4)
def _class_options_of(file: tuple[str, int] | None) -> ClassOptions:
    return ClassOptions(configparser.RawConfigParser() if file is None else _parsed(*file))


def _as_meant(text: str) -> str:
    """Return the meaning of a text in Airflow's file; interpolations stay as they are."""
    return os.path.expandvars(text.replace("%%", "%"))


def _loaded_conf() -> Any:
    """Return Airflow's configuration; ``None`` in a process that has not loaded Airflow."""
    return getattr(sys.modules.get("airflow.configuration"), "conf", None)


def _config_file() -> tuple[str, int] | None:
    """Return the path and the modification time of ``airflow.cfg``; ``None`` without such a file."""
    home = os.environ.get("AIRFLOW_HOME") or "~/airflow"
    file = _expanded(os.environ.get("AIRFLOW_CONFIG") or f"{home}/airflow.cfg", os.environ.get("HOME"))
    try:
        changed = os.stat(file).st_mtime_ns
    except OSError:
        return None
    return os.path.abspath(file), changed


@functools.lru_cache(maxsize=4)
def _expanded(path: str, _home: str | None) -> str:
    return os.path.expanduser(path)


@functools.lru_cache(maxsize=4)
def _parsed(file: str, _changed: int) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
    try:
        parser.read(file, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{file} cannot be read: {error}; fix the file, or delete it and let Airflow write a new one"
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


def kart_int(option: str, least: int = 1) -> int:
    """Return a ``[kart]`` option as an int of at least ``least``.

    Raises:
        ConfigurationError: the option is not a whole number, or too small.
    """
    text = kart_option(option).strip()
    if text.isdecimal() and int(text) >= least:
        return int(text)
    wanted = "above zero" if least == 1 else f"from {least} up"
    raise ConfigurationError(f"[kart] {option} is {text!r}; set it to a whole number {wanted}")


def check_threads() -> int:
    """Return how many look-ups may wait for a network at once: as many as configured, or as the process may open files for.

    Raises:
        ConfigurationError: ``[kart] check_threads`` is no number above zero.
    """
    import resource

    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = kart_int("check_threads")
    return wanted if most == resource.RLIM_INFINITY else max(1, min(wanted, most // _FILES_EACH))


def kart_choice(option: str, choices: Sequence[str]) -> str:
    """Return a ``[kart]`` option that is one of a few words.

    Raises:
        ConfigurationError: the option is another word.
    """
    text = kart_option(option).strip().lower()
    if text in choices:
        return text
    raise ConfigurationError(f"[kart] {option} is {text!r}; set it to one of {', '.join(choices)}")


ONE_SLASH = re.compile(r"(abfss?|file|gcs|gs|https?|memory|s3a?):/(?!/)", re.IGNORECASE)
"""The beginning of a uri with one slash, as ``pathlib.Path`` writes uris."""


def workspace_directory() -> str:
    """Return the configured workspace, absolute, so that all processes agree on the directory."""
    return below_airflow_home(kart_option("workspace_directory"))


def read_from() -> tuple[str, ...]:
    """Return the configured workspaces, absolute, that are read for artifacts that the own workspace lacks."""
    listed = (directory.strip() for directory in kart_option("read_from").split(","))
    return tuple(below_airflow_home(directory) for directory in listed if directory)


def below_airflow_home(directory: str) -> str:
    """Return a directory of a DAG or of the configuration, absolute: relative ones start at ``AIRFLOW_HOME``."""
    is_uri = "://" in directory or ONE_SLASH.match(directory)
    return directory if is_uri else str(airflow_home() / Path(directory).expanduser())
