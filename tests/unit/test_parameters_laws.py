"""What holds for every parameter class: a table with each of them, its values, and what it must refuse."""

from __future__ import annotations

import copy
import datetime as dt
import enum
import inspect
import json
import math
import pickle
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import jsonschema
import pendulum
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from airflow_kart import TaskOnKart, parameters
from airflow_kart.exceptions import ParameterError, ParameterValueError
from airflow_kart.identity.encoding import encode
from airflow_kart.parameters import (
    BoolParameter,
    ChoiceListParameter,
    ChoiceParameter,
    DateHourParameter,
    DateInterval,
    DateIntervalParameter,
    DateMinuteParameter,
    DateParameter,
    DateSecondParameter,
    DictParameter,
    EnumListParameter,
    EnumParameter,
    ExplicitBoolParameter,
    FloatParameter,
    IntParameter,
    ListParameter,
    ListTaskInstanceParameter,
    MonthParameter,
    NumericalParameter,
    OptionalBoolParameter,
    OptionalChoiceListParameter,
    OptionalChoiceParameter,
    OptionalDateHourParameter,
    OptionalDateIntervalParameter,
    OptionalDateMinuteParameter,
    OptionalDateParameter,
    OptionalDateSecondParameter,
    OptionalDictParameter,
    OptionalEnumListParameter,
    OptionalEnumParameter,
    OptionalFloatParameter,
    OptionalIntParameter,
    OptionalListParameter,
    OptionalListTaskInstanceParameter,
    OptionalMonthParameter,
    OptionalNumericalParameter,
    OptionalParameter,
    OptionalPathParameter,
    OptionalSerializableParameter,
    OptionalStrParameter,
    OptionalTaskInstanceParameter,
    OptionalTaskParameter,
    OptionalTimeDeltaParameter,
    OptionalTupleParameter,
    OptionalYearParameter,
    OptionalZonedDateSecondParameter,
    Parameter,
    PathParameter,
    SerializableParameter,
    StrParameter,
    TaskInstanceParameter,
    TaskParameter,
    TimeDeltaParameter,
    TupleParameter,
    YearParameter,
    ZonedDateSecondParameter,
)
from airflow_kart.parameters.parametrized import held_tasks


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


class Shade(enum.Enum):
    RED = 1


class Leaf(TaskOnKart[int]):
    n: int = IntParameter(default=0)


class Twig(Leaf):
    pass


class Other(TaskOnKart[int]):
    pass


@dataclass(frozen=True)
class Pair:
    left: int
    right: str

    def gokart_serialize(self) -> str:
        return json.dumps([self.left, self.right])

    @classmethod
    def gokart_deserialize(cls, s: str) -> Pair:
        return cls(*json.loads(s))


class Case(NamedTuple):
    parameter: Any
    values: st.SearchStrategy[Any]
    wrong: list[Any]
    """Values that must be refused, given in code."""
    wrong_texts: list[str]
    """Texts that must be refused."""


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
fixed_offsets = st.integers(-23 * 60, 23 * 60).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))
zones = fixed_offsets | st.sampled_from(["Asia/Tokyo", "Europe/Paris", "America/New_York"]).map(ZoneInfo)
days = st.dates()
intervals = st.builds(
    lambda start, length: DateInterval(start, start + dt.timedelta(days=length)),
    st.dates(max_value=dt.date(9990, 1, 1)),
    st.integers(1, 800),
) | st.one_of(
    st.builds(DateInterval.year, st.integers(1, 9998)),
    st.builds(DateInterval.month, st.integers(1, 9998), st.integers(1, 12)),
    st.builds(DateInterval.week, st.integers(2, 9998), st.integers(1, 52)),
    st.builds(DateInterval.day, st.dates(max_value=dt.date(9990, 1, 1))),
)
leaves = st.builds(Leaf, n=st.integers())
NOT_DATES = [dt.datetime(2026, 1, 1), "2026-01-01", 20260101, dt.time(1), b"2026-01-01", [2026, 1, 1]]
NOT_MOMENTS = [dt.date(2026, 1, 1), "2026-01-01T10", 1.5, dt.time(1), pendulum.time(1)]
AWARE = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
NOT_TEXT_OF_DATES = ["today", "{{ ds }}", "2026-1-1", "2026-02-30", "\u0662026-01-01", "2026-01-01T00:00:00", "20260101"]

REQUIRED = [
    Case(Parameter(), st.text(), [1, b"a", ["a"], 1.5], []),
    Case(StrParameter(), st.text(), [1, b"a", ["a"], 1.5], []),
    Case(IntParameter(), st.integers(), [True, 1.0, "1", [1]], ["1.0", "1_0", "one"]),
    Case(IntParameter(min_value=1, max_value=9), st.integers(1, 9), [0, 10, True], ["0", "10"]),
    Case(FloatParameter(), st.floats(), [True, "1", 1j, [1.0]], ["1,5", "one"]),
    Case(
        NumericalParameter(var_type=int, min_value=-3, max_value=7),
        st.integers(-3, 6),
        [-4, 7, 8, 1.0, True, "1"],
        ["7", "-4", "1.0", "x"],
    ),
    Case(
        NumericalParameter(var_type=int, min_value=-3, max_value=7, include_min=False, include_max=True),
        st.integers(-2, 7),
        [-3, 8],
        ["-3", "8"],
    ),
    Case(
        NumericalParameter(var_type=float, min_value=0.0, max_value=1.0, include_min=False),
        st.floats(0.0, 1.0, exclude_min=True, exclude_max=True),
        [0.0, 1.0, 0, 1, math.nan, -1.0, "0.5", False],
        ["0", "1", "nan", "inf"],
    ),
    Case(NumericalParameter(var_type=float), st.floats(), ["1", True], ["x"]),
    Case(BoolParameter(), st.booleans(), [0, 1, "true"], ["1", "yes", "None"]),
    Case(ExplicitBoolParameter(), st.booleans(), [0, 1, "true"], ["1", "yes", "None"]),
    Case(DateParameter(), days, NOT_DATES, NOT_TEXT_OF_DATES),
    Case(
        DateParameter(interval=7, start=dt.date(2026, 1, 5)),
        st.dates(dt.date(2, 1, 1)),
        NOT_DATES,
        NOT_TEXT_OF_DATES,
    ),
    Case(MonthParameter(), days, NOT_DATES, ["2026-03-01", "2026", "2026-13", "26-03", "2026-3", "2026-00"]),
    Case(MonthParameter(interval=5), st.dates(dt.date(2, 1, 1)), NOT_DATES, ["2026-03-01", "2026"]),
    Case(YearParameter(), days, NOT_DATES, ["2026-03", "26", "0000", "20260"]),
    Case(YearParameter(interval=4, start=dt.date(2000, 5, 5)), st.dates(dt.date(5, 1, 1)), NOT_DATES, ["2026-03"]),
    Case(
        DateHourParameter(),
        st.datetimes(),
        [*NOT_MOMENTS, AWARE],
        ["2026-01-01", "2026-01-01T1", "2026-01-01T24", "2026-01-01T10:00", "2026-01-01 10", "2026-01-01T10Z"],
    ),
    Case(
        DateMinuteParameter(interval=15),
        st.datetimes(),
        [*NOT_MOMENTS, AWARE],
        ["2026-01-01T10", "2026-01-01T1060", "2026-01-01T10:00:00", "2026-01-01T10H00"],
    ),
    Case(DateMinuteParameter(), st.datetimes(), [*NOT_MOMENTS, AWARE], ["2026-01-01T10", "2026-01-01T1060"]),
    Case(
        DateSecondParameter(),
        st.datetimes(),
        [*NOT_MOMENTS, AWARE],
        ["2026-01-01T1000", "2026-01-01T100060", "2026-01-01T10:00:00+00:00", "2026-01-01T10:00:00.5", "2026-01-01"],
    ),
    Case(
        DateSecondParameter(interval=45, start=dt.datetime(2026, 1, 1, 12)),
        st.datetimes(dt.datetime(1, 1, 2)),
        [*NOT_MOMENTS, AWARE],
        ["x"],
    ),
    Case(
        ZonedDateSecondParameter(),
        st.datetimes(dt.datetime(1, 1, 3), dt.datetime(9999, 12, 29), timezones=zones, allow_imaginary=False),
        [*NOT_MOMENTS, dt.datetime(2026, 1, 1)],
        ["2026-01-01T10:00:00", "2026-01-01", "2026-01-01T10+00:00", "2026-01-01T10:00:00+25:00", "2026-01-01T25:00:00Z"],
    ),
    Case(
        DateIntervalParameter(),
        intervals,
        [dt.date(2026, 1, 1), "2026", (dt.date(2026, 1, 1), dt.date(2026, 1, 2)), 2026],
        ["26", "2026-13", "2026-W54", "2026-W00", "2026-02-30", "2026-01-02-2026-01-01", "2026-01-01-2026-01-01", "9999"],
    ),
    Case(
        TimeDeltaParameter(),
        st.timedeltas(),
        [1, 1.5, "1 d", dt.time(1)],
        ["", "P", "PT", "P1Y", "P1M", "1 month", "2 h 1 d", "1.5 h", "1 x", "0.1234567", "nan", "1e3", "P1H", "9" * 30],
    ),
    Case(
        EnumParameter(enum=Colour),
        st.sampled_from(Colour),
        ["RED", 1, Shade.RED, Colour],
        ["red", "1", "Colour.RED", "RED,GREEN"],
    ),
    Case(
        EnumListParameter(enum=Colour),
        st.lists(st.sampled_from(Colour), max_size=4),
        [Colour.RED, ["RED"], [Shade.RED], {Colour.RED}, "RED", Colour],
        ["red", "RED,", "RED,,GREEN", '["RED"]', "RED;GREEN"],
    ),
    Case(ChoiceParameter(choices=["a", "b c", ""]), st.sampled_from(["a", "b c", ""]), ["d", 1, ["a"]], ["d", " a", "A"]),
    Case(ChoiceParameter(choices=[1, 2, 5]), st.sampled_from([1, 2, 5]), [3, 1.0, True, "1"], ["3", "1.0", "one"]),
    Case(ChoiceParameter(choices=(0.1, 0.2), var_type=float), st.sampled_from([0.1, 0.2]), [0.3, "0.1"], ["0.3", "x"]),
    Case(ChoiceParameter(choices=[True]), st.just(True), [False, 1, "true"], ["false", "1"]),
    Case(
        ChoiceListParameter(choices=["a", "b"]),
        st.lists(st.sampled_from(["a", "b"]), max_size=4),
        ["a", ["c"], [1], {"a"}],
        ["c", "a,", "a;b"],
    ),
    Case(
        ChoiceListParameter(choices=[1, 2]),
        st.lists(st.sampled_from([1, 2]), max_size=4),
        [1, [3], ["1"], [True]],
        ["3", "1,x"],
    ),
    Case(
        PathParameter(),
        st.sampled_from([Path("a/b"), Path("/x"), Path()]) | st.just(PurePosixPath("a")),
        ["a", b"a", 1],
        [""],
    ),
    Case(PathParameter(absolute=True), st.sampled_from([Path("a/b"), Path("/x")]), ["a"], [""]),
    Case(
        PathParameter(exists=True), st.sampled_from([Path("/"), Path(__file__)]), [Path("/no/such/file")], ["/no/such/file"]
    ),
    Case(
        ListParameter(), st.lists(json_values, max_size=4), ["a", {1}, {"a": 1}, [object()]], ["{}", "(1, 2)", "1", "[NaN]"]
    ),
    Case(
        ListParameter(schema={"type": "array", "items": {"type": "number", "maximum": 10}, "maxItems": 3}),
        st.lists(st.integers(-5, 10), max_size=2),
        [[11], ["a"], [1, 2, 3, 4], (1, None)],
        ["[11]", '["a"]', "[1, 2, 3, 4]"],
    ),
    Case(
        TupleParameter(),
        st.lists(json_values, max_size=4).map(tuple),
        ["a", {1}, {"a": 1}, (object(),)],
        ["{}", "1", "('a')", "(1", "f(1)", "(1, {2})", "(nan,)"],
    ),
    Case(
        DictParameter(),
        st.dictionaries(st.text(max_size=5), json_values, max_size=3),
        [[], "a", {1: 2}, [("a", 1)]],
        ["[]", "{a: 1}", '{"a": Infinity}'],
    ),
    Case(
        DictParameter(schema={"additionalProperties": {"enum": ["web", "staging", "sample"]}}),
        st.dictionaries(st.text(max_size=5), st.sampled_from(["web", "staging"]), max_size=3),
        [{"a": "b"}, {"a": None}, []],
        ['{"a": "b"}', "[]"],
    ),
    Case(
        TaskParameter(),
        st.sampled_from([Leaf, Twig, Other]),
        [Leaf(), "Leaf", int, TaskOnKart[int]],
        ["Leaf", "a..b", "os.path"],
    ),
    Case(TaskParameter(expected_type=Leaf), st.sampled_from([Leaf, Twig]), [Other, Leaf()], [f"{__name__}.Other"]),
    Case(
        SerializableParameter(object_type=Pair),
        st.builds(Pair, st.integers(), st.text()),
        ["[1, 2]", [1, 2], Pair],
        ["", "[]", "{", "[1, 2, 3]"],
    ),
    Case(TaskInstanceParameter(), leaves, [Leaf, "Leaf", [Leaf()]], ["5", "{}", "[]"]),
    Case(ListTaskInstanceParameter(), st.lists(leaves, max_size=2), [Leaf(), [Leaf], [None]], ["5", "[5]"]),
]
EMPTY = {  # what each optional parameter would write as empty text
    OptionalParameter: "",
    OptionalStrParameter: "",
    OptionalEnumListParameter: (),
    OptionalChoiceListParameter: (),
}
OPTIONAL_OF: dict[type, list[Any]] = {
    Parameter: [OptionalParameter()],
    StrParameter: [OptionalStrParameter()],
    IntParameter: [OptionalIntParameter(), OptionalIntParameter(min_value=1, max_value=9)],
    FloatParameter: [OptionalFloatParameter()],
    NumericalParameter: [
        OptionalNumericalParameter(var_type=int, min_value=-3, max_value=7),
        OptionalNumericalParameter(var_type=int, min_value=-3, max_value=7, include_min=False, include_max=True),
        OptionalNumericalParameter(var_type=float, min_value=0.0, max_value=1.0, include_min=False),
        OptionalNumericalParameter(var_type=float),
    ],
    BoolParameter: [OptionalBoolParameter()],
    DateParameter: [OptionalDateParameter(), OptionalDateParameter(interval=7, start=dt.date(2026, 1, 5))],
    MonthParameter: [OptionalMonthParameter(), OptionalMonthParameter(interval=5)],
    YearParameter: [OptionalYearParameter(), OptionalYearParameter(interval=4, start=dt.date(2000, 5, 5))],
    DateHourParameter: [OptionalDateHourParameter()],
    DateMinuteParameter: [OptionalDateMinuteParameter(interval=15), OptionalDateMinuteParameter()],
    DateSecondParameter: [
        OptionalDateSecondParameter(),
        OptionalDateSecondParameter(interval=45, start=dt.datetime(2026, 1, 1, 12)),
    ],
    ZonedDateSecondParameter: [OptionalZonedDateSecondParameter()],
    DateIntervalParameter: [OptionalDateIntervalParameter()],
    TimeDeltaParameter: [OptionalTimeDeltaParameter()],
    EnumParameter: [OptionalEnumParameter(enum=Colour)],
    EnumListParameter: [OptionalEnumListParameter(enum=Colour)],
    ChoiceParameter: [
        OptionalChoiceParameter(choices=["a", "b c"]),
        OptionalChoiceParameter(choices=[1, 2, 5]),
        OptionalChoiceParameter(choices=(0.1, 0.2), var_type=float),
        OptionalChoiceParameter(choices=[True]),
    ],
    ChoiceListParameter: [OptionalChoiceListParameter(choices=["a", "b"]), OptionalChoiceListParameter(choices=[1, 2])],
    PathParameter: [OptionalPathParameter(), OptionalPathParameter(absolute=True), OptionalPathParameter(exists=True)],
    ListParameter: [
        OptionalListParameter(),
        OptionalListParameter(schema={"type": "array", "items": {"type": "number", "maximum": 10}, "maxItems": 3}),
    ],
    TupleParameter: [OptionalTupleParameter()],
    DictParameter: [
        OptionalDictParameter(),
        OptionalDictParameter(schema={"additionalProperties": {"enum": ["web", "staging", "sample"]}}),
    ],
    TaskParameter: [OptionalTaskParameter(), OptionalTaskParameter(expected_type=Leaf)],
    SerializableParameter: [OptionalSerializableParameter(object_type=Pair)],
    TaskInstanceParameter: [OptionalTaskInstanceParameter()],
    ListTaskInstanceParameter: [OptionalListTaskInstanceParameter()],
}


def optional_case(case: Case, optional: Any) -> Case:
    empty = EMPTY.get(type(optional), "none")
    values = case.values.filter(lambda value: value != "" and value not in ([], ())) if empty != "none" else case.values
    if isinstance(optional, OptionalChoiceParameter):
        values = case.values.filter(lambda value: value != "")
    wrong = [*case.wrong, *([empty] if empty != "none" else [])]
    return Case(optional, st.none() | values, wrong, [text for text in case.wrong_texts if text])


OPTIONAL = []
for kind, optionals in OPTIONAL_OF.items():
    of_kind = [case for case in REQUIRED if type(case.parameter) is kind]
    OPTIONAL += [optional_case(case, optional) for case, optional in zip(of_kind, optionals, strict=True)]
CASES = [*REQUIRED, *OPTIONAL]


def title(case: Case) -> str:
    return f"{type(case.parameter).__name__}-{CASES.index(case)}"


every = pytest.mark.parametrize("case", CASES, ids=title)
many = settings(max_examples=400)  # for all cases together
drawn = st.sampled_from(CASES).flatmap(lambda case: st.tuples(st.just(case.parameter), case.values))


def same(one: object, other: object) -> bool:
    both_nan = isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other)
    return both_nan or (one == other and type(one) is type(other))


def test_the_table_has_every_parameter_class() -> None:
    public = {getattr(parameters, name) for name in parameters.__all__ if name.endswith("Parameter")}
    assert {type(case.parameter) for case in CASES} == public


@many
@given(drawn)
def test_text_reads_back(case: tuple[Any, Any]) -> None:
    parameter, value = case
    value = parameter.accept(value, "Owner", "knob")
    assert same(parameter.read(parameter.serialize(value), "Owner", "knob"), value)


@many
@given(drawn)
def test_normalizing_twice_changes_nothing(case: tuple[Any, Any]) -> None:
    parameter, value = case
    value = parameter.normalize(value)
    assert same(parameter.normalize(value), value)


@many
@given(drawn)
def test_json_reads_back_and_satisfies_the_schema(case: tuple[Any, Any]) -> None:
    parameter, value = case
    value = parameter.normalize(value)
    written = json.loads(json.dumps(parameter.to_json(value), allow_nan=False))
    checker = jsonschema.FormatChecker()
    field = copy.copy(parameter)
    field.default = value  # as in a form that offers the value
    jsonschema.validate(written, field.json_schema(), jsonschema.Draft202012Validator, format_checker=checker)
    if not parameter.holds_tasks:
        assert same(parameter.read(written, "Owner", "knob"), value)


@many
@given(drawn)
def test_values_pickle_and_hash(case: tuple[Any, Any]) -> None:
    parameter, value = case
    value = parameter.normalize(value)
    copied = pickle.loads(pickle.dumps(value))
    assert same(copied, value)
    assert value != value or hash(copied) == hash(value)


@many
@given(drawn)
def test_what_reads_back_has_the_same_identity(case: tuple[Any, Any]) -> None:
    parameter, value = case
    value = parameter.normalize(value)
    assert encode(parameter.parse(parameter.serialize(value))) == encode(value)


@many
@given(st.sampled_from(CASES).flatmap(lambda case: st.tuples(st.just(case.parameter), case.values, case.values)))
def test_different_values_have_different_identities(case: tuple[Any, Any, Any]) -> None:
    parameter, one, other = case
    one, other = parameter.normalize(one), parameter.normalize(other)
    assume(one == one and other == other)
    # The encoding is typed, so what Python takes for equal across types, as in (1,) and (True,), may still differ.
    assert one == other or encode(one) != encode(other)


@many
@given(drawn)
def test_a_variation_is_another_valid_value(case: tuple[Any, Any]) -> None:
    parameter, value = case
    value = parameter.normalize(value)
    try:
        other = parameter.variation(value)
    except ValueError:
        assert isinstance(parameter, (SerializableParameter, TaskParameter)) or getattr(parameter, "schema", None)
        return
    assert same(parameter.normalize(other), other)
    huge = isinstance(value, float) and (math.isinf(value) or abs(value) > 2**53 or abs(value) < 1e-300)
    single = isinstance(parameter, ChoiceParameter) and len(parameter.choices) == 1 and value is not None
    assert parameter.holds_tasks or huge or single or value == Path("/") or other != value


@every
def test_a_sample_is_a_valid_value(case: Case) -> None:
    parameter = case.parameter
    if parameter.holds_tasks or isinstance(parameter, (SerializableParameter, TaskParameter)):
        with pytest.raises(ValueError, match=r"a template cannot stand for a task|compile_value="):
            parameter.sample()
    else:
        assert same(parameter.normalize(parameter.sample()), parameter.sample())


@every
def test_the_schema_is_one(case: Case) -> None:
    jsonschema.Draft202012Validator.check_schema(case.parameter.json_schema())
    json.dumps(case.parameter.json_schema(), allow_nan=False)


@every
def test_wrong_values_are_refused_by_name(case: Case) -> None:
    owner = type("Owner", (TaskOnKart,), {"knob": case.parameter})
    wrong = [*case.wrong, object(), ...]
    if case in REQUIRED:
        wrong.append(None)
    for value in wrong:
        with pytest.raises(ParameterValueError, match=r"^Owner\.knob: .+"):
            owner(knob=value)


@every
def test_wrong_texts_are_refused_by_name(case: Case) -> None:
    for text in case.wrong_texts:
        with pytest.raises(ParameterValueError, match=r"^Owner\.knob: .+"):
            case.parameter.read(text, "Owner", "knob")


@every
def test_wrong_json_is_refused_by_name(case: Case) -> None:
    kind = case.parameter.json_schema().get("type", ())
    types = [kind] if isinstance(kind, str) else kind
    wrong = {
        "integer": 3_000_000,
        "number": 3e99,
        "boolean": True,
        "array": [{"no": "such"}, 5, None],
        "object": {1: 2},
        "null": None,
    }
    for name, value in wrong.items():
        if name not in types and not (name == "integer" and "number" in types):
            with pytest.raises(ParameterValueError, match=r"^Owner\.knob: .+"):
                case.parameter.read(value, "Owner", "knob")


@every
def test_a_wrong_default_is_refused_when_the_class_is_made(case: Case) -> None:
    for option in ("default", "compile_value"):
        parameter = pickle.loads(pickle.dumps(case.parameter))
        parameter.origin = None
        setattr(parameter, option, object())
        with pytest.raises(ParameterValueError, match=rf"^Owner\.knob \({option}\): "):
            type("Owner", (TaskOnKart,), {"knob": parameter})


@pytest.mark.parametrize("case", OPTIONAL, ids=title)
def test_none_is_empty_text_and_null(case: Case) -> None:
    parameter = case.parameter
    assert parameter.accept(None, "Owner", "knob") is None
    assert parameter.serialize(None) == ""
    assert parameter.read("", "Owner", "knob") is None
    assert parameter.to_json(None) is None
    assert parameter.read(None, "Owner", "knob") is None
    jsonschema.validate(None, parameter.json_schema())


@pytest.mark.parametrize("case", OPTIONAL, ids=title)
def test_an_optional_parameter_is_required_unless_its_default_is_none(case: Case) -> None:
    required: Any = type("Owner", (TaskOnKart,), {"knob": case.parameter})
    assert required.get_parameters()["knob"].required
    parameter = pickle.loads(pickle.dumps(case.parameter))
    parameter.origin, parameter.default = None, None
    owner = type("Owner", (TaskOnKart,), {"knob": parameter})
    assert owner().knob is None
    assert repr(owner()) == "Owner(knob=None)"
    assert owner().unique_id


@pytest.mark.parametrize(("kind", "value"), EMPTY.items(), ids=lambda value: str(value))
def test_what_is_empty_as_text_is_refused(kind: Any, value: Any) -> None:
    parameter = next(case.parameter for case in OPTIONAL if type(case.parameter) is kind)
    with pytest.raises(ParameterValueError, match=r"and None are both empty as text; give None"):
        parameter.accept(value, "Owner", "knob")


WRONG_DECLARATIONS: list[tuple[type, dict[str, Any], str]] = [
    (IntParameter, {"min_value": 2, "max_value": 1}, "no number lies between min_value 2 and max_value 1"),
    (IntParameter, {"min_value": "1"}, "min_value: give an int, not str '1'"),
    (IntParameter, {"max_value": 1.5}, "max_value: give an int"),
    (FloatParameter, {"min_value": math.nan}, "min_value is nan"),
    (FloatParameter, {"allow_inf_nan": 1}, "allow_inf_nan: give True or False"),
    (FloatParameter, {"min_value": 1, "max_value": 0.5}, "no number lies between"),
    (NumericalParameter, {"var_type": str}, "give int or float"),
    (NumericalParameter, {"var_type": int, "min_value": 1, "max_value": 1}, "no number lies between"),
    (
        NumericalParameter,
        {"var_type": int, "min_value": 0, "max_value": 1, "include_min": False},
        "no number lies between",
    ),
    (NumericalParameter, {"var_type": int, "include_min": 1}, "include_min: give True or False"),
    (DateParameter, {"interval": 0}, "interval is int 0; give a whole number above zero"),
    (DateParameter, {"interval": True}, "interval is bool True"),
    (MonthParameter, {"start": "2026-01"}, "start: give a datetime.date"),
    (DateMinuteParameter, {"interval": 0.5}, "interval is float 0.5"),
    (DateHourParameter, {"interval": 10**30}, "DateHourParameter: "),
    (DateSecondParameter, {"start": AWARE}, "start: .* has a zone"),
    (EnumParameter, {"enum": enum.Enum("Nothing", [])}, "needs an Enum class with members"),
    (EnumListParameter, {"enum": int}, "needs an Enum class with members"),
    (EnumListParameter, {"enum": enum.Enum("Odd", {"a,b": 1})}, "the names 'a,b' cannot be written"),
    (ChoiceParameter, {"choices": []}, "choices is empty"),
    (ChoiceParameter, {"choices": "abc"}, "choices is str 'abc'; give a list"),
    (ChoiceParameter, {"choices": 3}, "give a list"),
    (ChoiceParameter, {"choices": ["a", "a"]}, "a value twice"),
    (ChoiceParameter, {"choices": ["a", 1]}, "choices has int 1; give values of str only"),
    (ChoiceParameter, {"choices": [1, True]}, "choices has bool True"),
    (ChoiceParameter, {"choices": [math.nan]}, "choices has float nan"),
    (ChoiceParameter, {"choices": [1, 2], "var_type": float}, "choices has int 1; give values of float only"),
    (ChoiceParameter, {"choices": [Colour.RED]}, "use EnumParameter"),
    (ChoiceListParameter, {"choices": ["a,b"]}, "cannot be written in a list with commas"),
    (ChoiceListParameter, {"choices": ["a", ""]}, "cannot be written in a list with commas"),
    (OptionalChoiceParameter, {"choices": ["a", ""]}, "stands for None; leave it out"),
    (PathParameter, {"exists": "yes"}, "exists: give True or False"),
    (ListParameter, {"schema": {"type": "liste"}}, r"schema is not a JSON Schema: at \$\.type"),
    (DictParameter, {"schema": [1]}, "give a JSON Schema as a dict"),
    (DictParameter, {"schema": {"a": object()}}, "is not a JSON value"),
    (TaskParameter, {"expected_type": "Leaf"}, "expected_type is str 'Leaf'; give a class"),
    (TaskInstanceParameter, {"expected_type": "Leaf"}, "expected_type is str 'Leaf'; give a class"),
    (SerializableParameter, {"object_type": int}, "give a class with gokart_serialize and gokart_deserialize"),
    (StrParameter, {"kw_only": "no"}, "give a bool"),
]


@pytest.mark.parametrize(("kind", "options", "words"), WRONG_DECLARATIONS)
def test_a_wrong_declaration_is_refused(kind: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ParameterError, match=words) as caught:
        kind(**options)
    assert kind.__name__ in str(caught.value)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        (NumericalParameter(var_type=int, min_value=-3, max_value=7), 7),
        (ChoiceParameter(choices=["a"]), "b"),
        (ListParameter(schema={"maxItems": 1}), [1, 2]),
        (PathParameter(exists=True), Path("/no/such/file")),
    ],
)
def test_a_default_outside_is_refused_when_the_class_is_made(parameter: Any, value: Any) -> None:
    parameter.default = value
    with pytest.raises(ParameterValueError, match=r"^Bad\.knob \(default\): "):
        type("Bad", (TaskOnKart,), {"knob": parameter})


@every
def test_every_class_documents_itself(case: Case) -> None:
    assert (inspect.getdoc(type(case.parameter)) or "").endswith((".", ".)"))


class Golden(TaskOnKart[int]):
    __module__ = "golden"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Golden, "6b31373a7331333a676f6c64656e2e476f6c64656e"),
        (Pair(1, "a"), "7a31313a73383a5b312c202261225d"),
    ],
)
def test_golden_encodings(value: Any, expected: str) -> None:
    assert encode(value).hex() == expected


def test_a_serializable_counts_by_its_text() -> None:
    class Noted(Pair):
        note = "does not count"

    assert encode(Noted(1, "a")) == encode(Pair(1, "a")) != encode(Pair(1, "b")) != encode('[1, "a"]')


def test_a_task_class_is_found_by_its_logical_name() -> None:
    parameter: Any = TaskParameter()
    assert parameter.serialize(Twig) == f"{__name__}.Twig"
    assert parameter.read(f"{__name__}.Twig", "Owner", "knob") is Twig
    with pytest.raises(ParameterValueError, match=r"give a task class, not .*; give its class, Leaf"):
        parameter.accept(Leaf(), "Owner", "knob")


def test_an_object_that_cannot_be_read_is_refused() -> None:
    class Odd(Pair):
        @classmethod
        def gokart_deserialize(cls, s: str) -> Any:
            return s

    parameter: Any = SerializableParameter(object_type=Odd)
    with pytest.raises(ParameterValueError, match=r"Odd\.gokart_deserialize\('a'\) returned str 'a'"):
        parameter.read("a", "Owner", "knob")


def test_an_optional_task_may_be_left_out() -> None:
    class Maybe(TaskOnKart[int]):
        upstream: TaskOnKart[int] | None = OptionalTaskInstanceParameter(default=None)
        more: tuple[TaskOnKart[int], ...] | None = OptionalListTaskInstanceParameter(default=None)

    outer: Any = TaskInstanceParameter()
    assert Maybe().requires() == {"upstream": None, "more": None}
    assert (
        len({Maybe().unique_id, Maybe(upstream=Leaf()).unique_id, Maybe(more=()).unique_id, Maybe(more=(Leaf(),)).unique_id})
        == 4
    )
    assert json.loads(outer.serialize(Maybe(more=(Leaf(),))))["parameters"]["upstream"] is None
    assert list(held_tasks(Maybe(upstream=Leaf(), more=(Twig(),)))) == [Leaf(), Twig()]


def test_a_tuple_is_read_as_python_writes_it() -> None:
    parameter: Any = TupleParameter()
    value = ((12, 3), (4, 15), (52, True, None, "a"))
    assert parameter.read(str(value), "Owner", "knob") == value
    assert parameter.read("(1,)", "Owner", "knob") == (1,)
    assert parameter.read("[[1, 2], [3]]", "Owner", "knob") == ((1, 2), (3,))


def test_a_schema_says_where_a_value_is_wrong() -> None:
    parameter: Any = DictParameter(schema={"properties": {"a": {"items": {"type": "integer"}}}})
    with pytest.raises(
        ParameterValueError, match=r"Owner\.knob: the value does not satisfy its schema: at \$\.a\[1\], 'x' is not of"
    ):
        parameter.accept({"a": [1, "x"]}, "Owner", "knob")


def test_a_schema_is_kept_as_it_was() -> None:
    mine: dict[str, Any] = {"maxItems": 1}
    parameter: Any = ListParameter(schema=mine)
    mine["maxItems"] = 9
    with pytest.raises(ParameterValueError):
        parameter.accept([1, 2], "Owner", "knob")


def test_jsonschema_is_loaded_for_a_schema_only(python: Any) -> None:
    code = """
import sys
from airflow_kart import DictParameter, TaskOnKart
class Task(TaskOnKart):
    options = DictParameter(default={{}}{schema})
Task(options={{"a": 1}})
print("jsonschema" in sys.modules)
"""
    assert python(code=code.format(schema="")).strip() == "False"
    assert python(code=code.format(schema=', schema={"type": "object"}')).strip() == "True"
