"""The library of a table, found without importing any."""

from __future__ import annotations

import ast
import importlib
import typing
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from airflow_kart.exceptions import ConfigurationError, FormatError
from airflow_kart.formats.base import type_name

TableKind = Literal["pandas", "polars", "polars-lazy", "pyarrow"]
"""A library's table: ``pandas.DataFrame``, ``polars.DataFrame``, ``polars.LazyFrame``, ``pyarrow.Table``."""

_KINDS: dict[tuple[str, str], TableKind] = {
    ("pandas", "DataFrame"): "pandas",
    ("polars", "DataFrame"): "polars",
    ("polars", "LazyFrame"): "polars-lazy",
    ("pyarrow", "Table"): "pyarrow",
}
_ALIASES = {"pd": "pandas", "pl": "polars", "pa": "pyarrow"}
_TABLES = "a pandas.DataFrame, a polars.DataFrame or LazyFrame, or a pyarrow.Table"


def require_table(obj: object, format_name: str) -> TableKind:
    """Return the library of a table to write. A subclass without attributes of its own loads as the library's class.

    Raises:
        FormatError: the object is no table, or is of a subclass with attributes of its own.
    """
    if (kind := kind_of_table(obj)) is not None:
        if lost := _own_attributes(obj):
            raise FormatError(
                f"the {format_name} format would lose the attributes {', '.join(lost)} of this {type_name(obj)}; "
                "dump a frame of the library's own class, or dump to a .pkl file"
            )
        return kind
    advice = "; give it a name and dump its to_frame()" if type(obj).__qualname__ == "Series" else ""
    raise FormatError(f"the {format_name} format cannot write a {type_name(obj)}; dump {_TABLES}{advice}")


def kind_of_table(obj: object) -> TableKind | None:
    """Return the library of a table, or ``None`` for any other object. A subclass counts as its library's table."""
    return next(_kinds_of_class(type(obj)), None)


def kind_of_type_name(name: str) -> TableKind | None:
    """Return the library whose table class has the name ``module.Class``, or ``None``."""
    module, _, cls = name.rpartition(".")
    return _KINDS.get((module.partition(".")[0], cls))


def check_kind(kind: object, format_name: str) -> None:
    """Refuse a value that is no kind of table.

    Raises:
        ConfigurationError: the value is no kind of table.
    """
    if kind is not None and kind not in get_args(TableKind):
        raise ConfigurationError(
            f"{format_name} got kind={kind!r}; give one of {', '.join(map(repr, get_args(TableKind)))}, or None for the kind "
            "that was dumped"
        )


def import_polars() -> Any:
    """Import polars, an extra.

    Raises:
        ConfigurationError: polars is not installed.
    """
    try:
        return importlib.import_module("polars")
    except ImportError as error:
        raise ConfigurationError("a polars table needs polars: pip install 'airflow-kart[polars]'") from error


def table_kind_of(annotation: object) -> TableKind | None:
    """Return the one kind of table that a type mentions: ``None`` where the type mentions none, or several.

    Args:
        annotation: a class, a union, a generic such as ``dict[str, pl.DataFrame]`` or pandera's ``DataFrame[Schema]``,
            or the text of a type, which need not be resolvable.
    """
    found = set(_mentioned(annotation))
    return found.pop() if len(found) == 1 else None


def _mentioned(annotation: object) -> Iterator[TableKind]:
    if isinstance(annotation, typing.ForwardRef):
        annotation = annotation.__forward_arg__
    if isinstance(annotation, str):
        yield from _mentioned_in_text(annotation)
    elif isinstance(annotation, (list, tuple)):
        for one in annotation:
            yield from _mentioned(one)
    elif (origin := get_origin(annotation)) is not None:
        if origin is Literal:
            return
        kinds = list(_mentioned(origin))
        yield from kinds or _mentioned(get_args(annotation)[:1] if origin is typing.Annotated else get_args(annotation))
    elif typing.is_typeddict(annotation):
        yield from _mentioned(tuple(typing.cast("type", annotation).__annotations__.values()))
    elif isinstance(annotation, type):
        yield from _kinds_of_class(annotation)
    else:
        # A type alias of Python 3.12, a NewType, a TypeVar: look at the type behind.
        for name in ("__value__", "__supertype__", "__bound__", "__constraints__"):
            yield from _mentioned(getattr(annotation, name, None) or ())


def class_of_table(cls: type) -> type | None:
    """Return the class of a library's tables from which a class inherits, or ``None``."""
    return next((one for one in cls.__mro__ if _place(one) in _KINDS), None)


def _own_attributes(table: object) -> list[str]:
    """Return the attributes that a subclass of a frame adds, as pandas' subclasses declare them in ``_metadata``."""
    cls, base = type(table), class_of_table(type(table))
    if base is None or cls is base:
        return []
    declared = [str(name) for name in getattr(cls, "_metadata", ()) if name not in getattr(base, "_metadata", ())]
    return [name for name in declared if getattr(table, name, None) is not None]


def _kinds_of_class(cls: type) -> Iterator[TableKind]:
    names = map(_place, cls.__mro__)
    return (_KINDS[name] for name in names if name in _KINDS)


def _place(cls: type) -> tuple[str, str]:
    return cls.__module__.partition(".")[0], cls.__qualname__


def _mentioned_in_text(text: str) -> Iterator[TableKind]:
    """Yield the kinds that a type's text mentions, by the libraries' names or their usual short names."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            for name in ast.unparse(node.value).split("."):
                if (kind := _KINDS.get((_ALIASES.get(name, name), node.attr))) is not None:
                    yield kind
        elif isinstance(node, ast.Name) and node.id == "LazyFrame":
            yield "polars-lazy"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from _mentioned_in_text(node.value)
