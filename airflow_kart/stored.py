"""The addresses that artifacts hold. They stay the same in every version.

A pickle names each class and function by module and name, for as long as the artifact exists. So pickles refer to this
package only through the functions of this module, and name a class or function of a public module by its public address
(``formats.CsvFormat``), never by the module that defines the class. Never move, rename or remove anything here, and never
take a name out of a public module's ``__all__``.
"""

from __future__ import annotations

import enum
import io
import pickle
from collections.abc import Mapping
from typing import Any, TypeVar

from airflow_kart.identity.executions import running_class
from airflow_kart.identity.names import PACKAGE, at_public_address, find_loaded_class, public_addresses

__all__ = ["Unpickler", "blank", "complete_enum", "make", "named", "restore_class", "with_values"]

T = TypeVar("T")
E = TypeVar("E", bound=enum.EnumMeta)


def named(address: str) -> Any:
    """Return a class, a function or another public object of this package.

    Args:
        address: as :func:`~airflow_kart.identity.names.public_address` gives it.

    Raises:
        AttributeError: no public module has this name.
    """
    return at_public_address(address)


def make(address: str, *arguments: Any) -> Any:
    """Make an instance of a class of this package.

    Args:
        address: the class, as for :func:`named`.
        arguments: of its constructor.
    """
    return named(address)(*arguments)


def with_values(cls: type[T], values: Mapping[str, Any]) -> T:
    """Make a task, or another instance of a class with parameters.

    Args:
        cls: the class.
        values: the parameters by name.
    """
    return cls(**values)


def blank(cls: type[T]) -> T:
    """Make an instance without calling its constructor; the instance's state follows in the pickle."""
    return object.__new__(cls)


def restore_class(logical_module: str, qualname: str, by_value: bytes) -> type:
    """Return a class that other processes cannot import, for example a class of a DAG file.

    Args:
        logical_module: logical name of its module.
        qualname: its qualified name there.
        by_value: a pickle of the class itself, for processes that have not loaded its file; empty for a class that holds
            something that no pickle can hold.

    Raises:
        ImportError: this process has not loaded the file, and there is no pickle of the class.
    """
    found = running_class(logical_module, qualname) or find_loaded_class(logical_module, qualname)
    if found is None and not by_value:
        raise ImportError(f"the class {qualname} of {logical_module}, which could not be written by value")
    return found or Unpickler(io.BytesIO(by_value)).load()


def complete_enum(cls: E, state: tuple[tuple[Mapping[str, Any], Mapping[str, Any]], Mapping[str, Mapping[str, Any]]]) -> E:
    """Complete an enum that was made with all its members.

    Args:
        cls: the enum.
        state: the class's other attributes, in cloudpickle's form, and each member's own attributes.
    """
    (attributes, _), members = state
    for name, value in attributes.items():
        setattr(cls, name, value)
    for name, own in members.items():
        for attribute, value in own.items():
            setattr(cls.__members__[name], attribute, value)
    return cls


class Unpickler(pickle.Unpickler):
    """Reads pickles, also pickles of earlier versions, whose addresses have changed since."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the object that a pickle names."""
        try:
            return super().find_class(module, name)
        except (ImportError, AttributeError):
            if module.partition(".")[0] != PACKAGE:
                raise
            if name in _FORMER:
                return _FORMER[name]
            for address in public_addresses(name):
                return at_public_address(address)
            raise


_FORMER = {"_blank": blank, "_make": with_values, "restore_class": restore_class}
"""Functions that stood elsewhere in earlier versions, by their names there."""
