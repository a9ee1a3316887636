"""Parameters that are not given in code: from the configuration, shared by several classes, or given by position."""

from __future__ import annotations

import ast
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_kart import (
    IntParameter,
    ListParameter,
    OptionalIntParameter,
    Parameter,
    ParameterVisibility,
    SharedParameters,
    StrParameter,
    TaskInstanceParameter,
    TaskOnKart,
    parameters,
)
from airflow_kart.exceptions import MissingParameterError, ParameterError, ParameterValueError, UnknownParameterError
from airflow_kart.operators.blueprint import RootSpec
from airflow_kart.parameters import UNSET, declared
from airflow_kart.parameters.parametrized import configured_default
from airflow_kart.tasks.graph import Graph


class Train(TaskOnKart[int]):
    depth: int = IntParameter(default=6)
    name: str = StrParameter()


class DeepTrain(Train):
    layers: tuple[int, ...] = ListParameter(default=(1,))


class ShallowTrain(Train):
    depth: int = IntParameter(default=1)


class Region(SharedParameters):
    country: str = StrParameter(default="jp")
    currency: str = StrParameter(default="yen")


class Visits(Region, TaskOnKart[int]):
    pass


class Holidays(TaskOnKart[int]):
    land: str = Region.country


class RegionalHolidays(Holidays):
    pass


@pytest.fixture
def cfg(clean_settings: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write airflow.cfg; Airflow itself, where another test has loaded it, is left out."""
    monkeypatch.delitem(__import__("sys").modules, "airflow.configuration", raising=False)
    clean_settings.mkdir(exist_ok=True)

    def write(text: str) -> None:
        (clean_settings / "airflow.cfg").write_text(text, encoding="utf-8")

    return write


def variable(monkeypatch: pytest.MonkeyPatch, section: str, name: str, value: str) -> None:
    monkeypatch.setenv(f"AIRFLOW__KART_{section}__{name}", value)


def test_without_configuration_there_is_the_default(cfg: Any) -> None:
    assert Train(name="a").depth == 6
    assert configured_default(Train, "depth") == 6
    assert configured_default(Train, "name") is UNSET
    with pytest.raises(MissingParameterError, match="Train needs the parameter name"):
        Train()  # type: ignore[call-arg]
    with pytest.raises(UnknownParameterError, match="did you mean depth"):
        configured_default(Train, "dept")


def test_a_section_of_the_class_comes_before_the_default(cfg: Any) -> None:
    cfg("[kart.Train]\ndepth = 9\nname = 50%% of 1% $HOME\n")
    task = Train()  # type: ignore[call-arg]
    assert (task.depth, task.name) == (9, f"50% of 1% {os.environ['HOME']}")
    assert Train(depth=1).depth == 1  # type: ignore[call-arg]
    assert Train.get_parameters()["name"].required


def test_a_required_parameter_stays_required_in_the_declaration(cfg: Any) -> None:
    cfg("[kart.Train]\nname = a\n")
    assert RootSpec.of(Train).values == {"depth": 6, "name": "a"}
    cfg("")
    assert RootSpec.of(Train).values == {"depth": 6}


@pytest.mark.parametrize(
    "section",
    ["[kart.train]\nDEPTH = 9", "[kart.TRAIN]\ndepth=9", f"[kart.{__name__}.Train]\ndepth = 9", "[kart.Train]\ndepth: 9"],
)
def test_a_section_is_found_in_any_case_and_by_its_logical_name(cfg: Any, section: str) -> None:
    cfg(section)
    assert Train(name="a").depth == 9


def test_the_logical_name_comes_before_the_plain_one(cfg: Any) -> None:
    cfg(f"[kart.Train]\ndepth = 1\nname = plain\n[kart.{__name__}.Train]\ndepth = 2\n")
    assert (Train().depth, Train().name) == (2, "plain")  # type: ignore[call-arg]


def test_a_variable_comes_before_its_section_only(cfg: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg(f"[kart.Train]\ndepth = 1\nname = a\n[kart.{__name__}.Train]\ndepth = 2\n")
    variable(monkeypatch, "TRAIN", "DEPTH", "3")
    assert Train().depth == 2  # type: ignore[call-arg]
    variable(monkeypatch, f"{__name__.upper()}_TRAIN", "DEPTH", "4")
    assert Train().depth == 4  # type: ignore[call-arg]


def test_a_class_comes_before_its_bases(cfg: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg("[kart.Train]\ndepth = 1\nname = base\n[kart.DeepTrain]\ndepth = 2\nlayers = [3, 4]\n")
    task = DeepTrain()  # type: ignore[call-arg]
    assert (task.depth, task.name, task.layers) == (2, "base", (3, 4))
    variable(monkeypatch, "TRAIN", "DEPTH", "3")
    assert DeepTrain().depth == 2  # type: ignore[call-arg]


def test_a_parameter_declared_anew_is_not_configured_by_the_base(cfg: Any) -> None:
    cfg("[kart.Train]\ndepth = 9\nname = a\n")
    task = ShallowTrain()  # type: ignore[call-arg]
    assert (task.depth, task.name) == (1, "a")


def test_a_changed_file_counts_for_the_next_task(cfg: Any, clean_settings: Path) -> None:
    cfg("[kart.Train]\ndepth = 9\n")
    assert Train(name="a").depth == 9
    cfg("[kart.Train]\ndepth = 10\n")
    os.utime(clean_settings / "airflow.cfg", (1, 1))
    assert Train(name="a").depth == 10


def test_one_graph_is_made_of_one_configuration(cfg: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading file and environment takes longer than making a task: a walk reads both once, the next walk again."""

    class Step(TaskOnKart[int]):
        n: int = IntParameter()
        depth: int = IntParameter(default=6)

        def requires(self) -> dict[str, TaskOnKart[int]]:
            variable(monkeypatch, "STEP", "DEPTH", str(self.depth + 10))
            return {"next": Step(n=self.n - 1)} if self.n else {}

    def depths() -> set[int]:
        root = Step(n=3)
        return {node.task.depth for node in Graph.of([root]).nodes.values() if node.task is not root}  # type: ignore[attr-defined]

    assert depths() == {16}
    assert Step(n=0).depth == 26
    assert depths() == {36}


def test_a_wrong_value_names_task_section_and_variable(cfg: Any) -> None:
    cfg("[kart.Train]\ndepth = six\n")
    with pytest.raises(ParameterValueError) as caught:
        Train(name="a")
    message = str(caught.value)
    assert "[kart.Train] depth" in message
    assert "AIRFLOW__KART_TRAIN__DEPTH" in message
    assert message.endswith(": Train.depth: 'six' is not a whole number")
    assert (caught.value.task, caught.value.parameter) == ("Train", "depth")
    assert Train(name="a", depth=1).depth == 1


def test_a_wrong_private_value_is_not_shown(cfg: Any) -> None:
    class Secret(TaskOnKart[int]):
        pin: int = IntParameter(visibility=ParameterVisibility.PRIVATE)

    cfg("[kart.Secret]\npin = hunter2\n")
    with pytest.raises(ParameterValueError, match=r"\[kart\..*Secret\] pin|\[kart\.Secret\] pin.*Secret\.pin: ") as caught:
        Secret()  # type: ignore[call-arg]
    assert "hunter2" not in str(caught.value)


def test_empty_text_is_a_value(cfg: Any) -> None:
    class Task(TaskOnKart[int]):
        text: str = StrParameter(default="x")
        maybe: int | None = OptionalIntParameter(default=1)

    cfg("[kart.Task]\ntext =\nmaybe =\n")
    assert (Task().text, Task().maybe) == ("", None)


def test_a_task_can_be_configured(cfg: Any) -> None:
    class Report(TaskOnKart[int]):
        of: Any = TaskInstanceParameter()

    written = json.dumps({"module": __name__, "class": "Train", "parameters": {"name": "a"}})
    cfg(f"[kart.Report]\nof = {written}\n")
    assert Report().of == Train(name="a")  # type: ignore[call-arg]


def test_what_was_made_keeps_its_values(cfg: Any) -> None:
    cfg("[kart.Train]\ndepth = 9\nname = a\n")
    task = Train()  # type: ignore[call-arg]
    cfg("")
    assert pickle.loads(pickle.dumps(task)) == task
    assert task.clone(name="b").depth == 9


AIRFLOW = """
import os
import airflow.configuration
from airflow_kart import IntParameter, StrParameter, TaskOnKart
class Train(TaskOnKart[int]):
    depth: int = IntParameter(default=6)
    name: str = StrParameter(default="x")
assert (Train().depth, Train().name) == (9, "50% of all"), Train()
os.environ["AIRFLOW__KART_TRAIN__NAME"] = "b"
assert (Train().depth, Train().name) == (9, "b"), Train()
airflow.configuration.conf.read_string("[kart.Train]\\ndepth = 77")
assert Train().depth == 77
"""


def test_where_airflow_is_loaded_its_parser_is_asked(python: Any, clean_settings: Path) -> None:
    clean_settings.mkdir()
    (clean_settings / "airflow.cfg").write_text("[kart.Train]\ndepth = 9\nname = 50%% of $KIND\n", encoding="utf-8")
    python(code=AIRFLOW, env={"KIND": "all"})


# Shared settings.


def test_shared_parameters_are_configured_once(cfg: Any) -> None:
    cfg("[kart.Region]\ncountry = fr\n")
    assert Region().country == Visits().country == Holidays().land == RegionalHolidays().land == "fr"
    assert Visits().currency == "yen"


def test_the_sections_of_the_task_come_first(cfg: Any) -> None:
    cfg("[kart.Region]\ncountry = fr\n[kart.Visits]\ncountry = de\n[kart.Holidays]\nland = at\n")
    assert (Region().country, Visits().country, Holidays().land, RegionalHolidays().land) == ("fr", "de", "at", "at")
    cfg("[kart.Holidays]\ncountry = at\n")
    with pytest.raises(
        UnknownParameterError, match=r"\[kart.Holidays\] country.*: Holidays has no parameter country; it has land"
    ):
        Holidays()


def test_an_alias_is_the_same_declaration_and_is_not_changed() -> None:
    before = dict(vars(Region.get_parameters()["country"]))

    class Third(TaskOnKart[int]):
        nation: str = Region.country

    shared = Region.get_parameters()["country"]
    assert Third.get_parameters()["nation"] is Holidays.get_parameters()["land"] is shared
    assert vars(shared) == before
    with pytest.raises(ParameterValueError, match=r"Third\.nation: give a str"):
        Third(nation=1)  # type: ignore[arg-type]


def test_an_alias_of_an_alias_is_configured_where_it_was_declared(cfg: Any) -> None:
    class Third(TaskOnKart[int]):
        nation: str = Holidays.land

    cfg("[kart.Holidays]\nland = at\n")
    assert Third().nation == "jp"
    cfg("[kart.Region]\ncountry = fr\n")
    assert Third().nation == "fr"


def test_an_alias_counts_by_its_own_name() -> None:
    assert Holidays(land="fr").unique_id != Holidays(land="de").unique_id
    assert list(Holidays.get_parameters()) == ["land"]


@pytest.mark.parametrize("name", ["run", "requires", "unique_id", "clone", "get_parameters", "load"])
def test_an_alias_cannot_be_named_like_a_method(name: str) -> None:
    with pytest.raises(ParameterError, match=rf"Bad\.{name}: TaskOnKart has a method of this name"):
        type("Bad", (TaskOnKart,), {name: Region.country})


def test_shared_parameters_named_like_a_method_are_refused_by_the_task() -> None:
    class Common(SharedParameters):
        output: str = StrParameter(default="a")

    assert Common().output == "a"
    with pytest.raises(ParameterError, match=r"Bad\.output: TaskOnKart has a method of this name"):
        type("Bad", (Common, TaskOnKart), {})


def test_shared_parameters_are_a_value() -> None:
    assert Region() == Region(country="jp") != Region(country="fr")
    assert repr(Region()) == "Region(country='jp', currency='yen')"
    assert not hasattr(Region(), "unique_id")


def test_a_plain_mixin_has_a_section_too(cfg: Any) -> None:
    class Mixin:
        seed: int = IntParameter(default=0)

    class Task(Mixin, TaskOnKart[int]):
        pass

    cfg("[kart.Mixin]\nseed = 5\n")
    assert Task().seed == 5


# By position.


class Point(TaskOnKart[int]):
    x: int = IntParameter(kw_only=False)
    label: str = StrParameter(default="p")
    y: int = IntParameter(default=0, kw_only=False)


class Point3(Point):
    z: int = IntParameter(default=0, kw_only=False)


def test_values_may_be_given_by_position_in_order_of_declaration() -> None:
    assert Point(1) == Point(x=1)
    assert Point(1, 2) == Point(1, y=2) == Point(x=1, y=2)
    assert Point(1, 2, label="q").label == "q"
    assert Point3(1, 2, 3).z == 3


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: Point(1, 2, "q"),  # type: ignore[call-arg]
            r"Point takes only x, y by position, not 3 values: Point\(x=\.\.\., label=\.\.\., y=\.\.\.\)",
        ),
        (lambda: Point(1, x=1), "Point got x twice: by position and by keyword; give it once"),  # type: ignore[misc]
        (lambda: Point(1, 2, y=3, x=1), "Point got x, y twice"),  # type: ignore[misc]
        (lambda: Train("a"), r"Train takes its parameters by keyword: Train\(depth=\.\.\., name=\.\.\.\)"),  # type: ignore[arg-type, call-arg]
    ],
)
def test_wrong_positions_are_refused(call: Any, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        call()


def test_a_missing_positional_parameter_is_named() -> None:
    with pytest.raises(MissingParameterError, match="Point needs the parameter x"):
        Point()  # type: ignore[call-arg]


def test_a_value_by_position_is_checked() -> None:
    with pytest.raises(ParameterValueError, match=r"Point\.y: give an int, not str '2'"):
        Point(1, "2")  # type: ignore[arg-type]


def test_a_parameter_is_given_by_keyword_unless_it_says_otherwise() -> None:
    parameter: Any = Parameter()
    assert parameter.kw_only


def test_type_checkers_are_told_of_every_parameter_class() -> None:
    source = Path(declared.__file__).read_text(encoding="utf-8")  # which only type checkers run
    told = {node.attr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)}
    assert told == {name for name in parameters.__all__ if name.endswith("Parameter")}


def test_every_public_name_is_there_although_its_module_is_loaded_late() -> None:
    assert [name for name in parameters.__all__ if getattr(parameters, name, None) is None] == []
    with pytest.raises(AttributeError, match=r"'airflow_kart\.parameters' has no attribute 'MoneyParameter'"):
        _ = parameters.MoneyParameter  # type: ignore[attr-defined]


def test_only_the_parameters_that_a_class_declares_are_loaded() -> None:
    script = "import sys; from airflow_kart import IntParameter, TaskOnKart, build; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "airflow_kart.parameters.number" in loaded
    assert {f"airflow_kart.parameters.{name}" for name in ("interval", "choice", "moment")}.isdisjoint(loaded)
