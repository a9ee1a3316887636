"""Mistakes in the body of a class with parameters: a value that looks like a parameter and is none, another's decorator."""

from __future__ import annotations

import datetime as dt
import enum
import re
import typing
from collections.abc import Mapping
from pathlib import PurePath

from airflow_kart.exceptions import ParameterError
from airflow_kart.parameters.base import Parameter, described

_NO_FIELD = re.compile(r"""["']?(\w+\.)*(ClassVar|Final)\b""")
_PARAMETER_OF = {
    bool: "BoolParameter",
    int: "IntParameter",
    float: "FloatParameter",
    str: "StrParameter",
    dt.datetime: "DateSecondParameter",
    dt.date: "DateParameter",
    dt.timedelta: "TimeDeltaParameter",
    enum.Enum: "EnumParameter",
    PurePath: "PathParameter",
    dict: "DictParameter",
    list: "ListParameter",
    tuple: "TupleParameter",
}


def refuse_plain_fields(cls: type) -> None:
    """Refuse ``depth: int = 3`` in a class's body: type checkers take such a field for a parameter, and the class does not.

    Constants are free: without an annotation, in capitals, with an underscore in front, or annotated with ``ClassVar`` or
    ``Final``. So are attributes that a base class has, and methods, properties and other descriptors.

    Raises:
        ParameterError: the body has such a field.
    """
    for name, annotation in vars(cls).get("__annotations__", {}).items():
        value = vars(cls).get(name, _NOTHING)
        if value is _NOTHING or isinstance(value, Parameter) or hasattr(type(value), "__get__"):
            continue
        inherited = next((vars(base)[name] for base in cls.__mro__[1:] if name in vars(base)), _NOTHING)
        a_base_has_it = inherited is not _NOTHING and not isinstance(inherited, Parameter)
        if name.startswith("_") or name.isupper() or a_base_has_it or _is_no_field(annotation):
            continue
        kind = next((kind for base, kind in _PARAMETER_OF.items() if isinstance(value, base)), "Parameter")
        written = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", annotation)
        raise ParameterError(
            f"{cls.__qualname__}.{name} is {described(value)}, and no parameter: the value would count in no unique id. Write "
            f"{name}: {written} = {kind}(default=...), or for a constant {name}: ClassVar[{written}] = ...",
            task=cls.__qualname__,
            parameter=name,
        )


def _is_no_field(annotation: object) -> bool:
    if isinstance(annotation, str):
        return _NO_FIELD.match(annotation.strip()) is not None
    origin = typing.get_origin(annotation) or annotation
    return origin is typing.ClassVar or origin is typing.Final


def refuse_foreign_decorators(cls: type) -> None:
    """Refuse a class that ``dataclass`` or attrs has changed: their constructors know nothing of parameters.

    Raises:
        ParameterError: the class, or a base class, has been decorated.
    """
    for mark, decorator in _DECORATORS.items():
        if hasattr(cls, mark):
            raise ParameterError(
                f"{cls.__qualname__} is decorated with {decorator}, which replaces the constructor that takes the parameters; "
                f"remove the decorator: a class with parameters is made of annotated attributes as it stands",
                task=cls.__qualname__,
            )


_NOTHING = object()
_DECORATORS: Mapping[str, str] = {"__dataclass_fields__": "@dataclass", "__attrs_attrs__": "@define of attrs"}
