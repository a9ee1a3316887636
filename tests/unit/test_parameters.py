from __future__ import annotations

import copy
import datetime as dt
import enum
import fractions
import json
import math
import pickle
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_kart import TaskOnKart
from airflow_kart.exceptions import (
    MissingParameterError,
    ParameterError,
    ParameterValueError,
    UnknownParameterError,
)
from airflow_kart.parameters import (
    UNSET,
    BoolParameter,
    DateParameter,
    DictParameter,
    EnumParameter,
    FloatParameter,
    FrozenDict,
    IntParameter,
    ListParameter,
    ListTaskInstanceParameter,
    Parameter,
    ParameterVisibility,
    StrParameter,
    TaskInstanceParameter,
)
from airflow_kart.tasks.provenance import TaskOwner


class Colour(enum.Enum):
    RED = 1
    GREEN = 2
    CRIMSON = RED


class Leaf(TaskOnKart[int]):
    n: int = IntParameter(default=0)
    label: str = StrParameter(default="")


class OtherLeaf(TaskOnKart[int]):
    pass


STR: Any = StrParameter()
PLAIN: Any = Parameter()
INT: Any = IntParameter()
BOUNDED_INT: Any = IntParameter(min_value=1, max_value=9)
FLOAT: Any = FloatParameter()
BOUNDED_FLOAT: Any = FloatParameter(min_value=0.0, max_value=1.0)
BOOL: Any = BoolParameter()
DATE: Any = DateParameter()
ENUM: Any = EnumParameter(enum=Colour)
LIST: Any = ListParameter()
DICT: Any = DictParameter()
TASK: Any = TaskInstanceParameter()
LEAF: Any = TaskInstanceParameter(expected_type=Leaf)
TASKS: Any = ListTaskInstanceParameter()
LEAVES: Any = ListTaskInstanceParameter(expected_type=Leaf)
EVERY = [PLAIN, STR, INT, BOUNDED_INT, FLOAT, BOUNDED_FLOAT, BOOL, DATE, ENUM, LIST, DICT, TASK, LEAF, TASKS, LEAVES]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
leaf_tasks = st.builds(Leaf, n=st.integers(), label=st.text())
VALUES = {
    PLAIN: st.text(),
    STR: st.text(),
    INT: st.integers(),
    BOUNDED_INT: st.integers(1, 9),
    FLOAT: st.floats(),
    BOUNDED_FLOAT: st.floats(0.0, 1.0),
    BOOL: st.booleans(),
    DATE: st.dates(),
    ENUM: st.sampled_from(Colour),
    LIST: st.lists(json_values, max_size=5),
    DICT: st.dictionaries(st.text(), json_values, max_size=5),
    TASK: leaf_tasks,
    LEAF: leaf_tasks,
    TASKS: st.lists(leaf_tasks, max_size=3),
    LEAVES: st.lists(leaf_tasks, max_size=3).map(tuple),
}
any_case = st.sampled_from(EVERY).flatmap(lambda parameter: st.tuples(st.just(parameter), VALUES[parameter]))


def same(one: object, other: object) -> bool:
    both_nan = isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other)
    return both_nan or (one == other and type(one) is type(other))


@pytest.mark.parametrize(
    ("parameter", "given_value", "kept"),
    [
        (PLAIN, "text", "text"),
        (STR, "", ""),
        (STR, np.str_("numpy"), "numpy"),
        (INT, -3, -3),
        (INT, 10**400, 10**400),
        (INT, np.int64(7), 7),
        (BOUNDED_INT, 1, 1),
        (BOUNDED_INT, 9, 9),
        (FLOAT, 2, 2.0),
        (FLOAT, np.float32(0.5), 0.5),
        (FLOAT, fractions.Fraction(1, 4), 0.25),
        (FLOAT, math.inf, math.inf),
        (FLOAT, math.nan, math.nan),
        (BOUNDED_FLOAT, 0, 0.0),
        (BOUNDED_FLOAT, 1.0, 1.0),
        (BOOL, True, True),
        (DATE, dt.date(2026, 2, 28), dt.date(2026, 2, 28)),
        (ENUM, Colour.GREEN, Colour.GREEN),
        (ENUM, Colour.CRIMSON, Colour.RED),
        (LIST, [1, "a", None, [2.5, {"k": [True]}]], (1, "a", None, (2.5, FrozenDict(k=(True,))))),
        (LIST, (), ()),
        (DICT, {"a": {"b": [1, 2]}}, FrozenDict(a=FrozenDict(b=(1, 2)))),
        (TASK, Leaf(n=1), Leaf(n=1)),
        (LEAF, Leaf(), Leaf()),
        (TASKS, [Leaf(), OtherLeaf()], (Leaf(), OtherLeaf())),
        (TASKS, (), ()),
    ],
)
def test_right_values_are_kept_in_one_form(parameter: Any, given_value: object, kept: object) -> None:
    assert same(parameter.accept(given_value, "Owner", "name"), kept)


NOT_JSON = [1, 2.0, True, None, b"x", object(), [1], {"a": 1}]
WRONG = [
    *[(STR, value) for value in NOT_JSON],
    *[(PLAIN, value) for value in NOT_JSON],
    *[(INT, value) for value in [True, False, 3.0, np.float64(3), np.bool_(True), "3", None, [1], dt.date(2026, 1, 1)]],
    *[(BOUNDED_INT, value) for value in [0, 10, -1, True]],
    *[(FLOAT, value) for value in [True, "0.5", None, 1j, [0.5], fractions.Fraction(10**400, 1)]],
    *[(BOUNDED_FLOAT, value) for value in [-0.001, 1.001, math.nan, math.inf]],
    *[(BOOL, value) for value in [0, 1, "true", None, 1.0, np.bool_(True)]],
    *[(DATE, value) for value in [dt.datetime(2026, 1, 1), "2026-01-01", None, 20260101, dt.time(1)]],
    *[(ENUM, value) for value in ["RED", 1, None, enum.Enum("Colour", "RED").RED, Colour]],  # type: ignore[attr-defined]
    *[
        (LIST, value)
        for value in ["abc", None, 3, {1, 2}, {"a": 1}, iter([1]), [object()], [math.nan], [math.inf], [{1: 2}], [{3}]]
    ],
    *[
        (DICT, value)
        for value in [None, [("a", 1)], "a", {1: 2}, {None: 1}, {"a": object()}, {"a": {"b": {2: 1}}}, {"a": math.nan}]
    ],
    *[(TASK, value) for value in [None, "Leaf", Leaf, TaskOnKart, 3, [Leaf()]]],
    *[(LEAF, value) for value in [OtherLeaf(), None, Leaf]],
    *[(TASKS, value) for value in [None, Leaf(), "x", {Leaf()}, [Leaf], [Leaf(), None], iter([Leaf()])]],
    *[(LEAVES, value) for value in [[Leaf(), OtherLeaf()], OtherLeaf()]],
]


@pytest.mark.parametrize(("parameter", "value"), WRONG, ids=lambda value: f"{type(value).__name__}-{str(value)[:20]}")
def test_wrong_values_are_refused_by_name(parameter: Any, value: object) -> None:
    owner = type("Owner", (TaskOnKart,), {"knob": parameter})
    with pytest.raises(ParameterValueError, match=r"^Owner\.knob: .+"):
        owner(knob=value)


@pytest.mark.parametrize(
    ("parameter", "value", "words"),
    [
        (INT, "3", "give an int, not str '3'"),
        (BOUNDED_INT, 0, "0 is below the smallest allowed value, 1"),
        (BOUNDED_INT, 10, "10 is above the largest allowed value, 9"),
        (ENUM, "RED", "one of RED, GREEN"),
        (DATE, dt.datetime(2026, 1, 1), r"call \.date\(\) on it"),
        (TASK, Leaf, r"make an instance of it: add \(\)"),
        (LEAF, OtherLeaf(), "give a Leaf"),
        (DICT, {1: 2}, "the key int 1 is not a str"),
        (STR, list(range(1000)), "not a list$"),
    ],
)
def test_a_refusal_says_what_to_give(parameter: Any, value: object, words: str) -> None:
    with pytest.raises(ParameterValueError, match=words):
        parameter.accept(value, "Owner", "knob")


@given(any_case)
def test_text_reads_back(case: tuple[Any, Any]) -> None:
    parameter, value = case
    value = parameter.accept(value, "Owner", "knob")
    assert same(parameter.parse(parameter.serialize(value)), value)
    assert same(parameter.read(parameter.serialize(value), "Owner", "knob"), value)


@given(any_case)
def test_normalizing_twice_changes_nothing(case: tuple[Any, Any]) -> None:
    parameter, value = case
    value = parameter.normalize(value)
    assert same(parameter.normalize(value), value)


@given(any_case.filter(lambda case: not (isinstance(case[1], float) and not math.isfinite(case[1]))))
def test_the_schema_takes_the_json_form(case: tuple[Any, Any]) -> None:
    parameter, value = case
    schema = parameter.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    written = json.loads(json.dumps(parameter.to_json(parameter.normalize(value)), allow_nan=False))
    jsonschema.validate(written, schema)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_schema_takes_the_json_form_of_numbers_that_json_lacks(value: float) -> None:
    allowing: Any = FloatParameter(allow_inf_nan=True)
    refusing: Any = FloatParameter(allow_inf_nan=False)
    jsonschema.validate(allowing.to_json(value), allowing.json_schema())
    for parameter in (FLOAT, refusing):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(FLOAT.to_json(value), parameter.json_schema())
    with pytest.raises(ValueError, match=r"is not finite; give a finite number"):
        refusing.normalize(value)


@given(any_case.filter(lambda case: not case[0].holds_tasks))
def test_the_json_form_reads_back(case: tuple[Any, Any]) -> None:
    parameter, value = case
    value = parameter.normalize(value)
    assert same(parameter.read(parameter.to_json(value), "Owner", "knob"), value)


@given(any_case)
def test_a_variation_is_another_valid_value(case: tuple[Any, Any]) -> None:
    parameter, value = case
    value = parameter.normalize(value)
    other = parameter.variation(value)
    assert same(parameter.normalize(other), other)
    fixed = parameter.holds_tasks or (isinstance(value, float) and (math.isinf(value) or abs(value) > 2**53))
    assert fixed or other != value


@pytest.mark.parametrize("parameter", [parameter for parameter in EVERY if not parameter.holds_tasks], ids=repr)
def test_a_sample_is_a_valid_value(parameter: Any) -> None:
    assert same(parameter.normalize(parameter.sample()), parameter.sample())


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (None, None),
        (5, None),
        (None, -5),
        (0, 0),
        (0, None),
        (-9, 9),
        (None, 0),
        (2, 3),
    ],
)
@pytest.mark.parametrize("cls", [IntParameter, FloatParameter])
def test_samples_keep_to_the_bounds(cls: Any, low: Any, high: Any) -> None:
    parameter = cls(min_value=low, max_value=high)
    assert parameter.normalize(parameter.variation(parameter.sample())) is not None


@pytest.mark.parametrize("parameter", [TASK, TASKS], ids=repr)
def test_no_task_can_be_made_up(parameter: Any) -> None:
    with pytest.raises(ValueError, match="cannot stand for a task"):
        parameter.sample()


@pytest.mark.parametrize(
    ("parameter", "text", "value"),
    [
        (INT, " +12 ", 12),
        (FLOAT, "1e3", 1000.0),
        (FLOAT, "nan", math.nan),
        (FLOAT, "-inf", -math.inf),
        (BOOL, " TRUE ", True),
        (BOOL, "False", False),
        (DATE, " 2026-12-31 ", dt.date(2026, 12, 31)),
        (ENUM, "RED", Colour.RED),
        (ENUM, "CRIMSON", Colour.RED),
        (LIST, "[1, [2]]", (1, (2,))),
        (DICT, '{"a": null}', FrozenDict(a=None)),
    ],
)
def test_text_is_read(parameter: Any, text: str, value: object) -> None:
    assert same(parameter.read(text, "Owner", "knob"), value)


@pytest.mark.parametrize(
    ("parameter", "text"),
    [
        *[(INT, text) for text in ["", "1.0", "1_0", "0x1", "one", "\u0661", "1 2", "{{ ds }}"]],
        *[(BOUNDED_INT, text) for text in ["0", "10"]],
        *[(FLOAT, text) for text in ["", "1,5", "one"]],
        *[(BOOL, text) for text in ["", "1", "yes", "None"]],
        *[(DATE, text) for text in ["", "2026-1-1", "20260101", "2026-02-30", "2026-01-01T00:00:00", "\u0662026-01-01"]],
        *[(ENUM, text) for text in ["", "red", "1", "Colour.RED"]],
        *[(LIST, text) for text in ["", "{}", "[1", "1", "[NaN]", "'a'"]],
        *[(DICT, text) for text in ["", "[]", "{a: 1}", '{"a": Infinity}']],
        *[(TASK, text) for text in ["", "5", "{}", "[]", '{"module": "nowhere", "class": "Nothing", "parameters": {}}']],
        *[(TASKS, text) for text in ["", "5", "[5]", "{}x"]],
    ],
)
def test_wrong_text_is_refused_by_name(parameter: Any, text: str) -> None:
    with pytest.raises(ParameterValueError, match=r"^Owner\.knob: .+"):
        parameter.read(text, "Owner", "knob")


@pytest.mark.parametrize("part", ["module", "class", "parameters"])
def test_a_task_described_wrongly_is_refused(part: str) -> None:
    described = {"module": __name__, "class": "Leaf", "parameters": {}, part: 5}
    with pytest.raises(ParameterError):
        TASK.read(json.dumps(described), "Owner", "knob")


def test_a_task_as_text_grows_with_its_depth_only() -> None:
    class Wrap(TaskOnKart[int]):
        of: Any = TaskInstanceParameter()

    task: Any = Leaf()
    sizes = []
    for _ in range(12):
        task = Wrap(of=task)
        sizes.append(len(TASK.serialize(task)))
    assert sizes[-1] < 12 * sizes[1]


def test_a_required_parameter_says_so() -> None:
    assert INT.required
    assert INT.default is UNSET
    assert repr(UNSET) == "<required>"
    assert not IntParameter(default=1).required  # type: ignore[attr-defined]


def test_options_are_kept() -> None:
    parameter: Any = IntParameter(
        default=1, description="How deep", significant=False, visibility=ParameterVisibility.HIDDEN, compile_value=3
    )
    assert (parameter.default, parameter.description, parameter.significant) == (1, "How deep", False)
    assert (parameter.visibility, parameter.compile_value) == (ParameterVisibility.HIDDEN, 3)
    assert (STR.description, STR.significant, STR.visibility) == ("", True, ParameterVisibility.PUBLIC)


@pytest.mark.parametrize("cls", [Parameter, StrParameter, IntParameter, BoolParameter, DictParameter, TaskInstanceParameter])
def test_an_unknown_option_is_refused(cls: Any) -> None:
    with pytest.raises(ParameterError, match=rf"{cls.__name__} takes no option defualt"):
        cls(defualt=1)


def test_a_visibility_that_is_none_is_refused() -> None:
    with pytest.raises(ParameterError):
        StrParameter(visibility="private")  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [None, int, enum.Enum, "Colour", Colour.RED])
def test_an_enum_parameter_needs_an_enum(wrong: Any) -> None:
    with pytest.raises(ParameterError, match="needs an Enum class with members"):
        EnumParameter(enum=wrong)


@pytest.mark.parametrize("option", ["default", "compile_value"])
def test_defaults_are_checked_when_the_class_is_made(option: str) -> None:
    with pytest.raises(ParameterValueError, match=rf"Wrong\.depth \({option}\): give an int, not str 'six'"):
        type("Wrong", (TaskOnKart,), {"depth": IntParameter(**{option: "six"})})  # type: ignore[arg-type]


def test_defaults_are_normalised() -> None:
    class Task(TaskOnKart[int]):
        layers: Any = ListParameter(default=[1, [2]])
        rate: float = FloatParameter(default=1)

    assert Task().layers == (1, (2,))
    assert type(Task().rate) is float


def test_defaults_of_a_mixin_are_normalised() -> None:
    class Mixin:
        layers: Any = ListParameter(default=[1])

    class Task(Mixin, TaskOnKart[int]):
        pass

    assert Task().layers == (1,)


@pytest.mark.parametrize(
    ("value", "plain"),
    [(np.float64(1.5), 1.5), (np.str_("a"), "a"), (enum.IntEnum("Level", "LOW").LOW, 1)],  # type: ignore[attr-defined]
)
def test_a_list_takes_subclasses_for_what_they_are(value: object, plain: object) -> None:
    class Task(TaskOnKart[int]):
        values: Any = ListParameter()

    assert Task(values=[value]).unique_id == Task(values=[plain]).unique_id


def test_a_str_enum_is_its_value() -> None:
    class Mode(str, enum.Enum):
        FAST = "fast"

    assert STR.normalize(Mode.FAST) == "fast"


def test_a_combination_of_flags_reads_back_or_is_refused() -> None:
    class Side(enum.Flag):
        LEFT = 1
        RIGHT = 2

    parameter: Any = EnumParameter(enum=Side)
    both = Side.LEFT | Side.RIGHT
    try:
        value = parameter.accept(both, "Owner", "knob")
    except ParameterValueError:
        return
    assert parameter.parse(parameter.serialize(value)) == both


def test_a_list_that_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ParameterValueError):
        LIST.accept(endless, "Owner", "knob")


FROZEN = FrozenDict(a=1, b=(2, FrozenDict(c=3)))


@pytest.mark.parametrize(
    "change",
    [
        lambda frozen: frozen.__setitem__("a", 2),
        lambda frozen: frozen.__delitem__("a"),
        lambda frozen: frozen.clear(),
        lambda frozen: frozen.pop("a"),
        lambda frozen: frozen.popitem(),
        lambda frozen: frozen.setdefault("z", 1),
        lambda frozen: frozen.update(a=2),
        lambda frozen: frozen.__ior__({"a": 2}),
    ],
)
def test_a_frozen_dict_cannot_be_changed(change: Any) -> None:
    with pytest.raises(TypeError, match=r"work on a copy"):
        change(FROZEN)
    assert FROZEN == {"a": 1, "b": (2, {"c": 3})}


def test_a_frozen_dict_hashes_by_value() -> None:
    assert hash(FrozenDict(a=1, b=2)) == hash(FrozenDict(b=2, a=1))
    assert {FrozenDict(a=1): "found"}[FrozenDict(a=1)] == "found"


def test_a_frozen_dict_pickles_as_one() -> None:
    loaded = pickle.loads(pickle.dumps(FROZEN))
    assert loaded == FROZEN
    assert type(loaded) is type(loaded["b"][1]) is FrozenDict


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, FrozenDict.copy, dict], ids=["copy", "deepcopy", "method", "dict"]
)
def test_a_copy_of_a_frozen_dict_is_free(copied: Any) -> None:
    free = copied(FROZEN)
    free["new"] = 1
    assert type(free) is dict
    assert "new" not in FROZEN


def test_a_deep_copy_is_free_all_the_way_down() -> None:
    free = copy.deepcopy(FROZEN)
    free["b"][1]["c"] = 4
    assert FROZEN["b"][1]["c"] == 3


def test_a_frozen_dict_is_a_real_dict() -> None:
    assert json.loads(json.dumps(FROZEN)) == {"a": 1, "b": [2, {"c": 3}]}
    assert dict(**FrozenDict(x=1)) == {"x": 1}
    assert FrozenDict(x=1) | {"y": 2} == {"x": 1, "y": 2}


def test_later_changes_of_what_was_given_do_not_count() -> None:
    class Task(TaskOnKart[int]):
        options: Any = DictParameter()

    mine: dict[str, Any] = {"a": [1]}
    task = Task(options=mine)
    mine["a"].append(2)
    assert task.options == {"a": (1,)}


class Percent(Parameter[float]):
    """A share from 0 % to 100 %, written with its sign."""

    def normalize(self, value: Any) -> float:
        if not isinstance(value, float) or not 0 <= value <= 1:
            raise ValueError(f"give a float from 0 to 1, not {value!r}")
        return value

    def parse(self, text: str) -> float:
        return self.normalize(float(text.removesuffix("%")) / 100)

    def serialize(self, value: float) -> str:
        return f"{value * 100:g}%"


def test_a_parameter_type_of_ones_own_works() -> None:
    class Task(TaskOnKart[int]):
        share: float = Percent(default=0.5)

    assert Task().share == 0.5
    share = Task.get_parameters()["share"]
    assert share.read("25%", "Task", "share") == 0.25
    assert Task(share=0.25).unique_id != Task().unique_id
    assert TaskOwner(Task(share=0.25)).describe({})["task"]["parameters"]["share"]["value"] == "25%"
    with pytest.raises(ParameterValueError, match=r"Task\.share: give a float from 0 to 1, not 2"):
        Task(share=2)


class Model(TaskOnKart[int]):
    depth: int = IntParameter()
    name: str = StrParameter(default="m")


def test_a_missing_parameter_is_named() -> None:
    with pytest.raises(MissingParameterError, match=r"Model needs the parameter depth: Model\(depth=\.\.\.\)"):
        Model()  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("given_values", "words"),
    [
        ({"depth": 1, "nmae": "x"}, "did you mean name?"),
        ({"depth": 1, "zzz": 1}, "it has depth, name"),
    ],
)
def test_an_unknown_parameter_gets_a_hint(given_values: dict[str, Any], words: str) -> None:
    with pytest.raises(UnknownParameterError) as caught:
        Model(**given_values)
    assert words in str(caught.value)


def test_an_unknown_parameter_of_a_task_without_any() -> None:
    with pytest.raises(UnknownParameterError, match="OtherLeaf has no parameter x; it has none"):
        OtherLeaf(x=1)


def test_a_misspelt_required_parameter_gets_a_hint() -> None:
    with pytest.raises(ParameterError, match="did you mean depth"):
        Model(dept=2)  # type: ignore[call-arg]


def test_a_constant_in_a_subclass_fixes_a_parameter() -> None:
    class Shallow(Model):
        depth = 2

    assert Shallow().depth == 2  # type: ignore[call-arg, operator]
    assert list(Shallow.get_parameters()) == ["name"]
    with pytest.raises(UnknownParameterError):
        Shallow(depth=3)


def test_a_subclass_may_declare_a_parameter_anew() -> None:
    class Deep(Model):
        depth: int = IntParameter(default=50)

    assert Deep().depth == 50
    assert list(Deep.get_parameters()) == ["depth", "name"]


@pytest.mark.parametrize(
    "name", ["run", "output", "requires", "load", "dump", "unique_id", "clone", "code_version", "task_log"]
)
def test_a_parameter_cannot_be_named_like_a_method(name: str) -> None:
    with pytest.raises(ParameterError, match=rf"Bad\.{name}: .*TaskOnKart"):
        type("Bad", (TaskOnKart,), {name: IntParameter()})


def test_a_code_version_is_text() -> None:
    with pytest.raises(ParameterError, match=r'Bad\.code_version is 2; give a str, "auto", or None'):
        type("Bad", (TaskOnKart,), {"code_version": 2})


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("inline", 1),
        ("rerun", "yes"),
        ("strict_check", None),
        ("modification_time_check", 0),
        ("fail_on_empty_dump", "no"),
        ("column_types", ["a"]),
        ("column_types", {1: int}),
        ("seed_functions", ["random.seed"]),
        ("seed_functions", ("seed",)),
        ("seed_value", -1),
        ("seed_value", True),
    ],
)
def test_what_a_class_declares_is_checked(name: str, wrong: Any) -> None:
    with pytest.raises(ParameterError, match=rf"Bad\.{name} is .*; give "):
        type("Bad", (TaskOnKart,), {name: wrong})


def test_complete_cannot_be_defined_anew() -> None:
    with pytest.raises(ParameterError, match=r"Bad\.complete\(\) would not be asked: .* ExternalTask"):
        type("Bad", (TaskOnKart,), {"complete": lambda self: True, "__module__": "pipeline"})


def test_a_parameter_cannot_be_set() -> None:
    task = Model(depth=1)
    with pytest.raises(AttributeError, match=r"Model\.depth is fixed; make another task: task\.clone\(depth=\.\.\.\)"):
        task.depth = 2  # type: ignore[misc]
    task.note = "anything else can"
    assert task.depth == 1


def test_a_parameter_cannot_be_deleted() -> None:
    task = Model(depth=1)
    with pytest.raises(AttributeError):
        del task.depth


def test_a_subclass_decides_about_plain_ints_too() -> None:
    class Positive(type(INT)):  # type: ignore[misc]
        def check_options(self) -> None:
            super().check_options()
            self.min_value = 1

    class Task(TaskOnKart[int]):
        n: Any = Positive()

    assert Task(n=2).n == 2
    with pytest.raises(ParameterValueError, match="-5 is below the smallest allowed value, 1"):
        Task(n=-5)
