"""Values of parameters that come from Airflow's configuration."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from airflow_kart.exceptions import ParameterError, ParameterValueError
from airflow_kart.identity.names import logical_module_name
from airflow_kart.parameters.base import Origin, Parameter
from airflow_kart.settings import ClassOption, ClassOptions

__all__ = ["configured_or_default", "origins_of"]


def origins_of(cls: type, name: str, parameter: Parameter[Any]) -> tuple[Origin, ...]:
    """Return the classes by which a parameter may be configured, the most specific first.

    They are the class itself, the bases that it has this very parameter from, and the class that declared it first. A
    base whose parameter the class declares anew is none of them.
    """
    bases = [base for base in cls.__mro__[1:] if vars(base).get("_parameters", vars(base)).get(name) is parameter]
    origins = [Origin.of(base, name) for base in (cls, *bases)]
    return tuple(dict.fromkeys([*origins, parameter.origin or origins[0]]))


def configured_or_default(parameter: Parameter[Any], origins: Sequence[Origin], options: ClassOptions) -> Any:
    """Return the value of a parameter that is not given in code: the configured one, else its default.

    Args:
        parameter: the parameter.
        origins: the classes by which it may be configured, its own first. Of the sections of a class, the one with its
            logical name comes before the one with its plain name.
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
                    raise ParameterValueError(
                        f"{error}; it is configured so: change {option} in airflow.cfg, or the variable {option.variable}"
                    ) from error
    return parameter.default


@functools.lru_cache(maxsize=8192)
def _options_of(origin: Origin) -> tuple[ClassOption, ClassOption]:
    module, class_name, name = origin
    qualified = f"{logical_module_name(module)}.{class_name}"
    return ClassOption.of(qualified, name), ClassOption.of(class_name.rpartition(".")[2], name)
