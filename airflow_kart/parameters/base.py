"""What every parameter is: a declared, typed, validated value of a task.

A parameter class is instantiated in a class body, where a type checker should see the *value's* type:
``depth: int = IntParameter(default=6)``. So each class declares ``__new__`` as returning its value type, which the
typing specification allows and both mypy and pyright honour; the ``misc`` code waived there is mypy's note about it.

To add a parameter type, subclass :class:`Parameter`: ``normalize``, ``parse``, ``serialize``, ``to_json`` and
``json_schema`` say what it accepts and how it is written; ``sample`` and ``variation`` give the compiler two values
to compile a DAG's structure with; ``check_options`` refuses a declaration that contradicts itself. Methods raise
:class:`ValueError` with what is wrong and what is expected; the name of the task and the parameter is added here.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, ClassVar, Final, Generic, NamedTuple, TypedDict, TypeVar, cast

from typing_extensions import Unpack

from airflow_kart.exceptions import ParameterError, ParameterValueError
from airflow_kart.stored import blank, make, named

__all__ = ["UNSET", "Options", "Origin", "Parameter", "ParameterVisibility", "described"]

V = TypeVar("V")


class _Unset(enum.Enum):
    UNSET = enum.auto()

    def __repr__(self) -> str:
        return "<required>"

    def __reduce_ex__(self, _protocol: object) -> tuple[object, ...]:
        return named, ("parameters.UNSET",)


UNSET: Final[Any] = _Unset.UNSET
"""The default of a parameter that has none."""


class ParameterVisibility(enum.Enum):
    """Who sees a parameter's value."""

    PUBLIC = "public"
    """Trigger form, sidecars and logs."""
    HIDDEN = "hidden"
    """Sidecars and logs, but not the trigger form."""
    PRIVATE = "private"
    """Nobody: sidecars hold a keyed digest, logs nothing."""


class Origin(NamedTuple):
    """A class and the name a parameter has there."""

    module: str
    class_name: str
    """The class's qualified name."""
    name: str

    @classmethod
    def of(cls, owner: type, name: str) -> Origin:
        """Return the origin of a class's parameter."""
        return cls(owner.__module__, owner.__qualname__, name)

    def __reduce__(self) -> tuple[object, ...]:
        return make, ("parameters.Origin", *self)


class Options(TypedDict, total=False):
    """What every parameter takes besides ``default``."""

    description: str
    """One sentence for the trigger form and the documentation."""
    significant: bool
    """Whether the value is part of the task's identity (default: yes)."""
    visibility: ParameterVisibility
    """Who sees the value (default: everyone)."""
    compile_value: object
    """Value a DAG's structure is compiled with while a template stands for the real one."""
    kw_only: bool
    """Whether the value is given by keyword only (default: yes). Write ``False`` itself, as type checkers read it."""


class Parameter(Generic[V]):
    """A text parameter, and the base of all others."""

    holds_tasks: ClassVar[bool] = False
    """Whether values are, or contain, tasks."""
    origin: Origin | None
    """Where the parameter was declared first; ``None`` until its class is made."""
    default: V
    description: str
    significant: bool
    visibility: ParameterVisibility
    compile_value: V
    kw_only: bool

    def __new__(cls, *, default: object = UNSET, **options: Unpack[Options]) -> Any:
        """Declare a parameter of a task class.

        Args:
            default: value where none is given; without it the parameter is required.
            options: see :class:`Options`.
        """
        return cls._declare(default, options)

    @classmethod
    def _declare(cls, default: object, options: Options, **specifics: object) -> Any:
        unknown = sorted(set(options) - Options.__annotations__.keys())
        if unknown:
            raise ParameterError(f"{cls.__name__} takes no option {', '.join(unknown)}")
        for name, kind in _KINDS.items():
            if not isinstance(options.get(name, kind), (kind, type)):
                raise ParameterError(
                    f"{cls.__name__}({name}=...): give a {kind.__name__}, not {described(options.get(name))}"
                )
        parameter = object.__new__(cls)
        parameter.__dict__.update(_DEFAULTS, **options, **specifics, default=default)
        try:
            parameter.check_options()
        except (ValueError, TypeError, OverflowError) as error:
            raise ParameterError(f"{cls.__name__}: {error}") from error
        return parameter

    @property
    def required(self) -> bool:
        """Whether the parameter has no default."""
        return self.default is UNSET

    def bind(self, origin: Origin) -> None:
        """Check and normalise the declared default and compile value, once, when the class is made.

        Raises:
            ParameterValueError: the default or the compile value does not fit the parameter.
        """
        for attribute in ("default", "compile_value"):
            value = getattr(self, attribute)
            if value is not UNSET:
                setattr(self, attribute, self.accept(value, origin.class_name, f"{origin.name} ({attribute})"))
        self.origin = origin

    # What a subclass says.

    def check_options(self) -> None:
        """Check, and bring into one form, the options of the declaration itself.

        Raises:
            ValueError: they are wrong, or contradict each other.
        """

    def normalize(self, value: object) -> V:
        """Return the value in its one immutable form.

        Raises:
            ValueError: the value is not of the parameter's type or range.
        """
        if not isinstance(value, str):
            raise ValueError(f"give a str, not {described(value)}")
        return cast(V, str.__str__(value))  # the text itself: a str enum's own __str__ is its name

    def parse(self, text: str) -> V:
        """Return the value written as text by :meth:`serialize`, a template or a command line.

        Raises:
            ValueError: the text stands for no value of the parameter.
        """
        return self.normalize(text)

    def serialize(self, value: V) -> str:
        """Return the value as text that :meth:`parse` reads back."""
        return str(value)

    def to_json(self, value: V) -> Any:
        """Return the value as JSON, for the trigger form and the sidecar."""
        return self.serialize(value)

    def from_json(self, value: object) -> V:
        """Return the value that JSON other than text stands for, as a form field or :meth:`to_json` gives it.

        Raises:
            ValueError: it stands for no value of the parameter.
        """
        return self.normalize(value)

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema (draft 2020-12) of the trigger form's field."""
        return {"type": "string"}

    def sample(self) -> V:
        """Return a value to compile with where there is neither a default nor a compile value."""
        return cast(V, "sample")

    def variation(self, value: V) -> V:
        """Return another valid value, so that compiling twice shows what the parameter changes."""
        return cast(V, f"{value}_")

    # What the package calls.

    def accept(self, value: object, owner: str, name: str) -> V:
        """Return a value given in code, normalised.

        Raises:
            ParameterValueError: the value does not fit; the message names task and parameter.
        """
        return self._checked(lambda: self.normalize(value), owner, name)

    def read(self, raw: object, owner: str, name: str) -> V:
        """Return a value that came from outside, as text (a template, a form field) or as JSON.

        Raises:
            ParameterValueError: it stands for no value; the message names task and parameter.
        """
        as_text = isinstance(raw, str) and not isinstance(raw, enum.Enum)
        return self._checked(lambda: self.parse(str(raw)) if as_text else self.from_json(raw), owner, name)

    def _checked(self, convert: Callable[[], V], owner: str, name: str) -> V:
        try:
            return convert()
        except (ValueError, TypeError, OverflowError) as error:
            if self.visibility is ParameterVisibility.PRIVATE:
                raise ParameterValueError(f"{owner}.{name}: the value does not fit (it is private, so not shown)") from None
            raise ParameterValueError(f"{owner}.{name}: {error}") from error

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the declaration, as a class that travels by value takes its parameters along."""
        return blank, (type(self),), dict(vars(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(default={self.default!r})"


_DEFAULTS: Final = {
    "origin": None,
    "description": "",
    "significant": True,
    "visibility": ParameterVisibility.PUBLIC,
    "compile_value": UNSET,
    "kw_only": True,
}
_KINDS: Final = {"description": str, "significant": bool, "visibility": ParameterVisibility, "kw_only": bool}


def described(value: object) -> str:
    """Return a value for an error message: its type, and itself where that is short."""
    text = repr(value)
    return f"{type(value).__name__} {text}" if len(text) <= 80 else f"a {type(value).__name__}"
