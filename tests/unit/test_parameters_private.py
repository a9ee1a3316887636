"""A private value is in no unique id without a key, in no error, and in no text of this package."""

from __future__ import annotations

import json
import traceback
from typing import Any, cast

import pytest

from airflow_kart import (
    BoolParameter,
    ChoiceParameter,
    DictParameter,
    IntParameter,
    ListParameter,
    Parameter,
    ParameterVisibility,
    SerializableParameter,
    StrParameter,
    TaskInstanceParameter,
    TaskOnKart,
    build,
)
from airflow_kart.exceptions import ConfigurationError, KartError, ParameterError, ParameterValueError
from airflow_kart.parameters import Options
from airflow_kart.parameters.parametrized import encoded_parameters
from airflow_kart.testing import in_memory_workspace

PRIVATE = ParameterVisibility.PRIVATE
SECRET = "correct-horse-7"


class Charge(TaskOnKart[int]):
    pin: str = StrParameter(visibility=PRIVATE)
    amount: int = IntParameter(default=1)

    def run(self) -> None:
        self.dump(self.amount)


class Bill(TaskOnKart[int]):
    charge: TaskOnKart[int] = TaskInstanceParameter()


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> Any:
    def set_key(value: str) -> None:
        monkeypatch.setenv("AIRFLOW__KART__PRIVATE_DIGEST_KEY", value)

    return set_key


# Unique ids.


def test_without_a_key_a_private_significant_parameter_is_an_error_that_says_what_to_do(key: Any) -> None:
    key("")
    with pytest.raises(ConfigurationError, match=r"Charge\.pin is private.*private_digest_key.*significant=False") as caught:
        _ = Charge(pin="4711").unique_id
    assert (caught.value.task, caught.value.parameter) == ("Charge", "pin")
    assert "4711" not in str(caught.value)
    with pytest.raises(ConfigurationError, match=r"Charge\.pin"), in_memory_workspace():
        build(Bill(charge=Charge(pin="4711")), progress=False)


def test_equal_tasks_are_recognised_without_a_key(key: Any) -> None:
    key("")
    assert Charge(pin="4711") == Charge(pin="4711") != Charge(pin="4712")


def test_only_holders_of_the_key_can_compute_the_id(key: Any) -> None:
    key("the key")
    stored = Charge(pin="4711").unique_id
    assert stored == Charge(pin="4711").unique_id != Charge(pin="4712").unique_id
    key("a guess")
    assert stored not in {Charge(pin=f"{pin:04d}").unique_id for pin in range(4700, 4720)}


def test_the_key_counts_for_private_parameters_only(key: Any) -> None:
    class Open(TaskOnKart[int]):
        amount: int = IntParameter(default=1)

    class Apart(TaskOnKart[int]):
        pin: str = StrParameter(visibility=PRIVATE, significant=False)

    key("one")
    before = Open().unique_id, Apart(pin="a").unique_id, encoded_parameters(Charge(pin="a"))
    key("two")
    assert (Open().unique_id, Apart(pin="b").unique_id) == before[:2]
    after = encoded_parameters(Charge(pin="a"))
    assert after["amount"] == before[2]["amount"]
    assert after["pin"] != before[2]["pin"]


def test_two_private_parameters_of_one_value_are_keyed_alike_and_named_apart(key: Any) -> None:
    class Two(TaskOnKart[int]):
        one: str = StrParameter(default="a", visibility=PRIVATE)
        other: str = StrParameter(default="b", visibility=PRIVATE)

    key("the key")
    assert Two(one="a", other="b").unique_id != Two(one="b", other="a").unique_id


# Errors and texts.


class Picky(Parameter[str]):
    """A user's own parameter, which shows the value in whatever it raises."""

    error: Any

    def __new__(cls, *, error: Any, **options: Any) -> Any:
        return cls._declare(options.pop("default", "good"), cast(Options, options), error=error)

    def normalize(self, value: object) -> str:
        if value != "good":
            raise self.error(f"{value} is not known")
        return "good"


class Token:
    def __init__(self, text: str) -> None:
        self.text = text

    def gokart_serialize(self) -> str:
        if self.text != "good":
            raise LookupError(self.text)
        return self.text

    @classmethod
    def gokart_deserialize(cls, text: str) -> Token:
        return {"good": cls("good")}[text]


class Group(Exception):
    """An error whose cause and notes show the value too."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.__cause__ = ValueError(text)


FORBIDDEN = [
    StrParameter, BoolParameter, IntParameter, DictParameter, ListParameter,
    lambda **options: IntParameter(min_value=100, **options),
    lambda **options: ChoiceParameter(choices=["a", "b"], **options),
    lambda **options: DictParameter(schema={"maxProperties": 0}, **options),
    lambda **options: SerializableParameter(object_type=Token, **options),
    lambda **options: TaskInstanceParameter(**options),
    *[lambda error=error, **options: Picky(error=error, **options)
      for error in (ValueError, KeyError, LookupError, RuntimeError, AssertionError, ParameterError, Group)],
]  # fmt: skip
VALUES = [SECRET, [SECRET], {"a": SECRET}, {SECRET: 1}, Token(SECRET), object, (SECRET, object())]


@pytest.mark.parametrize("declare", FORBIDDEN)
def test_no_error_shows_a_private_value(declare: Any) -> None:
    class Holder(TaskOnKart[int]):
        knob: Any = declare(visibility=PRIVATE, significant=False)

    refused = 0
    for value in VALUES:
        for attempt in (
            lambda value=value: Holder(knob=value),
            lambda value=value: Holder._parameters["knob"].read(value, "Holder", "knob"),
        ):
            try:
                attempt()
            except KartError as error:
                refused += 1
                shown = "".join(traceback.format_exception(error)) + repr(error.__context__) + repr(error.__cause__)
                assert SECRET not in shown
                assert "Holder.knob" in str(error)
    assert refused


def test_what_a_users_parameter_raises_names_task_and_parameter() -> None:
    class Holder(TaskOnKart[int]):
        knob: str = Picky(error=LookupError)

    with pytest.raises(ParameterValueError, match=r"Holder\.knob: Picky failed: LookupError: bad is not known") as caught:
        Holder(knob="bad")
    assert isinstance(caught.value.__cause__, LookupError)
    assert (caught.value.task, caught.value.parameter) == (Holder.__qualname__, "knob")


def test_an_error_of_a_task_that_is_the_value_keeps_its_class() -> None:
    written = json.dumps({"module": __name__, "class": "Charge", "parameters": {"pin": "1", "amount": "x"}})
    parameter: Any = TaskInstanceParameter()
    with pytest.raises(ParameterValueError, match=r"^Bill\.charge: Charge\.amount: 'x' is not a whole number") as caught:
        parameter.read(written, "Bill", "charge")
    assert (caught.value.task, caught.value.parameter) == ("Charge", "amount")


def test_a_configured_private_value_is_in_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Configured(TaskOnKart[int]):
        knob: str = Picky(error=KeyError, visibility=PRIVATE)

    monkeypatch.setenv("AIRFLOW__KART_CONFIGURED__KNOB", SECRET)
    with pytest.raises(ParameterValueError, match="AIRFLOW__KART_CONFIGURED__KNOB") as caught:
        Configured()
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("option", ["default", "compile_value"])
def test_a_declared_private_value_is_in_no_error_and_no_repr(option: str) -> None:
    declare: Any = IntParameter
    declared = declare(visibility=PRIVATE, **{option: SECRET})
    with pytest.raises(ParameterValueError) as caught:

        class Holder(TaskOnKart[int]):
            knob: Any = declared

    assert SECRET not in "".join(traceback.format_exception(caught.value)).replace(f'"{SECRET}"', "")
    assert option in str(caught.value)
    assert SECRET not in repr(StrParameter(default=SECRET, visibility=PRIVATE))
    assert SECRET in repr(StrParameter(default=SECRET))
    assert repr(StrParameter(visibility=PRIVATE)) == "StrParameter(default=<required>)"


def test_a_clone_and_an_unknown_parameter_show_no_private_value() -> None:
    task, make = Charge(pin=SECRET), cast(Any, Charge)
    for attempt in (
        lambda: task.clone(amount="x"),
        lambda: task.clone(pin=[SECRET]),
        lambda: make(pin=SECRET, amout=1),
        lambda: make(SECRET),
        lambda: setattr(task, "pin", "other"),
    ):
        with pytest.raises((KartError, AttributeError)) as caught:
            attempt()
        assert SECRET not in str(caught.value)
    assert SECRET not in f"{task!r} {Bill(charge=task)!r} {task}"
