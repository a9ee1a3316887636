"""Where a run's values come from: binding, form, root, default; and what is wrong with them."""

from __future__ import annotations

import datetime as dt
import enum
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from airflow.sdk import DAG
from harness.pipeline import Judged, Raw, Window, ran

from airflow_kart import (
    DateParameter,
    EnumListParameter,
    EnumParameter,
    IntParameter,
    KartDag,
    KartOperator,
    KartTaskGroup,
    ListParameter,
    ListTaskInstanceParameter,
    NumericalParameter,
    ParameterVisibility,
    StrParameter,
    TaskInstanceParameter,
    TaskOnKart,
    Workspace,
    build,
    kart_dag,
    run_date,
)
from airflow_kart.compiler.binding import make_binding
from airflow_kart.exceptions import BindingError, KartError
from airflow_kart.operators.blueprint import RootSpec
from airflow_kart.parameters import UNSET, Parameter

UTC = dt.timezone.utc


def test_run_date_is_the_logical_date(run_dag):
    dag = KartDag("bind_logical", Raw, bind={"day": run_date()}, schedule=None)
    run_dag(dag, logical_date=dt.datetime(2024, 2, 3, 23, 30, tzinfo=UTC))
    assert Raw(day=dt.date(2024, 2, 3)).complete()


def test_run_date_is_the_start_where_there_is_no_logical_date(run_dag):
    dag = KartDag("bind_no_logical", Raw, bind={"day": run_date()}, schedule=None)
    run = run_dag(dag, logical_date=None)
    assert run.dag_run.logical_date is None
    assert Raw(day=run.dag_run.run_after.date()).complete()


def test_run_date_in_a_time_zone_and_with_an_offset(run_dag):
    moment = dt.datetime(2024, 2, 3, 2, 0, tzinfo=UTC)
    run_dag(KartDag("bind_zone", Raw, bind={"day": run_date(tz="America/New_York")}, schedule=None), logical_date=moment)
    assert Raw(day=dt.date(2024, 2, 2)).complete()
    offset = run_date(offset=dt.timedelta(days=-1, hours=-3))
    run_dag(KartDag("bind_offset", Raw, bind={"day": offset}, schedule=None), logical_date=moment)
    assert Raw(day=dt.date(2024, 2, 1)).complete()


def test_run_date_refuses_an_unknown_time_zone():
    with pytest.raises(BindingError, match="no such time zone"):
        run_date(tz="Mars/Olympus")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tz": ZoneInfo("Europe/Paris")}, r"run_date\(tz=zoneinfo.*\): give the time zone's name, such as 'Europe/Paris'"),
        ({"tz": UTC}, r"give the time zone's name, such as"),
        ({"offset": -1}, r"run_date\(offset=-1\): give a datetime\.timedelta, such as timedelta\(days=-1\)"),
    ],
)
def test_run_date_says_what_it_takes(arguments, message):
    with pytest.raises(BindingError, match=message) as error:
        run_date(**arguments)
    assert error.value.parameter == next(iter(arguments))


def test_the_binding_wins_over_the_form_the_form_over_the_root(run_dag):
    dag = KartDag("bind_order", Judged(day=dt.date(2024, 1, 1), kind="a"), bind={"day": "2024-03-04"}, schedule=None)
    assert set(dag.params) == {"days", "kind", "kart_rerun"}
    assert dag.params["kind"] == "a"
    ran()
    run_dag(dag, run_conf={"kind": "b", "day": "2020-01-01"})
    assert Judged(day=dt.date(2024, 3, 4), kind="b").complete()


def test_the_form_has_types_ranges_and_descriptions():
    dag = KartDag("bind_form", Judged, schedule=None, bind={"kind": "x"})
    schema = {name: dag.params.get_param(name).schema for name in dag.params}
    assert schema["day"] == {"type": "string", "format": "date", "title": "day"}
    assert dag.params.get_param("day").description == "Day to judge on."
    assert not dag.params.get_param("day").has_value
    assert schema["days"] == {"type": "integer", "minimum": 0, "maximum": 9, "title": "days"}
    assert str(dag.params.get_param("days").description).endswith("At least 0, at most 9.")
    again = schema["kart_rerun"]
    assert (again["type"], again["items"]) == (["array", "null"], {"type": "string"})  # not marked as required
    assert again["examples"] == list(again["values_display"])
    assert [again["values_display"][name] for name in ("*", "Judged", "judged", "raw__0")] == [
        "All tasks",
        "Judged (class)",
        "judged (Judged)",
        "raw__0 (Raw)",
    ]


def test_an_emptied_picker_runs_nothing_again(run_dag):
    dag = KartDag("bind_emptied", Raw(day=dt.date(2024, 1, 1)), schedule=None)
    assert run_dag(dag, run_conf={"kart_rerun": None}).state == "success"
    ran()
    assert run_dag(dag, run_conf={"kart_rerun": None}).state == "success"
    assert ran() == []
    assert run_dag(dag, run_conf={"kart_rerun": ["*"]}).state == "success"
    assert ran() == ["Raw"]


def test_a_template_that_renders_to_nonsense_fails_with_its_parameter(run_dag, caplog):
    dag = KartDag("bind_nonsense", Raw, bind={"day": "{{ dag.dag_id }}"}, schedule=None)
    assert run_dag(dag).state == "failed"
    with pytest.raises(BindingError, match=r"rendered to 'bind_nonsense', which does not fit: Raw.day: .*YYYY-MM-DD"):
        dag.blueprint.for_run({"day": "bind_nonsense"}, {})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bind": {"dya": "2024-01-01"}}, r"bind names 'dya', which is no parameter of Judged; there are day, days, kind"),
        ({"bind": {"day": "yesterday"}}, r"bind\['day'\] does not fit: Judged.day: 'yesterday' is not a date"),
        ({"bind": {"days": 99}}, r"Judged.days: 99 is above the largest allowed value, 9"),
        (
            {"schedule": "@daily", "start_date": dt.datetime(2024, 1, 1, tzinfo=UTC)},
            "Judged.day has no value, and a scheduled",
        ),
        ({"root": []}, "root is empty"),
        ({"root": 3}, "root is 3; give a task, a task class"),
        ({"on_cached": "fail"}, "on_cached is 'fail'; use 'skip' or 'success'"),
        ({"operator_kwargs": {"task_id": "x"}}, "operator_kwargs cannot set task_id"),
    ],
)
def test_wrong_arguments_are_errors_when_the_dag_is_made(options, message):
    arguments = {"root": Judged, "schedule": None, **options}
    with pytest.raises(BindingError, match=message) as error:
        KartDag("bind_wrong", arguments.pop("root"), **arguments)
    assert "bind_wrong" in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": Raw(day=dt.date(2024, 1, 1)), "bind": {"typo": 1}}, "bind names typo; .* has day"),
        ({"task": Raw}, "which is not a task; make an instance: Raw"),
    ],
)
def test_a_wrong_operator_is_an_error_when_it_is_made(arguments, message):
    with pytest.raises(BindingError, match=message):
        KartOperator(task_id="wrong", **arguments)


def test_the_decorator_needs_its_parentheses():
    with pytest.raises(BindingError, match="write @kart_dag"):
        kart_dag(Judged)  # type: ignore[arg-type]


def test_a_member_of_a_str_enum_can_be_bound_and_private_values_stay_private():
    class Colour(str, enum.Enum):
        RED = "red"

    class Painted(TaskOnKart[int]):
        colour: Colour = EnumParameter(enum=Colour)
        secret: str = StrParameter(default="hush", visibility=ParameterVisibility.PRIVATE, significant=False)
        fails: int = IntParameter(default=0)

        def requires(self):
            if self.fails:
                raise ValueError("no")

    assert KartDag("bind_enum", Painted, bind={"colour": Colour.RED}, schedule=None)
    with pytest.raises(KartError) as error:
        KartDag("bind_private", Painted, bind={"colour": Colour.RED, "secret": "hush hush", "fails": 1}, schedule=None)
    assert "hush" not in str(error.value)


def test_tasks_and_members_can_be_bound(run_dag):
    class Size(enum.Enum):
        BIG = 1
        SMALL = 2

    class Bought(TaskOnKart[int]):
        one: Any = TaskInstanceParameter()
        several: tuple[Any, ...] = ListTaskInstanceParameter()
        sizes: tuple[Size, ...] = EnumListParameter(enum=Size)

        def run(self):
            self.dump(len(self.load()["several"]))

    raw = [Raw(day=dt.date(2024, 1, day)) for day in (1, 2)]
    dag = KartDag("bind_tasks", Bought, bind={"one": raw[0], "several": raw, "sizes": [Size.BIG, "SMALL"]}, schedule=None)
    assert run_dag(dag).state == "success"
    assert build(Bought(one=raw[0], several=tuple(raw), sizes=(Size.BIG, Size.SMALL))) == 2
    with pytest.raises(BindingError, match=r"Bought\.one: int 3 does not describe a task"):
        KartDag("bind_tasks", Bought, bind={"one": 3, "several": raw, "sizes": []}, schedule=None)


def test_a_private_value_that_does_not_fit_stays_private():
    class Locked(TaskOnKart[int]):
        pin: int = IntParameter(visibility=ParameterVisibility.PRIVATE, significant=False)

    dag = KartDag("bind_private_wrong", Locked, bind={"pin": "{{ var.value.pin }}"}, schedule=None)
    with pytest.raises(BindingError, match="rendered to a private value, which does not fit") as error:
        dag.blueprint.for_run({"pin": "hush"}, {})
    assert "hush" not in str(error.value)


def test_a_template_may_be_inside_a_list(run_dag):
    class Days(TaskOnKart[list[object]]):
        days: tuple[object, ...] = ListParameter()

        def run(self):
            self.dump(list(self.days))

    dag = KartDag("bind_list", Days, bind={"days": ["{{ dag.dag_id }}", 2]}, schedule=None)
    assert run_dag(dag).state == "success"
    assert Days(days=("bind_list", 2)).output().load() == ["bind_list", 2]


@pytest.mark.parametrize("native", [True, False])
def test_a_text_that_looks_like_a_number_stays_text(run_dag, native):
    class Text(TaskOnKart[list[Any]]):
        text: str = StrParameter()
        days: tuple[Any, ...] = ListParameter()
        n: int = IntParameter()

        def run(self):
            self.dump([self.text, list(self.days), self.n])

    dag = KartDag(
        f"bind_native_{native}",
        Text,
        bind={"text": "{{ '20240506' }}", "days": "{{ [1, 2] }}", "n": "{{ 3 }}"},
        workspace_directory="{{ var.value.get('none', '') }}",
        schedule=None,
        render_template_as_native_obj=native,
    )
    assert run_dag(dag).state == "success"
    assert Text(text="20240506", days=(1, 2), n=3).output().load() == ["20240506", [1, 2], 3]


@pytest.mark.parametrize("plan", [True, False])
def test_a_misspelt_field_in_the_conf_of_a_run_fails_it(run_dag, plan, capfd):
    dag = KartDag(f"bind_typo_{plan}", Raw(day=dt.date(2024, 1, 1)), schedule=None, plan=plan, params={"deys": 1})
    ran()
    run = run_dag(dag, run_conf={"dya": "2024-02-02"})
    assert run.states["plan" if plan else "raw"] == "failed"
    assert "the run's conf has 'dya', which is no field of the trigger form; did you mean 'day'?" in "".join(
        capfd.readouterr()
    )
    assert ran() == []
    assert run_dag(dag, run_conf={"airflow/dagrun_parent_trace_context": {}, "deys": 2}).state == "success"
    assert ran() == ["Raw"]


@pytest.mark.parametrize(
    ("how", "state"), [("error", "failed"), ("warn", "success"), ("ignore", "success"), ("no", "failed")]
)
def test_an_unknown_key_of_the_conf_does_what_the_option_says(run_dag, monkeypatch, capfd, caplog, how, state):
    monkeypatch.setenv("AIRFLOW__KART__UNKNOWN_CONF", how)
    dag = KartDag(f"bind_unknown_{how}", Raw(day=dt.date(2024, 1, 1)), schedule=None)
    assert run_dag(dag, run_conf={"unlike": 1}).state == state
    said = "".join((*capfd.readouterr(), caplog.text))
    assert ("'unlike', which is no field of the trigger form; the form has kart_rerun, day" in said) == (
        how in ("error", "warn")
    )
    assert ("[kart] unknown_conf is 'no'; set it to one of error, warn, ignore" in said) == (how == "no")


def test_in_a_dag_of_the_users_own_other_tasks_may_read_the_conf(run_dag):
    with DAG("bind_unknown_group", schedule=None) as dag:
        KartTaskGroup("kart", Raw(day=dt.date(2024, 1, 1)))
    assert run_dag(dag, run_conf={"unlike": 1}).state == "success"
    assert run_dag(dag, run_conf={"dya": "2024-02-02"}).states["kart.plan"] == "failed"


def test_an_unknown_kind_of_locks_is_an_error_of_the_file_or_of_the_plan(run_dag, tmp_path):
    with pytest.raises(BindingError, match="lock is 'nope'; use auto, file, lease, redis or none"):
        KartDag("bind_lock", Raw(day=dt.date(2024, 1, 1)), schedule=None, workspace=Workspace("/ws", lock="nope"))
    template = Workspace(str(tmp_path), lock="{{ 'no' }}pe")
    run = run_dag(KartDag("bind_lock", Raw(day=dt.date(2024, 1, 1)), schedule=None, workspace=template))
    assert run.states["plan"] == "failed"
    assert run.states["raw"] == "upstream_failed"


def test_a_template_cannot_stand_for_a_task():
    from harness.pipeline import Model

    with pytest.raises(BindingError, match="a template cannot stand for a task"):
        KartDag("bind_task", Model, bind={"window": "{{ x }}"}, schedule=None)


def test_the_decorator_makes_a_dag_of_the_class(parse):
    bag = parse(
        """
        import datetime as dt

        @kart_dag(schedule="@daily", start_date=dt.datetime(2024, 1, 1), bind={"day": run_date()}, tags=["x"])
        class DailyNumbers(TaskOnKart[int]):
            '''Numbers of a day.'''
            day: dt.date = DateParameter()
            def run(self): self.dump(1)
        """
    )
    assert bag.import_errors == {}
    dag = bag.dags["daily_numbers"]
    assert set(dag.task_ids) == {"plan", "daily_numbers", "report"}
    assert dag.doc_md.startswith("Numbers of a day.")


def test_a_workspace_may_be_a_template(run_dag, tmp_path):
    directory = str(tmp_path) + "/{{ dag.dag_id }}"
    dag = KartDag("bind_workspace", Window(day=dt.date(2024, 1, 1)), schedule=None, workspace_directory=directory)
    assert run_dag(dag).state == "success"
    assert list((tmp_path / "bind_workspace").rglob("Window_*.pkl"))


class First(TaskOnKart[int]):
    n: int = IntParameter(default=1)
    kind: str = StrParameter(default="a")
    number: int = IntParameter(default=1)
    day: dt.date = DateParameter(compile_value=dt.date(2024, 2, 29))
    only: str = StrParameter(default="one", compile_value="two")
    insignificant: int = IntParameter(default=1, significant=False)
    hidden: int = IntParameter(default=1, visibility=ParameterVisibility.HIDDEN)
    held: Any = TaskInstanceParameter(default=Raw(day=dt.date(2024, 1, 1)))


class Second(TaskOnKart[int]):
    n: int = IntParameter(default=1)
    kind: str = StrParameter(default="b")
    number: float = NumericalParameter(default=1, var_type=int, min_value=0, max_value=9)
    day: dt.date = DateParameter()
    late: int = IntParameter(default=3)


def test_of_several_roots_the_form_has_what_is_the_same_in_all_that_have_it():
    first, second = RootSpec.of(First), RootSpec.of(Second)
    made = make_binding([first, second], {})
    assert made.form == {"n": (first, 1), "day": (first, UNSET), "only": (first, "one"), "late": (second, 3)}
    assert list(made.samples) == sorted(made.form)
    assert made.samples == {"n": 1, "day": dt.date(2024, 2, 29), "only": "one", "late": 3}
    assert made.variations is not None and made.variations.keys() == made.samples.keys()
    assert all(made.variations[name] != value for name, value in made.samples.items())


def test_a_value_that_is_bound_has_one_sample_and_a_template_two():
    made = make_binding([RootSpec.of(First), RootSpec.of(Second)], {"late": "5", "kind": "{{ ds }}", "day": "2024-03-04"})
    assert list(made.bind) == ["day", "kind", "late"]
    assert set(made.form) == {"n", "only"}
    assert made.variations is not None
    assert made.samples["late"] == made.variations["late"] == 5
    assert made.samples["day"] == made.variations["day"] == dt.date(2024, 3, 4)
    assert made.samples["kind"] != made.variations["kind"]


def test_the_root_that_lacks_a_value_is_named_also_where_it_is_the_second():
    class Lacking(TaskOnKart[int]):
        n: int = IntParameter()

    with pytest.raises(BindingError, match=r"^test_.*Lacking\.n has no value") as error:
        make_binding([RootSpec.of(First(day=dt.date(2024, 1, 1))), RootSpec.of(Lacking)], {})
    assert error.value.task == Lacking.__qualname__
    assert error.value.parameter == "n"
    with pytest.raises(BindingError, match=r"bind names 'm', which is no parameter of First, .*Lacking; there are n, kind"):
        make_binding([RootSpec.of(First), RootSpec.of(Lacking)], {"m": 1})


def test_without_another_value_of_one_parameter_there_is_no_second_sample():
    class Unvaried(Parameter[str]):
        def variation(self, value):
            raise ValueError("there is only this one")

    class Single(TaskOnKart[int]):
        n: int = IntParameter(default=1)
        name: str = Unvaried(default="x")

    made = make_binding([RootSpec.of(Single)], {})
    assert made.samples == {"n": 1, "name": "x"}
    assert made.variations is None


def test_a_day_of_a_zone_or_offset_is_refused_by_its_type():
    with pytest.raises(BindingError, match=r"give the time zone's name, such as 'America/New_York'"):
        run_date(tz=ZoneInfo("America/New_York"))  # type: ignore[arg-type]
    with pytest.raises(BindingError, match=r"give the time zone's name, such as 'Europe/Paris'"):
        run_date(tz=UTC)  # type: ignore[arg-type]
