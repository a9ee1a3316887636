"""Identity: the golden vectors below change only together with an entry in the changelog, since old artifacts lose their names."""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
import struct
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_kart import (
    DateParameter,
    DictParameter,
    EnumParameter,
    FloatParameter,
    IntParameter,
    ListParameter,
    Parameter,
    ParameterVisibility,
    StrParameter,
    TaskInstanceParameter,
    TaskOnKart,
)
from airflow_kart.exceptions import IdentityError
from airflow_kart.identity.encoding import digest, encode
from airflow_kart.parameters import FrozenDict


class Colour(enum.Enum):
    __module__ = "golden"
    RED = "#f00"
    GREEN = "#0f0"


UTC = dt.timezone.utc
CEST = dt.timezone(dt.timedelta(hours=2))
GOLDEN_ENCODINGS: list[tuple[Any, str]] = [
    (None, "6e"),
    (True, "6231"),
    (False, "6230"),
    (0, "69313a30"),
    (-17, "69333a2d3131"),
    (10**30, "6932353a63396632633963643034363734656465613430303030303030"),
    (0.0, "663a0000000000000000"),
    (-1.5, "663abff8000000000000"),
    (math.inf, "663a7ff0000000000000"),
    ("", "73303a"),
    ("né", "73333a6ec3a9"),
    (b"\x00\xff", "79323a00ff"),
    (dt.date(2026, 1, 2), "6431303a323032362d30312d3032"),
    (dt.datetime(2026, 1, 2, 3, 4, 5, 6), "6332363a323032362d30312d30325430333a30343a30352e303030303036"),
    (dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=CEST), "4331373a3633393032393132363435303030303030"),
    (dt.time(3, 4, 5), "68383a30333a30343a3035"),
    (dt.timedelta(days=-1, microseconds=1), "77363a2d312c302c31"),
    (Decimal("12.50"), "78363a313235652d31"),
    (UUID(int=7), "7531363a00000000000000000000000000000007"),
    (PurePosixPath("a/b.txt"), "70373a612f622e747874"),
    (Colour.GREEN, "6532353a7331333a676f6c64656e2e436f6c6f757273353a475245454e"),
    ([1, "1", [None]], "6c31323a69313a3173313a316c313a6e"),
    ({"b": 1, "a": [True]}, "6d31373a73313a616c323a623173313a6269313a31"),
    (math.nan, "663a7ff8000000000000"),
    (frozenset({2, 1}), "53383a69313a3169313a32"),
]
GOLDEN_IDS = [
    ("Plain", "dbf712d3df623e0a27fbdb8d48e7958d"),
    ("Versioned", "2c0046e0c8a08e25114206f7e079633c"),
    ("Every", "58ff98620f8637d91fbe098126273c58"),
    ("Holder", "e853d73e74ab1e1e111394707ba76d68"),
    ("Nested", "1f649852fe91f57ed2993b078fce704b"),
]


class Plain(TaskOnKart[int]):
    __module__ = "golden"


class Versioned(TaskOnKart[int]):
    __module__ = "golden"
    code_version = "2"


class Every(TaskOnKart[int]):
    __module__ = "golden"
    number: int = IntParameter(default=3)
    rate: float = FloatParameter(default=0.1)
    name: str = StrParameter(default="né")
    day: dt.date = DateParameter(default=dt.date(2026, 1, 2))
    colour: Colour = EnumParameter(enum=Colour, default=Colour.RED)
    layers: Any = ListParameter(default=[1, [2, None]])
    options: Any = DictParameter(default={"b": True, "a": {"c": 1.5}})
    note: str = StrParameter(default="does not count", significant=False)


class Holder(TaskOnKart[int]):
    __module__ = "golden"
    of: Any = TaskInstanceParameter(default=Plain())


class Nested(TaskOnKart[int]):
    __module__ = "golden"

    def requires(self) -> Any:
        return {"one": Plain(), "more": [Every(), (Holder(), None)]}


GOLDEN_TASKS = {"Plain": Plain, "Versioned": Versioned, "Every": Every, "Holder": Holder, "Nested": Nested}


@pytest.mark.parametrize(("value", "expected"), GOLDEN_ENCODINGS, ids=lambda value: repr(value)[:30])
def test_golden_encodings(value: object, expected: str) -> None:
    assert encode(value).hex() == expected


@pytest.mark.parametrize(("name", "expected"), GOLDEN_IDS)
def test_golden_unique_ids(name: str, expected: str) -> None:
    assert GOLDEN_TASKS[name]().unique_id == expected


keys = st.text(max_size=3) | st.integers(-3, 3) | st.booleans() | st.none()
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False)
    | st.sampled_from([0.0, -0.0, 1.0, 2.0])
    | st.text(max_size=4)
    | st.text("i:1n2", max_size=6)
    | st.binary(max_size=4)
    | st.dates()
    | st.datetimes(dt.datetime(2, 1, 1))
    | st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 1, 1), timezones=st.sampled_from([UTC, CEST]))
    | st.times()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.sampled_from(Colour)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
        | st.frozensets(scalars, max_size=3)
    ),
    max_leaves=10,
)


def typed(value: Any) -> Any:
    """The value in a form that is equal exactly where the encodings are to be equal."""
    if isinstance(value, (list, tuple)):
        return "list", tuple(map(typed, value))
    if isinstance(value, dict):
        return "dict", frozenset((typed(key), typed(item)) for key, item in value.items())
    if isinstance(value, frozenset):
        return "set", frozenset(map(typed, value))
    if isinstance(value, dt.datetime):
        return "datetime", value.tzinfo is not None, value if value.tzinfo is not None else value.isoformat()
    return type(value).__name__, value


@given(values, values)
@example([1, 2], [12])
@example(["a", "b"], ["ab"])
@example([["a"], "b"], [["a", "b"]])
@example([[], []], [[[]]])
@example({"a": {"b": 1}}, {"a": {}, "b": 1})
@example(["1:a"], ["1", "a"])
@example([None], [])
@example({1: 2}, [(1, 2)])
@example("", b"")
@example(dt.date(2026, 1, 1), dt.datetime(2026, 1, 1))
def test_encodings_are_equal_exactly_where_values_are(one: Any, other: Any) -> None:
    assert (encode(one) == encode(other)) == (typed(one) == typed(other))


@given(values, values)
def test_no_encoding_begins_another(one: Any, other: Any) -> None:
    one, other = encode(one), encode(other)
    assert one == other or not (one.startswith(other) or other.startswith(one))


def test_nan_does_not_run_into_its_neighbour() -> None:
    (crafted,) = struct.unpack(">d", b"nani2:12")
    assert encode([math.nan, 12]) != encode([crafted])


@pytest.mark.parametrize(
    "group",
    [[1, True, 1.0, "1", b"1", Decimal(1), [1], {1}, {1: 1}, dt.timedelta(1)], [0, False, 0.0, "0", None, "", [], {}]],
)
def test_types_count(group: list[Any]) -> None:
    assert len({encode(value) for value in group}) == len(group)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1, [2]], (1, (2,))),
        ({1, 2, 3}, frozenset([3, 2, 1])),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": 1}, FrozenDict(a=1)),
        (0.0, -0.0),
        (math.nan, -math.nan),
        (Decimal("1.50"), Decimal("1.5")),
        (Decimal("1E+2"), Decimal(100)),
        (Decimal("-0"), Decimal("0.00")),
        (dt.datetime(2026, 1, 1, 12, tzinfo=UTC), dt.datetime(2026, 1, 1, 14, tzinfo=CEST)),
        (Path("a/b"), PurePosixPath("a/b")),
        (PureWindowsPath("a\\b"), PurePosixPath("a/b")),
        (dt.timedelta(hours=24), dt.timedelta(days=1)),
    ],
    ids=repr,
)
def test_what_is_the_same_has_one_encoding(one: Any, other: Any) -> None:
    assert encode(one) == encode(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1, 2], [2, 1]),
        ([1], [1, None]),
        (dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 1, tzinfo=UTC)),
        (dt.time(1), dt.time(1, tzinfo=UTC)),
        (Colour.RED, "RED"),
        (Colour.RED, Colour.GREEN),
        (Path("a"), "a"),
        (UUID(int=1), 1),
        (Decimal("0.1"), Decimal("0.10000000000000001")),
        (math.inf, -math.inf),
        (math.inf, math.nan),
        (Decimal("Infinity"), Decimal("-Infinity")),
        ({"a": None}, {}),
        (Plain(), Plain().unique_id),
        ([Plain()], Plain()),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_differs_has_another_encoding(one: Any, other: Any) -> None:
    assert encode(one) != encode(other)


@given(st.dictionaries(keys.filter(lambda key: not isinstance(key, bool)), values, max_size=5), st.randoms())
def test_the_order_of_a_dict_does_not_count(value: dict[Any, Any], random: Any) -> None:
    items = list(value.items())
    random.shuffle(items)
    assert encode(dict(items)) == encode(value)


def test_numbers_and_moments_at_the_edge_have_an_encoding() -> None:
    assert encode(10**5000) != encode(10**5000 + 1)
    moments = [
        dt.datetime.min.replace(tzinfo=CEST),
        dt.datetime.min.replace(tzinfo=UTC),
        dt.datetime.max.replace(tzinfo=UTC),
    ]
    assert len({encode(moment) for moment in moments}) == 3


def test_text_that_is_no_unicode_has_an_encoding() -> None:
    assert encode("\ud800") != encode("?")


def test_subclasses_that_add_only_behaviour_do_not_count() -> None:
    moment = type("DateTime", (dt.datetime,), {})(2026, 1, 1, tzinfo=UTC)
    day = type("Date", (dt.date,), {})(2026, 1, 1)
    assert encode(moment) == encode(dt.datetime(2026, 1, 1, tzinfo=UTC))
    assert encode(day) == encode(dt.date(2026, 1, 1))


def test_domains_keep_digests_apart() -> None:
    parts = [encode("x")]
    assert digest(b"one", parts) != digest(b"two", parts)
    assert digest(b"a", [b"bc"]) != digest(b"ab", [b"c"])


@pytest.mark.parametrize(
    "value",
    [
        object(),
        lambda: None,
        len,
        int,
        range(3),
        (number for number in "ab"),
        bytearray(b"x"),
        [1, {"a": [object()]}],
        {object(): 1},
        complex(1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(IdentityError, match="no canonical form"):
        encode(value)


class Anything(Parameter[Any]):
    def normalize(self, value: Any) -> Any:
        return value


def test_the_refusal_names_the_parameter() -> None:
    class Task(TaskOnKart[int]):
        callback: Any = Anything()

    with pytest.raises(IdentityError, match=r"Task\.callback: a builtins\.function has no canonical form"):
        _ = Task(callback=lambda: None).unique_id


class Sample(TaskOnKart[int]):
    n: int = IntParameter(default=0)
    note: str = StrParameter(default="", significant=False)
    secret: str = StrParameter(default="", visibility=ParameterVisibility.PRIVATE)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__KART__PRIVATE_DIGEST_KEY", "the key")


def test_a_unique_id_is_32_hex_digits() -> None:
    assert len(Sample().unique_id) == 32
    assert set(Sample().unique_id) <= set("0123456789abcdef")


def test_insignificant_parameters_do_not_count() -> None:
    assert Sample(note="x").unique_id == Sample().unique_id
    assert Sample(note="x") != Sample()


def test_significant_parameters_count() -> None:
    assert len({Sample().unique_id, Sample(n=1).unique_id, Sample(secret="x").unique_id}) == 3


def test_the_class_counts() -> None:
    class Other(Sample):
        pass

    assert Other().unique_id != Sample().unique_id


def test_the_code_version_counts() -> None:
    def version(text: str | None) -> str:
        return str(type("Task", (Sample,), {"code_version": text, "__qualname__": "Task"})().unique_id)

    assert len({version(None), version("1"), version("2"), version("None")}) == 4


def test_what_is_required_counts_with_its_keys() -> None:
    def requiring(requirements: Any) -> str:
        return str(type("Task", (TaskOnKart,), {"requires": lambda self: requirements, "__qualname__": "Task"})().unique_id)

    shapes = [
        None,
        [],
        {},
        Sample(),
        [Sample()],
        [Sample(), Sample()],
        {"a": Sample()},
        {"b": Sample()},
        {"a": Sample(n=1)},
        {"a": [Sample()]},
        {0: Sample()},
    ]
    assert len({requiring(shape) for shape in shapes}) == len(shapes)
    assert requiring((Sample(),)) == requiring([Sample()])
    assert requiring({"a": Sample(), "b": Sample(n=1)}) == requiring({"b": Sample(n=1), "a": Sample()})
    assert requiring({"a": Sample(note="x")}) == requiring({"a": Sample()})


def test_a_task_parameter_counts_by_its_unique_id() -> None:
    assert Holder(of=Sample(note="x")).unique_id == Holder(of=Sample()).unique_id
    assert Holder(of=Sample(n=1)).unique_id != Holder(of=Sample()).unique_id


IDS = """
import datetime as dt, enum, json
from airflow_kart import DictParameter, EnumParameter, ListParameter, StrParameter, TaskOnKart
Colour = enum.Enum("Colour", "RED GREEN")
class Task(TaskOnKart):
    tags = ListParameter(default=["b", "a"])
    options = DictParameter(default={str(n): n for n in range(50)})
    colour = EnumParameter(enum=Colour, default=Colour.RED)
    def requires(self):
        return {name: Other(name=name) for name in {"x", "y", "z", "w"}}
class Other(TaskOnKart):
    name = StrParameter()
from airflow_kart.identity.encoding import encode
print(json.dumps([Task().unique_id, encode({str(n) for n in range(50)}).hex(), Task().parameter_digest.hex()]))
"""


def test_every_process_finds_the_same_ids(python: Any, script: Any) -> None:
    file = script("ids.py", IDS)
    found = [json.loads(python(file, env={"PYTHONHASHSEED": seed})) for seed in ["0", "1", "2026"]]
    assert all(ids == found[0] for ids in found)
