"""Values of parameters that come from Airflow's configuration."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from airflow_kart.exceptions import ParameterError
from airflow_kart.identity.names import logical_module_name
from airflow_kart.parameters.base import Origin, Parameter
from airflow_kart.settings import ClassOption, ClassOptions

__all__ = ["configured_or_default", "origins_of"]


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


@functools.lru_cache(maxsize=8192)
def _options_of(origin: Origin) -> tuple[ClassOption, ClassOption]:
    module, class_name, name = origin
    qualified = f"{logical_module_name(module)}.{class_name}"
    return ClassOption.of(qualified, name), ClassOption.of(class_name.rpartition(".")[2], name)
