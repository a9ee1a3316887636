"""An object whose pickle cannot be loaded is refused when dumped, at a bounded cost."""

from __future__ import annotations

import collections
import copy
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import io
import ipaddress
import pathlib
import tracemalloc
import uuid
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_formats import through
from typing_extensions import Self

from airflow_kart.exceptions import FormatError
from airflow_kart.formats import PickleFormat, rehearsal
from airflow_kart.formats.pickle import dumps

PADDING = ["x" * 90 + str(number) for number in range(rehearsal.WHOLE // 90)]
"""Makes a pickle too large to be loaded as a whole."""


class TwoArguments(Exception):
    def __init__(self, shop: str, code: int) -> None:
        super().__init__(f"{shop}: {code}")


class Delegate:
    def __init__(self) -> None:
        self.inner = {"a": 1}

    def __getattr__(self, name: str) -> Any:
        return self.inner[name]


class Logged(dict[str, int]):
    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []

    def __setitem__(self, key: str, value: int) -> None:
        self.log.append(key)
        super().__setitem__(key, value)


class Unit(str):  # noqa: SLOT000 - such classes are written
    unit: str

    def __new__(cls, text: str, unit: str) -> Self:
        made = super().__new__(cls, text)
        made.unit = unit
        return made


class Strict:
    def __init__(self) -> None:
        self.version = 1

    def __setstate__(self, state: dict[str, Any]) -> None:
        raise LookupError("no such version")


class ByState:
    def __init__(self, name: str) -> None:
        self.name = name
        self.others = {self}

    def __hash__(self) -> int:
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByState) and self.name == other.name


def logged() -> Logged:
    made = Logged()
    made["a"] = 1
    return made


NOT_LOADABLE: dict[str, Callable[[], object]] = {
    "exception": lambda: TwoArguments("Kyoto", 5),
    "delegate": Delegate,
    "dict": logged,
    "str": lambda: Unit("3", "kg"),
    "state": Strict,
    "hash": lambda: ByState("a"),
}


@pytest.mark.parametrize("kind", NOT_LOADABLE)
@pytest.mark.parametrize("around", ["alone", "nested", "large"])
def test_an_object_that_cannot_be_loaded_is_refused(kind: str, around: str) -> None:
    one = NOT_LOADABLE[kind]()
    value = {"alone": one, "nested": {"found": [(one,)]}, "large": [PADDING, [one]]}[around]
    with pytest.raises(FormatError, match=rf"a test_formats_rehearsal\.{type(one).__name__} can be pickled, but"):
        dumps(value)


class Number(int):
    unit = "kg"


class Sized(str):  # noqa: SLOT000 - such classes are written
    def __new__(cls, text: str, size: int = 0) -> Self:
        made = super().__new__(cls, text)
        made.size = size
        return made

    size: int


class Colour(enum.Enum):
    RED = 1
    ROT = 1  # noqa: PIE796 - an alias


class Right(enum.IntFlag):
    READ = 4


@dataclasses.dataclass(frozen=True)
class Frozen:
    values: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    name: str


class Pair(NamedTuple):
    one: object
    two: object


class Failure(Exception):
    def __reduce__(self) -> Any:
        return Failure, self.args


ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.dates(),
    st.datetimes(timezones=st.none() | st.just(dt.timezone(dt.timedelta(hours=9)))),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.fractions(),
    st.uuids(),
    st.ip_addresses(),
    st.sampled_from([*Colour, *Right, Right(0)]),
    st.builds(Number, st.integers()),
    st.builds(Sized, st.text(max_size=3), st.integers(0, 9)),
    st.builds(Slotted, st.text(max_size=3)),
    st.builds(Frozen, st.tuples(st.integers())),
    st.builds(pathlib.PurePosixPath, st.text("ab/", max_size=4)),
)
HASHABLE = ATOMS.filter(lambda value: not isinstance(value, float) or value == value)
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.builds(Pair, inner, inner),
        st.dictionaries(HASHABLE, inner, max_size=3),
        st.frozensets(HASHABLE, max_size=3),
        st.builds(
            lambda some: collections.Counter({str(place): place for place in range(len(some))}), st.lists(inner, max_size=2)
        ),
        st.builds(lambda some: collections.defaultdict(list, a=some), st.lists(inner, max_size=2)),
        st.builds(lambda some: collections.OrderedDict(a=some), inner),
        st.builds(lambda some: collections.deque(some, 5), st.lists(inner, max_size=2)),
        st.builds(lambda some: Delegate() if some == "!" else some, inner),
    ),
    max_leaves=8,
)


def alike(one: Any, other: Any) -> bool:
    """Whether two values are equal and of one type, all the way down."""
    if type(one) is not type(other) or vars_of(one) != vars_of(other):
        return False
    if isinstance(one, dict):
        return len(one) == len(other) and all(alike(a, b) for a, b in zip(one.items(), other.items(), strict=True))
    if isinstance(one, (list, tuple, collections.deque)):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, (set, frozenset)):
        return bool(one == other) and sorted(map(repr, one)) == sorted(map(repr, other))
    return bool(one == other) and repr(one) == repr(other)


def vars_of(value: object) -> object:
    return getattr(value, "__dict__", None) if isinstance(value, (Number, Sized)) else None


@given(VALUES)
def test_whatever_is_dumped_is_loaded_as_it_was(value: object) -> None:
    try:
        data = dumps(value)
    except FormatError:
        assert "Delegate" in repr(value)
        return
    assert alike(PickleFormat().load(io.BytesIO(data)), value)


@settings(max_examples=20)
@given(st.lists(VALUES, min_size=1, max_size=3))
def test_objects_in_large_pickles_are_loadable_too(values: list[object]) -> None:
    with mock.patch.object(rehearsal, "WHOLE", 100):
        try:
            data = dumps(values)
        except FormatError:
            assert "Delegate" in repr(values)
            return
    assert alike(PickleFormat().load(io.BytesIO(data)), values)


class Model:
    """A model with arrays, and hooks that change what they are given."""

    loaded: ClassVar[int] = 0

    def __init__(self) -> None:
        self.weights = np.ones(rehearsal.WHOLE)
        self.layers = {str(number): number for number in range(1000)}
        self.names = [str(number) for number in range(1000)]
        self.text = "y" * rehearsal.WHOLE

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        Model.loaded += 1
        self.__dict__.update(state)
        self.layers.pop("0")
        self.names.append("loaded")


class InPlace(Model):
    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.weights *= 2


@pytest.mark.parametrize("cls", [Model, InPlace])
def test_a_rehearsal_changes_nothing(cls: type[Model]) -> None:
    model = cls()
    before = copy.copy(model.__dict__), model.weights.copy(), dict(model.layers), list(model.names)
    dumps([model, model.layers])
    assert model.__dict__.keys() == before[0].keys() and (model.weights == before[1]).all()
    assert model.layers == before[2] and model.names == before[3] and model.weights.flags.writeable


def test_arrays_and_long_collections_are_not_loaded_again() -> None:
    Model.loaded = 0
    models, stream = [Model() for _ in range(3)], Sink()
    tracemalloc.start()
    try:
        PickleFormat().dump(models, stream)
        assert tracemalloc.get_traced_memory()[1] < 1.5 * rehearsal.WHOLE  # one of the arrays takes eight times as much
    finally:
        tracemalloc.stop()
    assert stream.size > 20 * rehearsal.WHOLE
    assert Model.loaded == 1


class Sink:
    size = 0

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self.size += size
        return size

    def restart(self) -> None:
        self.size = 0


class Counting:
    loaded: ClassVar[int] = 0

    def __setstate__(self, state: dict[str, Any]) -> None:
        Counting.loaded += 1


@pytest.mark.parametrize(("number", "loads"), [(3, 3), (200_000, 1)])
def test_how_many_objects_are_loaded(number: int, loads: int) -> None:
    Counting.loaded = 0
    values = [Counting() for _ in range(number)]
    for place, value in enumerate(values):
        value.__dict__["place"] = place
    dumps(values)
    assert Counting.loaded == loads


class Plain:
    def __init__(self, value: int) -> None:
        self.value = value


@pytest.mark.parametrize(
    "value",
    [
        [{"a": [1, "b", None, 2.5, (b"", {3})]}],
        pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": pd.to_datetime(pd.Series(["2024-01-01", None]))}).astype(
            {"b": "str"}
        ),
        np.arange(10),
        [Plain(1), dt.date(2024, 1, 1), decimal.Decimal(1), uuid.UUID(int=1), fractions.Fraction(1), ValueError("a")],
        ipaddress.ip_address("::1"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_plain_data_is_not_loaded(value: object) -> None:
    with mock.patch.object(PickleFormat, "load", side_effect=AssertionError):
        dumps(value)


class Owner:
    """An object whose end is the end of a file."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path, self.names = path, Sized("a")

    def __del__(self) -> None:
        self.path.unlink(missing_ok=True)


def test_objects_with_an_end_are_not_loaded(tmp_path: pathlib.Path) -> None:
    owner = Owner(tmp_path / "file")
    owner.path.touch()
    dumps(owner)
    assert owner.path.exists()


def test_an_object_of_a_large_pickle_that_is_itself_large_is_let_through() -> None:
    """The limit, as documented: nothing above it is loaded again."""
    one = Strict()
    one.__dict__["rows"] = [[str(place * 100 + number) for number in range(90)] for place in range(90)]
    one.__dict__["pages"] = {str(number): copy.deepcopy(one.__dict__["rows"]) for number in range(60)}
    data = dumps(one)
    with pytest.raises(FormatError, match="no such version"):
        PickleFormat().load(io.BytesIO(data))


def test_parts_of_a_large_table_are_rehearsed() -> None:
    from airflow_kart.formats.large_frame import LargeFrameFormat

    frame = pd.DataFrame({"a": pd.Series([Delegate()], dtype=object)})
    with pytest.raises(FormatError, match="Delegate can be pickled"):
        through(LargeFrameFormat(), frame)


def test_errors_that_are_raised_and_loaded() -> None:
    loaded = through(PickleFormat(), [Failure("Kyoto", 5), KeyError("a"), OSError(2, "gone")])
    assert [repr(one) for one in loaded] == ["Failure('Kyoto', 5)", "KeyError('a')", "FileNotFoundError(2, 'gone')"]
