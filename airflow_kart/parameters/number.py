"""Parameters of numbers, within bounds."""

from __future__ import annotations

import contextlib
import math
import numbers
import re
from typing import Any, ClassVar, Generic, TypeVar, overload

from typing_extensions import Unpack

from airflow_kart.parameters.base import UNSET, Options, Parameter, described
from airflow_kart.parameters.optional import OptionalOf

N = TypeVar("N", int, float)

_WHOLE_NUMBER = re.compile(r"\s*[+-]?\d+\s*", re.ASCII)


class Bounds(Options, Generic[N], total=False):
    """The options of a parameter of numbers."""

    min_value: N | None
    """The lower bound."""
    max_value: N | None
    """The upper bound."""


class FloatBounds(Bounds[float], total=False):
    """The options of a parameter of floats."""

    allow_inf_nan: bool
    """Whether the trigger form takes ``nan``, ``inf`` and ``-inf``; ``False`` refuses these everywhere. By default code and
    templates may give them, and the form only where the default is one of them."""


class Range(Bounds[N], total=False):
    """The options of a number from a range."""

    include_min: bool
    """Whether the lower bound itself is allowed (default: yes)."""
    include_max: bool
    """Whether the upper bound itself is allowed (default: no)."""
    allow_inf_nan: bool
    """See :class:`FloatBounds`; for floats only."""


class _Number(Parameter[N]):
    """An int or a float with optional bounds."""

    var_type: type[N]
    min_value: N | None = None
    max_value: N | None = None
    include_min: bool = True
    include_max: bool = True
    allow_inf_nan: bool | None = None
    _options: ClassVar[type] = Bounds

    def check_options(self) -> None:
        """Check that the bounds are numbers, and that a number lies between them."""
        if self.var_type not in (int, float):
            raise ValueError(f"var_type is {described(self.var_type)}; give int or float")
        for name in ("min_value", "max_value"):
            bound = getattr(self, name)
            if bound is not None:
                try:
                    bound = self._number(bound)
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from error
                if math.isnan(bound):
                    raise ValueError(f"{name} is nan; give a number")
                setattr(self, name, bound)
        for name in ("include_min", "include_max", "allow_inf_nan"):
            if getattr(self, name) is not None and not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name}: give True or False, not {described(getattr(self, name))}")
        try:
            _Number.sample(self)
        except ValueError:
            raise ValueError(f"no number lies between min_value {self.min_value} and max_value {self.max_value}") from None

    def normalize(self, value: object) -> N:
        """Return a plain int or float, also of numpy's numbers; as a float an int too, and ``0.0`` for ``-0.0``.

        Raises:
            ValueError: the value is no number, is out of bounds, or is not exactly a float.
        """
        number = self._number(value)
        if self.allow_inf_nan is False and not math.isfinite(number):
            raise ValueError(f"{number!r} is not finite; give a finite number")
        if self.min_value is not None and not (number >= self.min_value if self.include_min else number > self.min_value):
            limit = "is below the smallest allowed value," if self.include_min else "is not above"
            raise ValueError(f"{number!r} {limit} {self.min_value}")
        if self.max_value is not None and not (number <= self.max_value if self.include_max else number < self.max_value):
            limit = "is above the largest allowed value," if self.include_max else "is not below"
            raise ValueError(f"{number!r} {limit} {self.max_value}")
        return number

    def _number(self, value: object) -> N:
        whole = self.var_type is int
        if whole and type(value) is int:  # as nearly all are; asking for an Integral takes longer than all below
            plain: N = value  # pyright: ignore[reportAssignmentType]  # N is int here
            return plain
        if isinstance(value, bool) or not isinstance(value, numbers.Integral if whole else numbers.Real):
            raise ValueError(f"give {'an int' if whole else 'a float'}, not {described(value)}")
        number: N = self.var_type(value)  # type: ignore[call-overload]  # an Integral has __int__
        if self.var_type is float and math.isnan(number):
            return self.var_type("nan")  # one of the many
        if number != value:
            raise ValueError(f"{described(value)} lies between two floats; choose one: {number!r}")
        return number + 0  # -0.0 becomes 0.0: the two are equal, and so have one id

    def parse(self, text: str) -> N:
        """Read decimal digits with an optional sign; for floats any text that ``float()`` reads, also ``nan`` and ``inf``."""
        if self.var_type is int:
            if not _WHOLE_NUMBER.fullmatch(text):
                raise ValueError(f"{text!r} is not a whole number")
            return self.normalize(int(text))
        try:
            number = float(text)
        except ValueError:
            raise ValueError(f"{text!r} is not a number") from None
        return self.normalize(number)

    def serialize(self, value: N) -> str:
        """Return the shortest text that reads back as the same number."""
        return repr(value)

    def to_json(self, value: N) -> N | str:
        """Return the number; ``nan`` and ``inf`` as text, as JSON has no numbers for them."""
        return repr(value) if isinstance(value, float) and not math.isfinite(value) else value

    def json_schema(self) -> dict[str, object]:
        """Return an ``integer`` or ``number`` schema with the bounds.

        Where the form may give ``nan`` and ``inf``, the schema takes them as text. The form then has a field for text.
        """
        schema: dict[str, object] = {"type": "integer" if self.var_type is int else "number"}
        if self.allow_inf_nan or (isinstance(self.default, float) and not math.isfinite(self.default)):
            schema = {"type": ["number", "string"], "pattern": r"^(nan|-?inf)$"}
        low = "minimum" if self.include_min else "exclusiveMinimum"
        high = "maximum" if self.include_max else "exclusiveMaximum"
        for key, bound in ((low, self.min_value), (high, self.max_value)):
            if bound is not None and math.isfinite(bound):
                schema[key] = bound
        return schema

    def sample(self) -> N:
        """Return the number nearest to 1 that is a bound or 1, or else one between the bounds."""
        low, high = self.min_value, self.max_value
        nearest = 1 if low is None else max(1, low)
        candidates = [nearest if high is None else min(nearest, high)]
        candidates += [low + 1] if low is not None else []
        candidates += [high - 1] if high is not None else []
        if low is not None and high is not None:
            candidates.append(self._between(low, high))
        for candidate in candidates:
            with contextlib.suppress(ValueError):
                return _Number.normalize(self, candidate)
        raise ValueError("no number lies within the bounds")

    def variation(self, value: N) -> N:
        """Return a number near, within the bounds."""
        bounds: list[N] = [bound for bound in (self.min_value, self.max_value) if bound is not None]
        for other in (value + 1, value - 1, *bounds, *(self._between(bound, value) for bound in bounds)):
            if other != value:
                with contextlib.suppress(ValueError):
                    return self.normalize(other)
        return value

    def _between(self, one: N, other: N) -> N:
        return self._number((one + other) // 2 if self.var_type is int else one / 2 + other / 2)


class IntParameter(_Number[int]):
    """An ``int``, optionally within inclusive bounds. ``True`` and ``3.0`` are not ints."""

    var_type = int

    def __new__(cls, *, default: int = UNSET, **options: Unpack[Bounds[int]]) -> int:  # type: ignore[misc]
        """Declare a whole number; the bounds are inclusive. See :class:`Bounds`."""
        return cls._declare(default, options)  # type: ignore[no-any-return]


class OptionalIntParameter(OptionalOf[int], IntParameter):
    """An ``int``, optionally within inclusive bounds, or ``None``."""

    def __new__(cls, *, default: int | None = UNSET, **options: Unpack[Bounds[int]]) -> int | None:  # type: ignore[misc]
        """Declare a whole number or ``None``; the bounds are inclusive. See :class:`Bounds`."""
        return cls._declare(default, options)  # type: ignore[no-any-return]


class FloatParameter(_Number[float]):
    """A ``float``, optionally within inclusive bounds; an int becomes one."""

    var_type = float
    _options = FloatBounds

    def __new__(cls, *, default: float = UNSET, **options: Unpack[FloatBounds]) -> float:  # type: ignore[misc]
        """Declare a number; the bounds are inclusive. See :class:`FloatBounds`."""
        return cls._declare(default, options)  # type: ignore[no-any-return]


class OptionalFloatParameter(OptionalOf[float], FloatParameter):
    """A ``float``, optionally within inclusive bounds, or ``None``."""

    def __new__(cls, *, default: float | None = UNSET, **options: Unpack[FloatBounds]) -> float | None:  # type: ignore[misc]
        """Declare a number or ``None``; the bounds are inclusive. See :class:`FloatBounds`."""
        return cls._declare(default, options)  # type: ignore[no-any-return]


class NumericalParameter(_Number[Any]):
    """An int or a float from a half-open range, ``min_value <= value < max_value``, as luigi's is.

    ``include_min=False`` and ``include_max=True`` open and close its ends.
    """

    include_max = False
    _options = Range

    # Overloads, as pyright checks a __new__ that returns a type variable only through them.
    @overload
    def __new__(cls, *, var_type: type[N], **options: Unpack[Range[N]]) -> N: ...  # type: ignore[misc]

    @overload
    def __new__(cls, *, var_type: type[N], default: N, **options: Unpack[Range[N]]) -> N: ...  # type: ignore[misc]

    def __new__(cls, *, var_type: type[float], default: object = UNSET, **options: Unpack[Range[Any]]) -> Any:
        """Declare a number.

        Args:
            var_type: ``int`` or ``float``.
            default: value where the caller gives none.
            options: see :class:`Range`.
        """
        return cls._declare(default, options, var_type=var_type)


class OptionalNumericalParameter(OptionalOf[Any], NumericalParameter):
    """An int or a float from a range, or ``None``; see :class:`NumericalParameter`."""

    @overload
    def __new__(cls, *, var_type: type[N], **options: Unpack[Range[N]]) -> N | None: ...  # type: ignore[misc]

    @overload
    def __new__(  # type: ignore[misc]
        cls, *, var_type: type[N], default: N | None, **options: Unpack[Range[N]]
    ) -> N | None: ...

    def __new__(cls, *, var_type: type[float], default: object = UNSET, **options: Unpack[Range[Any]]) -> Any:
        """Declare a number or ``None``; see :class:`NumericalParameter`."""
        return cls._declare(default, options, var_type=var_type)
