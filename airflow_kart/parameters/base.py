"""The base of all parameters: a declared, typed, validated value of a task.

A class body makes an instance of a parameter class, where a type checker should see the *value's* type:
``depth: int = IntParameter(default=6)``. So ``__new__`` of each class declares the value type as its return type. The
typing specification allows that, mypy and pyright honour it; mypy's ``misc`` note about it is waived.

To add a parameter type, subclass :class:`Parameter`. ``normalize``, ``parse``, ``serialize``, ``to_json`` and
``json_schema`` define the accepted values and their written forms. ``sample`` and ``variation`` give the compiler two
values to compile a DAG's structure with. ``check_options`` refuses a declaration that contradicts itself. These methods
raise :class:`ValueError` with the mistake and the expected form; this module adds the task's and the parameter's name.
"""

from __future__ import annotations

import enum
import functools
import inspect
from collections.abc import Callable
from typing import Any, ClassVar, Final, Generic, NamedTuple, TypeVar, cast

from typing_extensions import TypedDict, Unpack

from airflow_kart.exceptions import KartError, ParameterError, ParameterValueError
from airflow_kart.identity.names import is_own
from airflow_kart.parameters.label import class_and_label
from airflow_kart.stored import blank, make, named

T = TypeVar("T")
V = TypeVar("V")


class _Unset(enum.Enum):
    UNSET = enum.auto()

    def __repr__(self) -> str:
        return "<required>"

    def __reduce_ex__(self, _protocol: object) -> tuple[object, ...]:
        return named, ("parameters.UNSET",)


UNSET: Final[Any] = _Unset.UNSET
"""The default of a required parameter."""


class ParameterVisibility(enum.Enum):
    """The places that show a parameter's value."""

    PUBLIC = "public"
    """Trigger form, sidecars and logs."""
    HIDDEN = "hidden"
    """Sidecars and logs, but not the trigger form."""
    PRIVATE = "private"
    """None: sidecars hold a keyed digest, logs nothing."""


class Origin(NamedTuple):
    """A class and the name of one of its parameters."""

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
    """The options of every parameter besides ``default``."""

    description: str
    """One sentence for the trigger form and the documentation."""
    significant: bool
    """Whether the value is part of the task's identity (default: yes)."""
    visibility: ParameterVisibility
    """The places that show the value (default: all)."""
    compile_value: object
    """Value to compile a DAG's structure with, where a template stands for the real value."""
    kw_only: bool
    """Whether callers give the value by keyword only (default: yes). Write a literal ``False`` for type checkers."""


class Parameter(Generic[V]):
    """A text parameter, and the base of all others."""

    holds_tasks: ClassVar[bool] = False
    """Whether values are, or contain, tasks."""
    if_missing: ClassVar[str] = ""
    """Follows the message of the error that a task was made without a value."""
    _options: ClassVar[type] = Options
    origin: Origin | None
    """The first declaration of the parameter; ``None`` until Python has made the class."""
    default: V
    description: str
    significant: bool
    visibility: ParameterVisibility
    compile_value: V
    kw_only: bool

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Let luigi's ``IntParameter(6)`` stand for ``IntParameter(default=6)``."""
        super().__init_subclass__(**kwargs)
        own = vars(cls).get("__new__")
        if isinstance(own, staticmethod) and inspect.isfunction(own.__func__):
            cls.__new__ = _with_default_by_position(own.__func__)  # type: ignore[method-assign]

    def __new__(cls, *, default: object = UNSET, **options: Unpack[Options]) -> Any:
        """Declare a parameter of a task class.

        Args:
            default: value where the caller gives none. A parameter without a default is required.
            options: see :class:`Options`.
        """
        return cls._declare(default, options)

    @classmethod
    def _declare(cls, default: object, options: Options, **specifics: object) -> Any:
        try:
            return cls._declared(default, options, **specifics)
        except ParameterError as error:
            raise error.in_users_code() from error.__cause__

    @classmethod
    def _declared(cls, default: object, options: Options, **specifics: object) -> Any:
        unknown = sorted(set(options) - cls._options.__annotations__.keys())
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
            raise ParameterError(f"{cls.__name__}: {error}") from (None if is_own(cls) else error)
        return parameter

    @property
    def is_private(self) -> bool:
        """Whether no form, log, message or sidecar shows the value."""
        return self.visibility is ParameterVisibility.PRIVATE

    @property
    def required(self) -> bool:
        """Whether the parameter has no default."""
        return self.default is UNSET

    def bind(self, origin: Origin) -> None:
        """Check and normalise the declared default and compile value, once, when Python makes the class.

        Raises:
            ParameterValueError: the default or the compile value does not fit the parameter.
        """
        for attribute in ("default", "compile_value"):
            value = getattr(self, attribute)
            if value is not UNSET:
                setattr(self, attribute, self.accept(value, origin.class_name, origin.name, f" ({attribute})"))
        self.origin = origin

    # A subclass defines these.

    def check_options(self) -> None:
        """Check and normalise the options of the declaration.

        Raises:
            ValueError: an option is wrong, or two options contradict each other.
        """

    def normalize(self, value: object) -> V:
        """Return the value in its canonical, immutable form.

        Raises:
            ValueError: the value is not of the parameter's type or range.
        """
        if not isinstance(value, str):
            raise ValueError(f"give a str, not {described(value)}")
        return cast(V, str.__str__(value))  # the text itself: a str enum's own __str__ is its name

    def parse(self, text: str) -> V:
        """Return the value of a text: from :meth:`serialize`, a template or a command line.

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
        """Return the value of JSON other than text: from a form field or :meth:`to_json`.

        Raises:
            ValueError: the JSON stands for no value of the parameter.
        """
        return self.normalize(value)

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema (draft 2020-12) of the trigger form's field."""
        return {"type": "string"}

    def sample(self) -> V:
        """Return a value to compile with, for a parameter without a default and a compile value."""
        return cast(V, "sample")

    def variation(self, value: V) -> V:
        """Return another valid value, so that compiling twice shows the parameter's effect on the DAG."""
        return cast(V, f"{value}_")

    # The package calls these.

    def shown(self, value: Any) -> str:
        """Return a value for the text of a task: tasks with their labels, and a private value not at all."""
        if self.is_private:
            return "***"
        if self.holds_tasks and value is not None:
            if isinstance(value, tuple):
                return f"[{len(value)} tasks{f' from {class_and_label(value[0])}' if value else ''}]"
            return class_and_label(value)
        plain = value is None or isinstance(value, (str, int, float))
        text = repr(value) if plain else self.serialize(cast(V, value))
        return text if len(text) <= 80 else f"{text[:77]}..."

    def accept(self, value: object, owner: str, name: str, note: str = "") -> V:
        """Return a value from code, normalised.

        Args:
            value: the value.
            owner: the qualified name of the task's class.
            name: the parameter's name.
            note: follows the name in errors.

        Raises:
            ParameterValueError: the value does not fit; the message names task and parameter.
        """
        return self._checked(self.normalize, value, owner, name, note)

    def read(self, raw: object, owner: str, name: str) -> V:
        """Return a value from outside: text (a template, a form field) or JSON.

        Args:
            raw: the text, or the JSON.
            owner: the qualified name of the task's class.
            name: the parameter's name.

        Raises:
            ParameterValueError: ``raw`` stands for no value; the message names task and parameter.
        """
        if isinstance(raw, str) and not isinstance(raw, enum.Enum):
            return self._checked(self.parse, str(raw), owner, name)
        return self._checked(self.from_json, raw, owner, name)

    def _checked(self, convert: Callable[[T], V], value: T, owner: str, name: str, note: str = "") -> V:
        try:
            return convert(value)
        except (ValueError, TypeError, OverflowError) as error:
            if not self.is_private:
                cause = None if is_own(type(self)) else error  # the message has all that a parameter of this package knows
                raise ParameterValueError(f"{owner}.{name}{note}: {error}", task=owner, parameter=name) from cause
        except KartError as error:  # of a task that is the value
            if not self.is_private:
                error.add_context(f"{owner}.{name}{note}", task=owner, parameter=name)
                raise
        except Exception as error:
            if not self.is_private:
                message = f"{owner}.{name}{note}: {type(self).__name__} failed: {type(error).__name__}: {error}"
                raise ParameterValueError(message, task=owner, parameter=name) from error
        # Raised outside the handlers, so that no error that shows the value becomes the context of this one.
        message = f"{owner}.{name}{note}: the value does not fit; the parameter is private, so the value is not shown"
        raise ParameterValueError(message, task=owner, parameter=name)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the declaration: a class that travels by value takes its parameters along."""
        return blank, (type(self),), dict(vars(self))

    def __repr__(self) -> str:
        shown = "***" if self.is_private and not self.required else repr(self.default)
        return f"{type(self).__name__}(default={shown})"


def _with_default_by_position(new: Callable[..., Any]) -> Callable[..., Any]:
    """Return a ``__new__`` that takes one value by position, the default, as luigi's parameters do.

    Type checkers read the declared ``__new__``: a default by keyword is the only one they recognise.
    """
    if new.__code__.co_argcount > 1:  # a parameter that takes values by position itself
        return new

    @functools.wraps(new)
    def wrapped(cls: type[Parameter[Any]], *positional: object, **options: object) -> Any:
        for default in positional:
            if "default" in options:
                raise ParameterError(f"{cls.__name__} takes one value by position, the default; give the others by keyword")
            options["default"] = default
        return new(cls, **options)

    return wrapped


Parameter.__new__ = _with_default_by_position(Parameter.__new__)  # type: ignore[method-assign]

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
    """Return a value for an error message: its type, and a short value itself."""
    text = repr(value)
    return f"{type(value).__name__} {text}" if len(text) <= 80 else f"a {type(value).__name__}"
