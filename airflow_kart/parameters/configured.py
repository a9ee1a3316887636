"""Values of parameters that come from Airflow's configuration."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

from airflow_kart.exceptions import ParameterError, UnknownParameterError
from airflow_kart.identity.names import is_own, logical_module_name
from airflow_kart.identity.spelling import closest
from airflow_kart.parameters.base import Origin, Parameter
from airflow_kart.settings import ClassOption, ClassOptions


def origins_of(cls: type, name: str, parameter: Parameter[Any]) -> tuple[Origin, ...]:
    """Return the classes whose sections may set a parameter, the most specific first.

    These are the class itself, the bases from which the class inherits this very parameter, and the class of the first
    declaration. A base whose parameter the class declares anew is not among them.
    """
    bases = [base for base in cls.__mro__[1:] if vars(base).get("_parameters", vars(base)).get(name) is parameter]
    origins = [Origin.of(base, name) for base in (cls, *bases)]
    return tuple(dict.fromkeys([*origins, parameter.origin or origins[0]]))


def configured_or_default(parameter: Parameter[Any], origins: Sequence[Origin], options: ClassOptions) -> Any:
    """Return the value of a parameter without a value from code: the configured value, else the default.

    The first class that has an option decides: in its section ``[kart.package.module.Train]`` or ``[kart.Train]``, and before
    each section in its environment variable, ``AIRFLOW__KART_TRAIN__DEPTH``.

    Args:
        parameter: the parameter.
        origins: the classes whose sections may set the parameter, its own class first. A section with the logical name
            of a class comes before a section with the plain name.
        options: the configuration.

    Raises:
        ParameterValueError: the configured value does not fit; the message names section and option.
    """
    for origin in origins:
        for option in _options_of(origin):
            text = options.get(option)
            if text is not None:
                try:
                    return parameter.read(text, origins[0].class_name, origins[0].name)
                except ParameterError as error:
                    error.add_context(f"airflow.cfg {option}, or the environment variable {option.variable}")
                    raise
    return parameter.default


_checked: weakref.WeakKeyDictionary[type, object] = weakref.WeakKeyDictionary()
"""The classes whose options have been checked, each with the version of the configuration."""


def check_options(cls: type, root: type, options: ClassOptions) -> None:
    """Refuse an option of a class's sections, or its base classes', that names no parameter: the default would count silently.

    Classes of one plain name share a section, so that the parameters of all of them are right there.

    Args:
        cls: the class; checked once for each configuration.
        root: the base of all classes with parameters.
        options: the configuration.

    Raises:
        UnknownParameterError: an option names no parameter.
    """
    if _checked.get(cls) == options.version:
        return
    for base in cls.__mro__:
        if issubclass(base, root) and not is_own(base):
            logical, plain = (option.section.partition(".")[2] for option in _options_of(Origin.of(base, "")))
            for name in (logical, plain):
                for option in options.set_for(name):
                    _check_option(base, root, option, shared=name == plain)
    _checked[cls] = options.version


def _check_option(cls: type, root: type, option: ClassOption, *, shared: bool) -> None:
    names = _names_of(cls)
    if option.name in names or (shared and any(option.name in _names_of(other) for other in _all_named(cls.__name__, root))):
        return
    close = closest(option.name, names)
    hint = f"did you mean {close}?" if close else f"it has {', '.join(names) or 'none'}"
    raise UnknownParameterError(
        f"airflow.cfg {option}, or the environment variable {option.variable}: {cls.__qualname__} has no parameter "
        f"{option.name}; {hint}",
        task=cls.__qualname__,
        parameter=option.name,
    )


def _names_of(cls: type) -> list[str]:
    return [name.lower() for name in vars(cls).get("_parameters", ())]


def _all_named(name: str, root: type) -> Iterator[type]:
    pending: list[type] = [root]
    while pending:
        found = pending.pop()
        pending += found.__subclasses__()
        if found.__name__ == name:
            yield found


@functools.lru_cache(maxsize=8192)
def _options_of(origin: Origin) -> tuple[ClassOption, ClassOption]:
    module, class_name, name = origin
    qualified = f"{logical_module_name(module)}.{class_name}"
    return ClassOption.of(qualified, name), ClassOption.of(class_name.rpartition(".")[2], name)
