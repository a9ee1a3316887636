"""Parametrized: an immutable value made of typed parameters, as a task is before any work."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast, overload

from typing_extensions import Self

from airflow_kart import settings
from airflow_kart.exceptions import IdentityError, KartError, MissingParameterError, ParameterError
from airflow_kart.identity import encoding
from airflow_kart.identity.appearance import encode_parameter
from airflow_kart.identity.names import is_own, plain_class_name
from airflow_kart.parameters.arguments import by_name, refuse_unknown
from airflow_kart.parameters.attributes import refuse_foreign_decorators, refuse_plain_fields
from airflow_kart.parameters.base import UNSET, Origin, Parameter
from airflow_kart.parameters.configured import check_options, configured_or_default, origins_of
from airflow_kart.parameters.declared import Declared
from airflow_kart.parameters.former import advice_for
from airflow_kart.parameters.private import keyed
from airflow_kart.stored import with_values

Other = TypeVar("Other", bound="Parametrized")


class State:
    """The computed properties of one value."""

    digest: bytes | None = None
    encoded: bytes = b""
    """All parameters, encoded for the digest."""


class Parametrized(Declared):
    """A value whose class declares its parameters as annotated attributes. Equal class and parameters: equal value."""

    # The next four are part of the pickles of classes that travel by value: they keep their names and shapes.
    _parameters: ClassVar[Mapping[str, Parameter[Any]]] = {}
    _task_parameters: ClassVar[tuple[str, ...]] = ()
    _positional: ClassVar[tuple[str, ...]] = ()
    _origins: ClassVar[Mapping[str, tuple[Origin, ...]]] = {}  # the classes that may be configured to set each parameter
    _state_class: ClassVar[type[State]] = State

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Collect and check the class's parameters."""
        super().__init_subclass__(**kwargs)
        try:
            cls._collect_parameters()
        except KartError as error:
            raise error.in_users_code() from error.__cause__

    @classmethod
    def _collect_parameters(cls) -> None:
        found: dict[str, Parameter[Any]] = {}
        declaring: dict[str, type] = {}
        for base in reversed(cls.__mro__):
            for name, value in vars(base).items():
                if isinstance(value, Parameter):
                    found[name], declaring[name] = value, base
                elif isinstance(value, type) and issubclass(value, Parameter):
                    raise ParameterError(
                        f"{base.__qualname__}.{name} is the class {value.__name__}; make it a parameter: add ()"
                    )
                else:
                    found.pop(name, None)
        for name, parameter in found.items():
            if any(name in vars(base) for base in cls.__mro__ if is_own(base)):
                raise ParameterError(f"{cls.__qualname__}.{name}: TaskOnKart has a method of this name; choose another")
            if parameter.origin is None:
                parameter.bind(Origin.of(declaring[name], name))
        cls._parameters = found
        cls._task_parameters = tuple(name for name, parameter in found.items() if parameter.holds_tasks)
        cls._positional = tuple(name for name, parameter in found.items() if not parameter.kw_only)
        cls._origins = {name: origins_of(cls, name, parameter) for name, parameter in found.items()}
        refuse_plain_fields(cls)

    if not TYPE_CHECKING:

        def __new__(cls, *_positional: object, **_values: object) -> Self:
            """Refuse a class whose constructor a decorator has replaced."""
            refuse_foreign_decorators(cls)
            return object.__new__(cls)

        def __getattr__(self, name: str) -> object:
            """Say what stands here for an attribute of gokart's or luigi's tasks."""
            advice = advice_for(name) if not hasattr(type(self), name) else None
            if advice is None:
                return object.__getattribute__(self, name)  # which fails as it did
            cls = type(self).__qualname__
            raise AttributeError(f"{cls!r} object has no attribute {name!r}; in its place: {advice}", name=name, obj=self)

    def __init__(self, *positional: object, **values: object) -> None:
        """Take the parameters by keyword; parameters with ``kw_only=False`` also by position, in order of declaration.

        A parameter that is not given has its configured value, else its default.

        Raises:
            MissingParameterError: a parameter without a default was not given.
            UnknownParameterError: a keyword names no parameter.
            ParameterValueError: a value does not fit its parameter.
            ParameterError: there are too many values, or two for one parameter.
        """
        try:
            self.__dict__.update(self._checked_values(positional, values))
        except KartError as error:
            raise error.in_users_code() from error.__cause__

    @classmethod
    def _checked_values(cls, positional: tuple[object, ...], values: dict[str, object]) -> dict[str, object]:
        if positional:
            values = by_name(cls.__qualname__, cls._parameters, cls._positional, positional, values)
        if not values.keys() <= cls._parameters.keys():
            refuse_unknown(cls.__qualname__, list(cls._parameters), values)
        options = settings.class_options() if len(values) < len(cls._parameters) else None
        if options is not None:
            check_options(cls, Parametrized, options)
        made: dict[str, object] = {}
        for name, parameter in cls._parameters.items():
            if options is None or name in values:
                made[name] = parameter.accept(values[name], cls.__qualname__, name)
                continue
            made[name] = configured_or_default(parameter, cls._origins[name], options)
            if made[name] is UNSET:
                raise MissingParameterError(
                    f"{cls.__qualname__} needs the parameter {name}: {cls.__qualname__}({name}=...){parameter.if_missing}",
                    task=cls.__qualname__,
                    parameter=name,
                )
        return made

    @classmethod
    def get_parameters(cls) -> Mapping[str, Parameter[Any]]:
        """Return the class's parameters by name, in the order of their declaration."""
        return cls._parameters

    @property
    def parameter_digest(self) -> bytes:
        """The digest of class and parameters, significant or not. Equal values have equal digests.

        Raises:
            IdentityError: a parameter's value has no canonical form.
            ParameterError: a parameter has no value.
        """
        digest = state_of(self).digest
        if digest is None:
            digest = (_digest_after_held_tasks if self._task_parameters else _computed_digest)(self)
        return digest

    @overload
    def clone(self, cls: None = None, **changes: object) -> Self: ...

    @overload
    def clone(self, cls: type[Other], **changes: object) -> Other: ...

    def clone(self, cls: type[Parametrized] | None = None, **changes: object) -> Parametrized:
        """Make a task with this one's parameters, some of them changed.

        Args:
            cls: class of the new task; by default this one's. Parameters of other classes are left out.
            changes: parameters that differ, by name.
        """
        wanted = cls or type(self)
        own = {name: getattr(self, name) for name in self._parameters if name in wanted.get_parameters()}
        return wanted(**{**own, **changes})

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse to change a parameter."""
        if name in self._parameters:
            raise AttributeError(f"{type(self).__qualname__}.{name} is fixed; make another task: task.clone({name}=...)")
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        """Refuse to remove a parameter."""
        if name in self._parameters:
            raise AttributeError(f"{type(self).__qualname__}.{name} is fixed and cannot be removed")
        object.__delattr__(self, name)

    def __eq__(self, other: object) -> bool:
        """Whether the other is a task of the same class and parameters."""
        if self is other:
            return True
        return isinstance(other, Parametrized) and self.parameter_digest == other.parameter_digest

    def __hash__(self) -> int:
        """Hash class and parameters."""
        return hash(self.parameter_digest)

    def __repr__(self) -> str:
        """Return class and parameters; tasks inside with their labels, private values not at all."""
        own = self.__dict__
        parts = [f"{name}={parameter.shown(own.get(name))}" for name, parameter in self._parameters.items()]
        return f"{type(self).__qualname__}({', '.join(parts)})"

    def __copy__(self) -> Self:
        """Return the task itself: tasks are immutable."""
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        """Return the task itself: tasks are immutable."""
        return self

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle class and parameters."""
        return with_values, (type(self), {name: getattr(self, name) for name in self._parameters})


def private_parameters(cls: type[Parametrized]) -> list[str]:
    """Return the names of a class's private parameters."""
    return [name for name, parameter in cls.get_parameters().items() if parameter.is_private]


def configured_default(cls: type[Parametrized], name: str) -> Any:
    """Return the value of a parameter that is not given in code; see :func:`configured_or_default`.

    Raises:
        ParameterValueError: the configured value does not fit the parameter; the message names section and option.
        UnknownParameterError: there is no such parameter.
    """
    if name not in cls._parameters:
        refuse_unknown(cls.__qualname__, list(cls._parameters), [name])
    return configured_or_default(cls._parameters[name], cls._origins[name], settings.class_options())


def state_of(value: Parametrized) -> State:
    """Return the computed properties of a value."""
    own = value.__dict__
    found: State = own.get("_kart_state") or own.setdefault("_kart_state", value._state_class())  # noqa: SLF001 - of this module
    return found


def held_tasks(value: object) -> list[Parametrized]:
    """Return the tasks that are values of a task's parameters.

    Raises:
        ParameterError: a parameter has no value, since the class's own ``__init__`` did not pass it on.
    """
    found: list[Parametrized] = []
    if isinstance(value, Parametrized) and value._task_parameters:  # noqa: SLF001 - of this module's class
        own = _values_of(value)
        for name in value._task_parameters:  # noqa: SLF001 - as above
            held = own[name]
            if held is not None:
                found += held if isinstance(held, tuple) else (held,)
    return found


def _values_of(value: Parametrized) -> Mapping[str, Any]:
    own, parameters = value.__dict__, value._parameters  # noqa: SLF001 - of this module's class
    if not parameters.keys() <= own.keys():
        cls, name = type(value).__qualname__, next(name for name in parameters if name not in own)
        raise ParameterError(
            f"{cls}.{name} has no value: does its __init__ call super().__init__({name}=...)?", task=cls, parameter=name
        )
    return own


def encoded_significant(value: Parametrized) -> bytes:
    """Return the encoding of the significant parameters, as :func:`encoded_parameters` returns each of them.

    Raises:
        ConfigurationError: a parameter is private, and no key is configured.
    """
    _ = value.parameter_digest
    cls: type = type(value)
    whole = _counts_whole(cls)
    return state_of(value).encoded if whole else encoding.encode_items(encoded_parameters(value))


@functools.lru_cache(maxsize=1024)
def _counts_whole(cls: type) -> bool:
    """Whether unique ids and digests encode the parameters of a class alike."""
    parameters = cast("type[Parametrized]", cls).get_parameters().values()
    return all(parameter.significant and not parameter.holds_tasks and not parameter.is_private for parameter in parameters)


def encoded_parameters(value: Parametrized) -> dict[str, bytes]:
    """Return the encoded significant parameters by name, with unique ids for tasks.

    A private value's encoding is keyed, as unique ids stand in file names. The digest by which equal tasks are recognised
    leaves no process, and needs no key.

    Raises:
        ConfigurationError: a parameter is private, and no key is configured.
    """
    cls, found = type(value), {}
    for name, parameter in cls.get_parameters().items():
        if parameter.significant:
            encode: Callable[[object], bytes] = encoding.encode if parameter.holds_tasks else encode_parameter
            plain = encode(value.__dict__[name])
            found[name] = keyed(plain, cls.__qualname__, name) if parameter.is_private else plain
    return found


def _digest_after_held_tasks(value: Parametrized) -> bytes:
    """Compute the digests of the tasks that a value holds, then its own, without recursion: chains may be long."""
    pending = [value]
    digest = b""
    while pending:
        held = [task for task in held_tasks(pending[-1]) if state_of(task).digest is None]
        if held:
            pending += held
        else:
            digest = _computed_digest(pending.pop())
    return digest


def _computed_digest(value: Parametrized) -> bytes:
    cls: type = type(value)
    state, own = state_of(value), _values_of(value)
    if _counts_whole(cls):
        values = [own[name] for name in value._parameters]  # noqa: SLF001 - of this module's class
        if _PLAIN.issuperset(map(type, values)):
            state.encoded, state.digest = _plain_digest(cls, *values)
            return state.digest
    encoded: dict[str, bytes] = {}
    name = ""
    try:
        for name in value._parameters:  # noqa: SLF001 - of this module's class
            encoded[name] = encode_parameter(own[name], _encode_by_digest)
    except IdentityError as error:
        error.add_context(f"{cls.__qualname__}.{name}", task=cls.__qualname__, parameter=name)
        raise
    state.encoded = encoding.encode_items(encoded)
    state.digest = encoding.parameter_digest(plain_class_name(cls), state.encoded)
    return state.digest


_PLAIN = frozenset({int, str, bool, type(None)})


@functools.lru_cache(maxsize=8192, typed=True)
def _plain_digest(cls: type, *values: object) -> tuple[bytes, bytes]:
    """Return encoding and digest for plain values: equal tasks are made again and again, by each consumer's ``requires()``."""
    encoded = encoding.encode_items(
        dict(zip(cast("type[Parametrized]", cls).get_parameters(), map(encode_parameter, values), strict=True))
    )
    return encoded, encoding.parameter_digest(plain_class_name(cls), encoded)


def _encode_by_digest(task: encoding.Identified) -> bytes:
    return encoding.encode_id(task.parameter_digest)
