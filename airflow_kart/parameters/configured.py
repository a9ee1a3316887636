"""Values of parameters that come from Airflow's configuration."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Collection, Sequence
from typing import Any

from airflow_kart.exceptions import ParameterError, UnknownParameterError
from airflow_kart.identity.names import logical_module_name
from airflow_kart.parameters.base import Origin, Parameter
from airflow_kart.settings import ClassOption, ClassOptions

__all__ = ["configured_or_default", "origins_of", "refuse_unknown_options"]


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


def refuse_unknown_options(cls: type, names: Collection[str], alike: Callable[[str], bool], options: ClassOptions) -> None:
    """Refuse an option of a class's sections that names no parameter: the default would count without a word.

    Args:
        cls: the class.
        names: the names of its parameters.
        alike: says whether another class of the same plain name has a parameter of this name; they share a section.
        options: the configuration.

    Raises:
        UnknownParameterError: an option names no parameter.
    """
    known = {name.lower() for name in names}
    logical, plain = (option.section.partition(".")[2] for option in _options_of(Origin.of(cls, "")))
    for class_name in (logical, plain):
        for option in options.set_for(class_name):
            if option.name not in known and not (class_name == plain and alike(option.name)):
                close = difflib.get_close_matches(option.name, known, n=1)
                hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(sorted(names)) or 'none'}"
                raise UnknownParameterError(
                    f"airflow.cfg {option}, or the environment variable {option.variable}: {cls.__qualname__} has no "
                    f"parameter {option.name}; {hint}",
                    task=cls.__qualname__,
                    parameter=option.name,
                )


@functools.lru_cache(maxsize=8192)
def _options_of(origin: Origin) -> tuple[ClassOption, ClassOption]:
    module, class_name, name = origin
    qualified = f"{logical_module_name(module)}.{class_name}"
    return ClassOption.of(qualified, name), ClassOption.of(class_name.rpartition(".")[2], name)
