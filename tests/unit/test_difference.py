"""What two artifacts differ in: by section of their sidecars, and by path in their data."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pydantic
import pytest
from PIL import Image

from airflow_kart import (
    BoolParameter,
    DictParameter,
    IntParameter,
    ParameterVisibility,
    StrParameter,
    TaskInstanceParameter,
    TaskOnKart,
    Workspace,
    build,
)
from airflow_kart.audit.catalogue.record import Record
from airflow_kart.audit.differences.difference import Comparison, data_differences, difference, pairs
from airflow_kart.cli.main import main


def paths(before: object, after: object, **options: Any) -> dict[str, tuple[Any, Any]]:
    found, _ = data_differences(before, after, **options)
    json.dumps([vars(one) for one in found], allow_nan=False)
    return {one.name: (one.before, one.after) for one in found}


@dataclasses.dataclass
class Config:
    depth: int
    more: object = None


class Model(pydantic.BaseModel):
    depth: int = 6
    names: list[str] = []


class Slots:
    __slots__ = ("a", "b")

    def __init__(self, a: object) -> None:
        self.a = a


class Quarrelsome:
    def __init__(self, n: int) -> None:
        self.n = n

    def __eq__(self, _other: object) -> bool:
        raise ValueError("no")

    def __repr__(self) -> str:
        raise ValueError("no")

    __hash__ = None  # type: ignore[assignment]


class Closed:
    def __init__(self, n: int) -> None:
        object.__setattr__(self, "n", n)

    def __getattribute__(self, name: str) -> object:
        if name == "__class__":
            return object.__getattribute__(self, name)
        raise RuntimeError("closed")


def cyclic(n: int) -> list[object]:
    found: list[object] = [n]
    found.append(found)
    return found


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"model": {"depth": 6}}, {"model": {"depth": 7}}, {"$.model.depth": (6, 7)}),
        ({"a b": 1, "gone": 2}, {"a b": 1, "new": [3]}, {"$.gone": (2, None), "$.new": (None, "[3]")}),
        ([1, 2, 3], [1, 5], {"$[1]": (2, 5), "$[2]": (3, None)}),
        ((1, float("nan")), (1, float("nan")), {}),
        (1, 1.0, {"$": ("builtins.int: 1", "builtins.float: 1.0")}),
        (1, True, {"$": ("builtins.int: 1", "builtins.bool: True")}),
        (float("inf"), 1.5, {"$": ("inf", 1.5)}),
        ({1, 2}, {2, 3}, {"${}": (None, 3)}),
        (b"abcdef", b"abcxef", {"$": ("6 bytes, from byte 3 on 646566", "6 bytes, from byte 3 on 786566")}),
        ("one", "two", {"$": ("one", "two")}),
        (Config(6, [1]), Config(7, [1]), {"$.depth": (6, 7)}),
        (Model(depth=6), Model(depth=6, names=["a"]), {"$.names[0]": (None, "a")}),
        (Slots(1), Slots(2), {"$.a": (1, 2)}),
        (dt.date(2013, 3, 1), dt.date(2013, 3, 2), {"$": ("datetime.date(2013, 3, 1)", "datetime.date(2013, 3, 2)")}),
        (Decimal("1.10"), Decimal("1.1"), {"$": ("Decimal('1.10')", "Decimal('1.1')")}),
        (Path("a"), Path("a"), {}),
        (cyclic(1), cyclic(1), {}),
        (cyclic(1), cyclic(2), {"$[0]": (1, 2)}),
        ({"x": np.arange(3)}, {"x": np.arange(3)}, {}),
        (np.array([1.0, np.nan]), np.array([1.0, np.nan]), {}),
        (Quarrelsome(1), Quarrelsome(1), {}),
        (Quarrelsome(1), Quarrelsome(2), {"$.n": (1, 2)}),
        (dict, list, {"$": ("<class 'dict'>", "<class 'list'>")}),
        (None, 0, {"$": (None, 0)}),
    ],
)  # fmt: skip
def test_objects_by_path(before: object, after: object, expected: dict[str, tuple[Any, Any]]) -> None:
    assert paths(before, after) == expected


def test_no_object_raises() -> None:
    assert list(paths(Closed(1), Closed(2))) == ["$"]
    assert paths(range(3), range(4)) == {"$": ("range(0, 3)", "range(0, 4)")}
    deep: list[object] = [1]
    other: list[object] = [2]
    for _ in range(5000):
        deep, other = [deep], [other]
    assert len(paths(deep, other)) == 1
    assert paths(iter([1]), iter([1])) == {}
    assert list(paths(lambda: 1, lambda: 2)) == ["$"]
    assert paths({"f": len}, {"f": len}) == {}


def test_many_differences_are_cut_off_and_the_answer_says_so() -> None:
    found, notes = data_differences(list(range(1000)), list(range(1, 1001)), most=10)
    assert len(found) == 10
    assert notes == ["only the first 10 differences are shown"]


def test_a_text_comes_as_a_diff() -> None:
    found = paths("a\nb\nc\n", "a\nB\nc\n")
    assert found["$"][1] == "--- before\n+++ after\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c"


def test_arrays() -> None:
    before = np.arange(6.0).reshape(2, 3)
    after = before.copy()
    after[1, 2] = 10
    found = paths(before, after)
    assert found["$[...]"] == ("6 elements", {"differing": 1, "largest": 5.0, "largest_relative": 0.5})
    assert found["$[1, 2]"] == (5.0, 10.0)
    images = [Image.fromarray(np.full((2, 2), value, np.uint8)) for value in (1, 1, 2)]
    assert paths(images[0], images[1]) == {}
    assert paths(images[0], images[2])["$[...]"][1]["differing"] == 4
    assert paths(np.int64(1), np.int64(2)) == {"$": (1, 2)}
    assert paths(before, before.astype("float32")) == {"$.dtype": ("float64", "float32")}
    assert paths(before, after[:1])["$.shape"] == ("(2, 3)", "(1, 3)")
    assert list(paths(np.array(["a", "b"]), np.array(["a", "c"]))) == ["$[...]", "$[1]"]
    assert list(paths(np.array([{}, [1]], object), np.array([{}, [2]], object))) == ["$[...]", "$[1]"]


CATEGORIES = pd.Categorical(["x", "y"], ["x", "y"])


@pytest.mark.parametrize(
    ("before", "after", "name"),
    [
        (CATEGORIES, pd.Categorical(["x", "y"], ["y", "x"]), "['a'].dtype"),
        (CATEGORIES, pd.Categorical(["x", "y"], ["x", "y", "z"]), "['a'].dtype"),
        (CATEGORIES, pd.Categorical(["x", "y"], ["x", "y"], ordered=True), "['a'].dtype"),
        (pd.Index([5, 6], name="i"), pd.Index([5, 6], name="j"), ".index.names"),
    ],
)
def test_what_tables_have_besides_their_values(before: Any, after: Any, name: str) -> None:
    if name.endswith("dtype"):
        tables = [pd.DataFrame({"a": values}) for values in (before, after)]
        assert list(paths(before, after)) == ["$.dtype"]
    else:
        tables = [pd.DataFrame({"a": [1, 2]}, index=index) for index in (before, after)]
    assert list(paths(*tables)) == [f"${name}"]


def test_masks() -> None:
    one, other = (np.ma.array([1, 2], mask=mask) for mask in ([False, True], [False, False]))
    assert paths({"m": one}, {"m": other}).keys() == {"$.m.mask[...]", "$.m.mask[1]"}
    assert not paths({"m": one}, {"m": one.copy()})
    assert paths(one, np.ma.array([1, 2], mask=[False, True], fill_value=7)).keys() == {"$.fill_value"}
    assert paths(np.ma.array(1), np.ma.array(2)).keys() == {"$[...]", "$[]"}


def test_a_model_of_sklearn() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    tree = pytest.importorskip("sklearn.tree")
    x, y = np.arange(8.0).reshape(4, 2), np.array([0.0, 1, 2, 3])
    models = [linear.LinearRegression().fit(x, y * factor) for factor in (1, 1, 2)]
    assert paths(models[0], models[1]) == {}
    assert "$.coef_[0]" in paths(models[0], models[2])
    trees = [tree.DecisionTreeRegressor(random_state=0).fit(x, y * factor) for factor in (1, 1, 2)]
    assert paths(trees[0], trees[1]) == {}
    assert any(name.startswith("$.tree_.__reduce__().state.values") or "tree_" in name for name in paths(trees[0], trees[2]))


FRAMES = [pd.DataFrame, pl.DataFrame, pa.table]


@pytest.mark.parametrize("frame", FRAMES)
def test_tables(frame: Any) -> None:
    before = {"id": [1, 2, 3], "name": ["a", "b", None], "x": [1.0, float("nan"), 3.0], "z": [1, 1, 1]}
    after = {"id": [1, 2, 4], "name": ["a", "c", None], "x": [1.0, float("nan"), 5.0], "y": [1, 1, 1]}
    assert paths(frame(before), frame(before)) == {}
    found = paths(frame(before), frame(after))
    assert found["$['z'].dtype"][1] is None
    assert found["$['y'].dtype"][0] is None
    assert found["$[id=2]"] == ({"name": "b"}, {"name": "c"})
    assert found["$[id=3]"] == ({"id": 3, "name": None, "x": 3.0, "z": 1}, None)
    assert found["$[id=4]"][1]["x"] == 5.0
    assert "$.rows" not in found
    assert paths(frame({"x": [1, 2]}), frame({"x": [1.0, 2.0]}))["$['x'].dtype"][0] in ("int64", "Int64")


@pytest.mark.parametrize("frame", FRAMES)
def test_tables_by_position_and_statistics(frame: Any) -> None:
    before, after = frame({"x": [1.0, 1.0, 2.0]}), frame({"x": [1.0, 1.0, 4.0, 4.0]})
    found = paths(before, after)
    assert found["$.rows"] == (3, 4)
    column = found["$['x']"]
    assert column[0]["max"] == 2.0
    assert column[1]["max"] == 4.0
    assert "min" not in column[0]
    assert column[1]["differing"] == 1
    assert column[1]["largest"] == 2.0
    assert found["$[row 2]"] == ({"x": 2.0}, {"x": 4.0})


def test_tables_of_odd_columns() -> None:
    nested = {"x": [[1, 2], [3]], "when": [dt.datetime(2013, 1, 1), dt.datetime(2013, 1, 2)]}
    other = {"x": [[1, 2], [4]], "when": [dt.datetime(2013, 1, 1), dt.datetime(2013, 1, 3)]}
    for frame in FRAMES:
        assert paths(frame(nested), frame(nested)) == {}
        assert len(paths(frame(nested), frame(other))) >= 2
    twice = pd.DataFrame([[1, 2]], columns=["a", "a"])
    assert paths(twice, twice.copy()) == {}
    assert "$['a#1']" in paths(twice, pd.DataFrame([[1, 3]], columns=["a", "a"]))
    indexed = pd.DataFrame({"x": [1, 2]}, index=pd.Index(["k", "l"]))
    assert list(paths(indexed, indexed.iloc[::-1])) == ["$.order"]
    assert paths(indexed, indexed.assign(x=[1, 5]))["$[index=l]"] == ({"x": 2}, {"x": 5})
    categories = pd.DataFrame({"c": pd.Categorical(["a", "b"])})
    assert paths(categories, categories.copy()) == {}
    assert paths(pd.Series([1, 2], name="s"), pd.Series([1, 3], name="s"))["$[row 1]"] == ({"s": 2}, {"s": 3})
    assert paths(pl.Series("s", [1, 2]), pl.Series("s", [1, 2])) == {}
    assert paths(pd.DataFrame(), pd.DataFrame()) == {}
    assert "$" in paths(pd.DataFrame({"x": [1]}), pl.DataFrame({"x": [1]}))
    multi = pd.DataFrame({("a", "b"): [1]})
    assert list(paths(multi, multi + 1)) == ["$[('a', 'b')]", "$[row 0]"]


class Source(TaskOnKart[int]):
    n: int = IntParameter(default=1)

    def run(self) -> None:
        self.dump(self.n)


class Train(TaskOnKart[dict[str, Any]]):
    options: dict[str, Any] = DictParameter(default={"a": {"b": 1}})  # type: ignore[assignment]
    day: str = StrParameter(default="2013-03-01")
    depth: int = IntParameter(default=6)
    source: TaskOnKart[int] = TaskInstanceParameter(default=Source())
    secret: str = StrParameter(default="hush-hush", significant=False, visibility=ParameterVisibility.PRIVATE)

    def requires(self) -> TaskOnKart[int]:
        return self.source

    def run(self) -> None:
        self.dump({"depth": self.depth, "of": self.load()})


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace(str(tmp_path)) as found:
        yield found


def made(*tasks: TaskOnKart[Any]) -> list[Record]:
    for task in tasks:
        build(task)
    return [Workspace.current().artifacts().get(task.unique_id) for task in tasks]


def sections(comparison: Comparison) -> dict[tuple[str, str], tuple[Any, Any]]:
    return {(one.section, one.name): (one.before, one.after) for one in comparison.differences}


def test_artifacts_by_section() -> None:
    first, second = made(Train(), Train(options={"a": {"b": 2}}, depth=7, source=Source(n=2), secret="other-secret"))
    found = difference(first, second)
    by_name = sections(found)
    assert found.data == "differs"
    assert by_name["parameters", "options.a.b"] == (1, 2)
    assert by_name["parameters", "depth"] == (6, 7)
    assert ("parameters", "source.unique_id") in by_name
    assert {name for section, name in by_name if section == "upstream"} == {"the top unique id", "the top sha256"}
    assert by_name["data", "$.depth"] == (6, 7)
    assert by_name["data", "$.of"] == (1, 2)
    assert "hush" not in str(found)
    assert "secret" not in str(by_name)
    assert [one.section for one in found.differences] == sorted(
        (one.section for one in found.differences),
        key=["task", "parameters", "upstream", "code", "environment", "packages", "seeds", "data"].index,
    )
    assert found.summary().startswith("parameters: options.a.b, ")
    json.dumps(dataclasses.asdict(found))


def test_private_values_differ_by_digest_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__KART__PRIVATE_DIGEST_KEY", "k")
    first, second = made(Train(), Train(depth=7, secret="other-secret"))
    by_name = sections(difference(first, second))
    assert by_name["parameters", "secret"] == ("private", "private, of another digest")
    assert "hush" not in str(by_name)


def test_equal_bytes_end_the_comparison() -> None:
    first, second = made(Train(), Train(day="2013-03-02"))
    found = difference(first, second)
    assert found.data == "identical"
    assert found.summary() == "equal bytes; parameters: day; seeds: value"


def test_large_or_missing_data_are_not_compared_and_the_answer_says_why(workspace: Workspace) -> None:
    first, second = made(Train(), Train(depth=7))
    found = difference(first, second, most_bytes=5)
    assert found.data == "unknown"
    assert "the limit is 5" in found.notes[0]
    workspace.store.remove(second.uri)
    found = difference(first, second)
    assert found.data == "unknown"
    assert second.uri in found.notes[0]


def test_two_days_are_paired_by_their_other_parameters() -> None:
    days = ["2013-03-01", "2013-03-02"]
    sides = [made(*(Train(day=day, depth=depth) for depth in (1, 2, 3))) for day in days]
    sides[1] = [*reversed(sides[1]), *made(Source(n=9))]
    sides[0].append(made(Source(n=1))[0])
    found = pairs(*sides)
    depths = [
        tuple(one and one.sidecar.content["task"]["parameters"].get("depth", {}).get("value") for one in pair)
        for pair in found
    ]
    assert depths[:3] == [(1, 1), (2, 2), (3, 3)]
    assert len(found) == 4
    assert pairs(sides[0], []) == [(one, None) for one in sides[0]]


class Half(TaskOnKart[dict[str, str]]):
    whole: bool = BoolParameter()

    def run(self) -> None:
        self.dump({"s": "ü" if self.whole else "\ud800"})


def command(workspace: Workspace, *words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main([*words, "-w", workspace.directory])
        raise SystemExit(0)
    assert isinstance(ended.value.code, int), ended.value.code
    return ended.value.code


def test_the_command_compares_two_artifacts(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = made(Train(), Train(depth=7))
    assert command(workspace, "diff", "Train(depth=6)", "Train(depth=7)") == 3
    shown = capsys.readouterr().out
    assert "$.depth" in shown
    assert "parameters: depth" in shown
    assert command(workspace, "diff", "Train", "-o", "json") == 3
    document = json.loads(capsys.readouterr().out)
    assert (document["before"], document["after"]) == (first.uri, second.uri)
    assert {"section": "data", "name": "$.depth", "change": "changed", "before": 6, "after": 7} in document["differences"]
    assert command(workspace, "diff", first.uri, second.uri, "--no-data") == 0
    assert command(workspace, "diff", first.uri, first.uri) == 0
    capsys.readouterr()
    with pytest.raises(SystemExit, match="name one or two artifacts"):
        main(["diff", "-w", workspace.directory])
    with pytest.raises(SystemExit, match="one artifact of Source only"):
        main(["diff", "Source", "-w", workspace.directory])


@pytest.mark.parametrize("output", ["table", "plain", "json", "yaml"])
def test_half_a_character_ends_no_command(workspace: Workspace, output: str) -> None:
    before, after = made(Half(whole=False), Half(whole=True))
    words = ["diff", before.uri, after.uri, "-o", output, "-w", workspace.directory]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii" if output == "json" else "utf-8"}
    found = subprocess.run(
        [sys.executable, "-c", "import sys; from airflow_kart.cli.main import main; main(sys.argv[1:])", *words],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert (found.returncode, "Traceback" in found.stderr) == (3, False), found.stderr
    assert "\\ud800" in found.stdout.lower()
    if output == "json":
        values = [
            (one["before"], one["after"]) for one in json.loads(found.stdout)["differences"] if one["section"] == "data"
        ]
        assert ("\ud800", "ü") in values


def test_the_command_compares_two_days(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    made(*(Train(day=day, depth=depth) for day in ("2013-03-01", "2013-03-02") for depth in (1, 2)), Train(day="2013-03-02"))
    assert command(workspace, "diff", "--days", "2013-03-01", "2013-03-02", "-o", "json") == 3
    found = json.loads(capsys.readouterr().out)
    assert [one["data"] for one in found] == ["identical", "identical", "only in the second"]
    assert command(workspace, "diff", "--days", "2013-03-01", "2013-03-02") == 3
    assert "equal bytes; parameters: day; seeds: value" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="no artifact of nothing"):
        main(["diff", "--runs", "nothing", "nobody", "-w", workspace.directory])
