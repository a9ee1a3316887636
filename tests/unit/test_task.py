from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest

from airflow_kart import (
    DictParameter,
    IntParameter,
    ListTaskInstanceParameter,
    ParameterVisibility,
    StrParameter,
    Target,
    TaskInstanceParameter,
    TaskOnKart,
    Workspace,
    WrapperTask,
    build,
)
from airflow_kart.exceptions import (
    FormatError,
    KartError,
    MissingArtifactError,
    ParameterValueError,
    TargetError,
    TargetPathError,
    UnknownFormatError,
    UnknownParameterError,
)
from airflow_kart.tasks.outputs import targets_of
from airflow_kart.tasks.resolution import resolve

pytestmark = pytest.mark.usefixtures("workspace")


class Number(TaskOnKart[int]):
    n: int = IntParameter(default=1)

    def run(self) -> None:
        self.dump(self.n)


class Sum(TaskOnKart[int]):
    one: Any = TaskInstanceParameter(default=Number(n=1))
    more: Any = ListTaskInstanceParameter(default=[Number(n=2), Number(n=3)])
    label: str = StrParameter(default="sum")

    def run(self) -> None:
        self.dump(self.load("one") + sum(self.load("more")))


def requiring(requirements: Any) -> TaskOnKart[Any]:
    task: TaskOnKart[Any] = type("Task", (TaskOnKart,), {"requires": lambda self: requirements})()
    return task


def with_output(output: Any) -> TaskOnKart[Any]:
    task: TaskOnKart[Any] = type("Task", (TaskOnKart,), {"output": output})()
    return task


# As a value.


def test_tasks_of_equal_parameters_are_equal() -> None:
    assert Number(n=2) == Number(n=2) != Number(n=3)
    assert len({Number(n=2), Number(n=2), Number(n=3)}) == 2
    assert Number() != "Number()"


def test_copies_are_the_task_itself() -> None:
    task = Sum()
    assert copy.copy(task) is task
    assert copy.deepcopy(task) is task


def test_a_task_pickles_by_class_and_parameters() -> None:
    task = Sum(label="x")
    assert task.unique_id
    loaded = pickle.loads(pickle.dumps(task))
    assert loaded == task
    assert loaded.unique_id == task.unique_id
    assert resolve(loaded) is not resolve(task)


def test_a_diamond_pickles_in_linear_size() -> None:
    task: Any = Number()
    for _ in range(20):
        task = Sum(one=task, more=[task])
    assert len(pickle.dumps(task)) < 10_000
    assert len(repr(task)) < 100


def test_a_clone_keeps_what_is_not_changed() -> None:
    task = Sum(label="a", one=Number(n=5))
    assert task.clone() == task
    assert task.clone(label="b") == Sum(label="b", one=Number(n=5))
    with pytest.raises(ParameterValueError):
        task.clone(label=3)
    with pytest.raises(UnknownParameterError):
        task.clone(nothing=1)


def test_a_clone_of_another_class_takes_what_it_has() -> None:
    class Labelled(TaskOnKart[str]):
        label: str = StrParameter()
        n: int = IntParameter(default=0)

    assert Sum(label="a").clone(Labelled) == Labelled(label="a")
    assert Sum(label="a").clone(Labelled, n=3) == Labelled(label="a", n=3)


def test_a_repr_is_short() -> None:
    class Long(TaskOnKart[int]):
        text: str = StrParameter(default="x" * 1000)
        options: Any = DictParameter(default={"a": [1]})

    assert repr(Number()) == "Number(n=1)"
    assert repr(Sum()) == "Sum(one=Number(n=1), more=[2 tasks from Number(n=2)], label='sum')"
    assert repr(Long()).endswith("""options={"a": [1]})""")
    assert len(repr(Long())) < 200


def test_a_repr_hides_private_values() -> None:
    class Secretive(TaskOnKart[int]):
        token: str = StrParameter(visibility=ParameterVisibility.PRIVATE)

    assert "Secretive(token=***)" in repr(Secretive(token="hunter2"))


def test_an_error_hides_private_values() -> None:
    class Secretive(TaskOnKart[int]):
        token: int = IntParameter(visibility=ParameterVisibility.PRIVATE)

    with pytest.raises(ParameterValueError) as caught:
        Secretive(token="hunter2")  # type: ignore[arg-type]
    assert "hunter2" not in str(caught.value)


# Requirements and loading.


def test_by_default_the_tasks_given_are_required() -> None:
    assert Sum().requires() == {"one": Number(n=1), "more": (Number(n=2), Number(n=3))}
    assert Number().requires() == {}


@pytest.fixture
def numbers(workspace: Path) -> None:
    for n in range(1, 4):
        build(Number(n=n))


@pytest.mark.usefixtures("numbers")
def test_what_is_required_is_loaded_by_key_task_and_nesting() -> None:
    task = requiring({"a": Number(n=1), "b": [Number(n=2), Number(n=3)], 7: Number(n=3)})
    assert task.load() == {"a": 1, "b": [2, 3], 7: 3}
    assert task.load("a") == 1
    assert task.load("b") == [2, 3]
    assert task.load(7) == 3
    assert task.load(Number(n=2)) == 2
    assert task.load([Number(n=2), Number(n=1)]) == [2, 1]
    assert task.load((Number(n=2),)) == [2]
    assert task.load({"x": Number(n=3)}) == {"x": 3}
    assert task.load(Number(n=1).output()) == 1


@pytest.mark.usefixtures("numbers")
def test_a_single_or_a_list_of_requirements_is_loaded() -> None:
    assert requiring(Number(n=1)).load() == 1
    assert requiring([Number(n=1), Number(n=2)]).load() == [1, 2]
    assert requiring((Number(n=1), Number(n=2))).load(1) == 2
    assert requiring(None).load() is None


@pytest.mark.parametrize(
    ("requirements", "key", "words"),
    [
        ({"a": Number()}, "b", r"load\('b'\): there is no input 'b'; there are 'a'"),
        ([Number()], 3, "there is no input 3; there is a list of 1"),
        ([Number()], "a", "there is no input 'a'"),
        (Number(), "a", "that is a single output, without keys: leave the key out"),
        (None, 0, "nothing is required"),
    ],
)
def test_an_unknown_key_lists_the_known(requirements: Any, key: Any, words: str) -> None:
    with pytest.raises(TargetError, match=words):
        requiring(requirements).load(key)


@pytest.mark.parametrize("what", [object(), 1.5, {1, 2}, [object()], Number])
def test_what_is_no_input_is_refused(what: Any) -> None:
    with pytest.raises(TargetError, match=r"load\(\) takes a key of requires\(\), a task, a target, or lists and dicts"):
        requiring(None).load(what)


def test_an_input_that_is_not_there_is_named() -> None:
    with pytest.raises(MissingArtifactError, match=r"Number_[0-9a-f]{32}\.pkl; run the task that makes it"):
        requiring(Number()).load()


def test_input_gives_the_targets() -> None:
    task = requiring({"a": Number(n=1), "b": [Number(n=2)]})
    assert task.input() == {"a": Number(n=1).output(), "b": [Number(n=2).output()]}


# Outputs and dumping.


class Several(TaskOnKart[Any]):
    def output(self) -> Any:
        return {"model": self.make_target("m.pkl"), "scores": [self.make_target("s.json"), self.make_target("t.txt")]}

    def run(self) -> None:
        self.dump({"w": 1}, "model")
        self.dump(0.5, self.output()["scores"][0])
        self.dump("good", self.output()["scores"][1])


class All(WrapperTask):
    def requires(self) -> Any:
        return {"several": Several(), "numbers": [Number(n=1), Number(n=2)]}


@pytest.mark.usefixtures("numbers")
def test_keys_lead_through_tasks_and_outputs_to_one_input() -> None:
    build(Several())
    several = Several()
    task = requiring({"best": several, "more": {"x": [several]}, "all": All()})
    assert task.load("best") == {"model": {"w": 1}, "scores": [0.5, "good"]}
    assert task.load("best", "model") == task.load(several, "model") == {"w": 1}
    assert task.load("best", "scores") == [0.5, "good"]
    assert task.load("more", "x", 0, "scores", 1) == task.load([several], 0, "scores", 1) == "good"  # type: ignore[call-overload]
    assert task.load(None, "best", "scores", 0) == 0.5
    assert task.load("all", "several", "model") == {"w": 1}
    assert task.load("all", "numbers") == [1, 2]
    assert task.load(several.output(), "model") == {"w": 1}
    assert requiring(several).load("scores", 0) == 0.5
    assert list(task.load_generator("best", "scores")) == [0.5, "good"]
    assert list(task.load_generator("all", "numbers", 1)) == [2]
    assert task.input("best", "scores", 0) == task.input()["best"]["scores"][0] == several.output()["scores"][0]
    assert task.input()["all"] == {"several": several.output(), "numbers": [Number(n=n).output() for n in (1, 2)]}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("best", "modle"), r"load\('best', 'modle'\): there is no input 'modle'; there are 'model', 'scores'"),
        (("best", "scores", 2), "there is no input 2; there is a list of 2"),
        (("best", "model", "w"), r"load\('best', 'model', 'w'\): .*'w'; that is a single output, without keys"),
        ((Several(), "modle"), r"load\(Several\(\), 'modle'\): there is no input 'modle'"),
        ((None, "worst"), r"load\('worst'\): there is no input 'worst'; there are 'best'"),
    ],
)
def test_an_unknown_output_of_an_input_lists_the_known(workspace: Path, given: Any, words: str) -> None:
    task = requiring({"best": Several()})
    for load in (task.load, task.load_generator, task.input):
        with pytest.raises(TargetError, match=words.replace("load", load.__name__)):
            load(*given)


@pytest.mark.usefixtures("numbers")
def test_load_takes_nestings_of_targets() -> None:
    assert requiring(None).load([Number(n=1).output(), Number(n=2)]) == [1, 2]


def test_an_output_is_dumped_by_key_or_target() -> None:
    task = Several()
    task.dump([1], "model")
    assert not task.complete()
    task.dump({"auc": 1}, task.output()["scores"][0])
    task.dump("text", task.output()["scores"][1])
    assert task.complete()
    assert requiring(task).load() == {"model": [1], "scores": [{"auc": 1}, "text"]}


@pytest.mark.parametrize("key", [None, "nothing", 0, "scores"])
def test_an_unknown_output_lists_the_known(key: Any) -> None:
    with pytest.raises(TargetError, match=r"Several\(\)\.dump\(\): .*\['model'\], \['scores'\]\[0\], \['scores'\]\[1\]"):
        Several().dump(1, key)


def test_a_format_error_names_the_task() -> None:
    task = with_output(lambda self: self.make_target("a.json"))
    with pytest.raises(FormatError, match=r"^Task\(\): could not dump to .*/a_[0-9a-f]{32}\.json: the json format cannot"):
        task.dump(object())


def test_the_default_output_is_named_after_the_class(workspace: Path) -> None:
    assert Number().output().uri == f"{workspace}/{__name__.replace('.', '/')}/Number_{Number().unique_id}.pkl"


def test_the_unique_id_goes_before_the_extension(workspace: Path) -> None:
    task = Number()
    assert task.make_target("a/b.tar.json").uri == f"{workspace}/a/b.tar_{task.unique_id}.json"
    assert task.make_target("a/b.json", use_unique_id=False).uri == f"{workspace}/a/b.json"


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        ("a.xyz", UnknownFormatError, r"Task\.output\(\): 'a\.xyz' ends with \.xyz, which no format handles"),
        ("a", UnknownFormatError, "ends with no extension"),
        ("", TargetError, r"Task\.output\(\)"),
        ("/etc/a.pkl", TargetPathError, r"Task\.output\(\): '/etc/a_[0-9a-f]{32}\.pkl' is not a file below the workspace"),
        ("../a.pkl", TargetPathError, "is not a file below the workspace"),
        ("a/../../b.pkl", TargetPathError, "is not a file below the workspace"),
    ],
)
def test_a_wrong_path_is_refused(path: str, error: type[KartError], words: str) -> None:
    with pytest.raises(error, match=words):
        targets_of(with_output(lambda self: self.make_target(path)))


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (lambda self: None, r"Task\(\)\.output\(\) returned no target; return make_target\(\.\.\.\)"),
        (lambda self: {}, "returned no target"),
        (lambda self: "a.pkl", r"returned str at the top, which is not a target"),
        (lambda self: {"a": [3]}, r"returned int at \['a'\]\[0\], which is not a target"),
        (lambda self: {self.make_target("a.pkl")}, "returned set at the top"),
        (lambda self: 1 / 0, r"Task\(\)\.output\(\) failed: ZeroDivisionError: division by zero"),
    ],
)
def test_a_wrong_output_is_refused(output: Any, words: str) -> None:
    with pytest.raises(TargetError, match=words):
        targets_of(with_output(output))


@pytest.mark.parametrize("paths", [("a.pkl", "a.pkl"), ("a.pkl", "b/../a.pkl")])
def test_two_outputs_cannot_be_one_file(paths: Any) -> None:
    with pytest.raises(TargetPathError, match=r"\[0\] and \[1\] are the same file, .*; give each output a path of its own"):
        targets_of(with_output(lambda self: [self.make_target(path) for path in paths]))


def test_a_task_without_run_says_so() -> None:
    with pytest.raises(KartError, match=r"TaskOnKart has no run\(\); define run\(\), or make TaskOnKart an ExternalTask"):
        TaskOnKart().run()


# Workspaces.


def test_the_workspace_of_the_block_counts(tmp_path: Path) -> None:
    with Workspace(str(tmp_path / "one")), Workspace(str(tmp_path / "two")):
        assert Workspace.current() == Workspace(str(tmp_path / "two"))
        assert Number().output().uri.startswith(f"{tmp_path}/two/")
    assert Workspace.current().directory == str(tmp_path / "ws")


def test_a_workspace_can_be_entered_again() -> None:
    outside, workspace = Workspace.current(), Workspace("/x")
    with workspace, workspace:
        assert Workspace.current() is workspace
    assert Workspace.current() == outside


def test_a_relative_workspace_is_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Workspace("data").directory == str(tmp_path / "data")
    assert Workspace(Path("data")) == Workspace("data") == Workspace(tmp_path / "x/../data")  # type: ignore[arg-type]
    assert Workspace("s3://bucket/data").directory == "s3://bucket/data"


def test_a_target_is_what_a_task_makes() -> None:
    assert isinstance(Number().output(), Target)
