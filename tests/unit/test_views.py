"""Views of a task's graph: as a tree, as a table, as diagrams."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pydot
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_kart import (
    IntParameter,
    ListParameter,
    ListTaskInstanceParameter,
    ParameterVisibility,
    StrParameter,
    Target,
    TaskInstanceParameter,
    TaskOnKart,
    Workspace,
    WrapperTask,
    build,
    views,
)
from airflow_kart.exceptions import ConfigurationError, TargetError
from airflow_kart.tasks.graph import Graph
from airflow_kart.testing import in_memory_workspace
from airflow_kart.views import graphviz, mermaid, table, tree
from airflow_kart.views.survey import Survey


class Load(TaskOnKart[pd.DataFrame]):
    day: str = StrParameter(default="2024-05-06")
    token: str = StrParameter(default="hush-hush", visibility=ParameterVisibility.PRIVATE, significant=False)

    def output(self) -> Target:
        return self.make_target("load.parquet")

    def run(self) -> None:
        self.task_log["source"] = "shop"
        self.dump(pd.DataFrame({"n": [1, 2, 3]}))


class Clean(TaskOnKart["pd.DataFrame | str"]):
    loaded: TaskOnKart[pd.DataFrame] = TaskInstanceParameter(default=Load())
    at_least: int = IntParameter(default=0)

    def output(self) -> dict[str, Target]:
        return {"table": self.make_target("clean.csv"), "note": self.make_target("note.txt")}

    def run(self) -> None:
        self.dump(self.load(self.loaded)[:2], "table")
        self.dump("two of three", "note")


class Train(TaskOnKart[str]):
    def requires(self) -> Any:
        return {"features": [Clean(), Clean(at_least=1)], "raw": Load()}

    def run(self) -> None:
        self.dump("a model")


class Lone(TaskOnKart[int]):
    """Its requires() returns one task by itself."""

    def requires(self) -> Any:
        return Load()

    def run(self) -> None:
        self.dump(1)


class Layer(TaskOnKart[int]):
    """A chain of diamonds: the number of paths doubles with each."""

    depth: int = IntParameter()
    below: tuple[TaskOnKart[Any], ...] = ListTaskInstanceParameter(default=[])

    def run(self) -> None:
        self.dump(self.depth)


class Text(TaskOnKart[int]):
    text: str = StrParameter()

    def run(self) -> None:
        self.dump(1)


class Keyed(TaskOnKart[int]):
    """Requires a task under each of its texts."""

    texts: tuple[str, ...] = ListParameter()

    def requires(self) -> Any:
        return {text: Text(text=text) for text in self.texts}

    def run(self) -> None:
        self.dump(1)


def diamonds(number: int) -> Layer:
    task = Layer(depth=0)
    for depth in range(1, number + 1):
        task = Layer(depth=depth, below=(Layer(depth=-depth, below=(task,)), task))
    return task


def chain(number: int) -> Layer:
    task = Layer(depth=0)
    for depth in range(1, number):
        task = Layer(depth=depth, below=(task,))
    return task


def short(task: TaskOnKart[Any]) -> str:
    return f"{type(task).__name__}[{task.unique_id[:8]}]"


@pytest.fixture
def half(workspace: Path) -> Train:
    """A graph of four tasks, of which two are complete."""
    build(Clean())
    return Train()


SECONDS = re.compile(r"\d+\.\d\d s")


class TestTree:
    def test_it_shows_each_task_once_with_its_state(self, half: Train) -> None:
        assert SECONDS.sub("0.00 s", tree(half)).splitlines() == [
            f"{short(Train())} missing: no artifact",
            f"├── features[0]: {short(Clean())} complete, 0.00 s",
            f"│   └── loaded: {short(Load())} complete, 0.00 s",
            f"├── features[1]: {short(Clean(at_least=1))} missing: no artifact",
            f"│   └── loaded: {short(Load())} ...",
            f"└── raw: {short(Load())} ...",
        ]

    def test_without_abbreviations_it_shows_all(self, half: Train) -> None:
        lines = tree(half, abbreviate=False).splitlines()
        assert len(lines) == 6
        assert sum(f"{short(Load())} complete" in line for line in lines) == 3

    def test_details(self, half: Train, workspace: Path) -> None:
        lines = tree(half, details=True).splitlines()
        assert lines[:2] == [f"{short(Train())} missing: no artifact", f"│   at {Train().output().uri}"]
        assert lines[3:6] == [
            f"│   │   loaded={short(Load())}",
            "│   │   at_least=0",
            f"│   │   at {Clean().output()['table'].uri}",
        ]
        load = next(number for number, line in enumerate(lines) if "loaded: Load" in line)
        assert lines[load + 1 : load + 4] == [
            '│           day="2024-05-06"',
            f"│           at {Load().output().uri}",
            '│           task_log {"source": "shop"}',
        ]

    def test_a_task_that_is_required_by_itself_has_no_key(self, workspace: Path) -> None:
        assert tree(Lone()).splitlines()[1] == f"└── {short(Load())} missing: no artifact"
        assert tree(Load()) == f"{short(Load())} missing: no artifact"

    @pytest.mark.parametrize("ignore", [["Load"], "Load", ("Lo*",), {"L?ad", "Nothing"}])
    def test_classes_may_be_left_out(self, half: Train, ignore: Any) -> None:
        lines = tree(half, ignore=ignore).splitlines()
        assert [line.split("[")[0] for line in lines] == ["Train", "├── features", "└── features"]
        assert "Load" not in tree(half, ignore=ignore, details=True).replace("loaded=Load", "").replace("load.parquet", "")

    def test_what_only_ignored_tasks_need_is_left_out_and_the_root_stays(self, half: Train) -> None:
        assert tree(half, ignore=["Clean"]).splitlines()[1:] == [f"└── raw: {short(Load())} " + _state(half, Load())]
        assert tree(half, ignore=["*"]) == f"{short(half)} missing: no artifact"

    def test_diamonds_are_not_exponential(self) -> None:
        with in_memory_workspace():
            lines = tree(diamonds(200)).split("\n")
        assert len([line for line in lines if line]) < 1000
        assert {int(number) for number in re.findall(r"below\[(\d)\]", "\n".join(lines))} == {0, 1}

    def test_without_abbreviations_too_many_lines_are_refused(self) -> None:
        with in_memory_workspace():
            assert len(tree(diamonds(10), abbreviate=False).splitlines()) == 3 * 2**10 - 2
            with pytest.raises(
                ConfigurationError, match=r"abbreviate=False\) has more than 100,000 lines, .* leave abbreviate on"
            ):
                tree(diamonds(200), abbreviate=False)

    def test_a_long_chain_goes_on_in_trees_of_its_own(self) -> None:
        with in_memory_workspace():
            started = time.perf_counter()
            text = tree(chain(5000))
            assert time.perf_counter() - started < 20
        assert len(text) < 5_000_000
        full = [line for line in text.splitlines() if line.endswith("missing: no artifact")]
        assert len(full) == 5000
        assert len({re.search(r"\[([0-9a-f]{8})\]", line)[1] for line in full}) == 5000  # type: ignore[index]  # each matches
        # What "..." stands for begins the next tree.
        parts = text.split("\n\n")
        for part, following in itertools.pairwise(parts):
            last = part.splitlines()[-1]
            assert last.endswith(" ...")
            assert following.startswith(last.removesuffix(" ...").split(": ")[1])

    def test_a_reason_stays_on_its_line(self, half: Train) -> None:
        Path(Load().output().uri + ".kart.json").write_text("{\n")
        lines = tree(half).splitlines()
        assert len(lines) == 6
        assert "missing: the sidecar" in lines[2]

    @given(st.lists(st.text(), max_size=4, unique=True))
    def test_any_text_stays_on_its_line(self, texts: list[str]) -> None:
        with in_memory_workspace():
            lines = tree(Keyed(texts=tuple(texts))).split("\n")
            assert len(lines) == len(texts) + 1
            assert all(line.isprintable() for line in lines)
            assert all(line.isprintable() for line in tree(Keyed(texts=tuple(texts)), details=True).split("\n"))

    def test_looking_changes_nothing(self, half: Train, workspace: Path) -> None:
        before = {path: path.stat().st_mtime_ns for path in workspace.rglob("*")}
        tree(half, details=True)
        table(half)
        mermaid(half)
        graphviz(half)
        assert {path: path.stat().st_mtime_ns for path in workspace.rglob("*")} == before


def _state(root: Train, task: TaskOnKart[Any]) -> str:
    return next(line for line in tree(root).splitlines() if f"{short(task)} complete" in line).split("] ")[-1]


class TestTable:
    def test_one_row_for_each_task(self, half: Train) -> None:
        found = table(half)
        assert list(found.columns) == [
            "class", "unique_id", "complete", "reason", "seconds", "finished_at", "uris", "parameters", "requires",
            "task_log", "bytes", "rows",
        ]  # fmt: skip
        tasks: list[TaskOnKart[Any]] = [Train(), Clean(), Load(), Clean(at_least=1)]
        assert list(found["unique_id"]) == [task.unique_id for task in tasks]
        assert list(found["class"]) == ["Train", "Clean", "Load", "Clean"]
        assert list(found["complete"]) == [False, True, True, False]
        assert found["reason"][0] == "no artifact"
        assert found["reason"][1].startswith("made 20")
        assert list(found["seconds"].isna()) == [True, False, False, True]
        assert list(found["uris"]) == [[target.uri for target in _targets(task)] for task in tasks]
        assert found["parameters"][2] == {"day": "2024-05-06"}
        assert found["parameters"][3]["at_least"] == 1
        assert found["requires"][0] == {"features": [tasks[1].unique_id, tasks[3].unique_id], "raw": tasks[2].unique_id}
        assert list(found["task_log"]) == [{}, {}, {"source": "shop"}, {}]

    def test_numbers_and_times_have_their_types(self, half: Train) -> None:
        found = table(half)
        assert str(found["finished_at"].dtype).startswith("datetime64")
        assert found["finished_at"].dt.tz is not None
        assert list(found["finished_at"].isna()) == [True, False, False, True]
        assert found["rows"].dtype == found["bytes"].dtype == pd.Int64Dtype()
        assert found["rows"].fillna(-1).tolist() == [-1, 2, 3, -1]
        size = sum(Path(target.uri).stat().st_size for target in _targets(Clean()))
        assert found["bytes"].fillna(-1).tolist()[1] == size

    def test_nothing_complete_has_the_same_types(self, workspace: Path) -> None:
        assert (table(Load()).dtypes == table(Train()).dtypes).all()
        before = table(Load()).dtypes
        build(Load())
        after = table(Load()).dtypes
        assert (before.drop("finished_at") == after.drop("finished_at")).all()

    def test_classes_may_be_left_out(self, half: Train) -> None:
        assert list(table(half, ignore=["Load"])["class"]) == ["Train", "Clean", "Clean"]

    def test_a_long_chain(self) -> None:
        with in_memory_workspace():
            assert len(table(chain(5000))) == 5000


def _targets(task: TaskOnKart[Any]) -> list[Target]:
    output = task.output()
    return list(output.values()) if isinstance(output, dict) else [output]


# Diagrams. Mermaid's own parser is too heavy for the tests: its grammar, as far as it is used, is written down here.

NODE = re.compile(r'    (n\d+)\["([^"]*)"\]:::(complete|missing)')
ARROW = re.compile(r'    (n\d+) -->(?:\|"([^"]*)"\|)? (n\d+)')
CLASS = re.compile(r"    classDef (complete|missing) fill:#[0-9a-f]{6},stroke:#[0-9a-f]{6},color:#[0-9a-f]{6}")
CODE = re.compile(r"#(\d+);")


def read_mermaid(text: str) -> tuple[dict[str, tuple[list[str], str]], list[tuple[str, str, str]]]:
    """Return the boxes (lines and class) and the arrows (from, to, label) of a flowchart."""
    head, *lines = text.splitlines()
    assert head == "flowchart LR"
    nodes, arrows, classes = {}, [], set()
    for line in lines:
        if node := NODE.fullmatch(line):
            nodes[node[1]] = ([decoded(part) for part in node[2].split("<br/>")], node[3])
        elif arrow := ARROW.fullmatch(line):
            arrows.append((arrow[1], arrow[3], decoded(arrow[2] or "")))
        elif found := CLASS.fullmatch(line):
            classes.add(found[1])
        else:
            raise AssertionError(f"not a line of a flowchart: {line!r}")
    assert classes == {"complete", "missing"}
    return nodes, arrows


def decoded(text: str) -> str:
    plain = CODE.sub("", text)
    assert not set(plain) & set("\"'`#&<>;%|[]{}():\\*_~"), plain
    return CODE.sub(lambda code: chr(int(code[1])), text)


def read_dot(text: str) -> tuple[dict[str, tuple[list[str], str]], list[tuple[str, str, str]]]:
    """Return the boxes and the arrows that pydot finds."""
    graphs = pydot.graph_from_dot_data(text)
    assert graphs is not None
    (graph,) = graphs
    assert graph.get_type() == "digraph"
    nodes = {
        str(node.get_name()): (undotted(str(node.get("label"))), str(node.get("fillcolor")))
        for node in graph.get_nodes()
        if node.get_name() not in ("node", "edge", "graph")
    }
    arrows = [
        (str(edge.get_source()), str(edge.get_destination()), "".join(undotted(str(edge.get("label") or '""'))))
        for edge in graph.get_edges()
    ]
    return nodes, arrows


def undotted(quoted: str) -> list[str]:
    """Return the lines that Graphviz makes of a quoted label."""
    assert quoted[0] == quoted[-1] == '"'
    lines, escaped = [""], False
    for char in quoted[1:-1]:
        if escaped:
            assert char in '\\"n', f"\\{char} is not text"
            lines += [""] if char == "n" else []
            lines[-1] += "" if char == "n" else char
        elif char != "\\":
            assert char != '"'
            lines[-1] += char
        escaped = char == "\\" and not escaped
    assert not escaped
    assert all(re.fullmatch(r"(?:[^&]|&amp;)*", line) for line in lines)
    return [line.replace("&amp;", "&") for line in lines]


READERS = {mermaid: read_mermaid, graphviz: read_dot}


@pytest.fixture(params=READERS, ids=lambda view: view.__name__)
def view(request: pytest.FixtureRequest) -> Any:
    return request.param


class TestDiagrams:
    def test_boxes_arrows_and_colours(self, half: Train, view: Any) -> None:
        nodes, arrows = READERS[view](view(half))
        names = {(lines[0], lines[1]): name for name, (lines, _) in nodes.items()}
        train, clean, other, load = (
            names[type(task).__name__, task.unique_id[:8]] for task in (half, Clean(), Clean(at_least=1), Load())
        )
        assert sorted(arrows) == sorted(
            [
                (clean, train, "features[0]"),
                (other, train, "features[1]"),
                (load, train, "raw"),
                (load, clean, "loaded"),
                (load, other, "loaded"),
            ]
        )
        assert nodes[train][1] == nodes[other][1] != nodes[load][1] == nodes[clean][1]
        assert nodes[train][0][-1] == "missing: no artifact"
        assert nodes[load][0][2] == 'day="2024-05-06"'
        assert SECONDS.sub("", nodes[load][0][-1]) == "complete, "
        assert nodes[clean][0][2:4] == [f"loaded={short(Load())}", "at_least=0"]

    def test_a_task_required_twice_has_one_arrow(self, view: Any, workspace: Path) -> None:
        class Twice(TaskOnKart[int]):
            def requires(self) -> Any:
                return {"a": Load(), "b": [Load()]}

        _, arrows = READERS[view](view(Twice()))
        assert [label for _, _, label in arrows] == ["a, b[0]"]

    def test_a_lone_task(self, view: Any, workspace: Path) -> None:
        nodes, arrows = READERS[view](view(Lone()))
        assert len(nodes) == 2
        assert [label for _, _, label in arrows] == [""]
        assert len(READERS[view](view(Lone(), ignore=["Load"]))[0]) == 1

    @given(st.text(max_size=30))
    def test_any_text_is_a_label(self, view: Any, text: str) -> None:
        self._check(view, text)

    @pytest.mark.parametrize(
        "text",
        [
            "end", '"', "\\", '\\"', "\\n", "\\N", "a\nb\0", "%% x", "%%{init: {}}%%", "#quot;", "#35;", "&lt;", "</script>", "`x`",
            "]:::complete", "-->", "|", "classDef x fill:#fff;", "{<a>}", "\ud800", "\u2028", "日本", "🎉", "**b**", "// x", "'",
        ],
    )  # fmt: skip
    def test_any_mark_is_a_label(self, view: Any, text: str) -> None:
        self._check(view, text)

    def _check(self, view: Any, text: str) -> None:
        with in_memory_workspace():
            nodes, arrows = READERS[view](view(Keyed(texts=(text,))))
            assert len(nodes) == 2
            assert len(arrows) == 1
            line = next(lines for lines, _ in nodes.values() if lines[0] == "Text")[2]
            assert line.isprintable()
            if text.isprintable() and not set(text) & set('"\\'):
                assert line == f'text="{text}"'
                assert arrows[0][2] == text

    def test_a_long_text_is_cut(self, view: Any) -> None:
        with in_memory_workspace():
            nodes, arrows = READERS[view](view(Keyed(texts=("x" * 1000,))))
        assert max(len(line) for lines, _ in nodes.values() for line in lines) == 60
        assert arrows[0][2] == "x" * 57 + "..."

    def test_a_long_chain(self, view: Any) -> None:
        with in_memory_workspace():
            assert view(chain(5000)).count("missing") >= 5000


@pytest.mark.parametrize(
    "show", [lambda task: tree(task, details=True), lambda task: table(task).to_string(), mermaid, graphviz]
)
def test_private_values_are_never_shown(half: Train, show: Any) -> None:
    assert "Load" in show(half)
    assert "hush" not in show(half)
    assert "token" not in show(half)


@pytest.mark.parametrize("show", [tree, table, mermaid, graphviz])
def test_only_a_task_can_be_shown(show: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"{show.__name__}\(.*give a task; make an instance: Load\(...\)"):
        show(Load)
    with pytest.raises(ConfigurationError, match="give a task"):
        show([Load()])


def test_an_output_that_fails_is_named(workspace: Path) -> None:
    class Wrong(TaskOnKart[int]):
        def output(self) -> Any:
            return 1 / 0

    with pytest.raises(TargetError, match=r"Wrong\(\).output\(\) failed"):
        tree(Wrong())


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("ignore", [(), ("Load",)])
def test_a_wrapper_is_as_complete_as_what_it_groups(workspace: Path, made: bool, ignore: tuple[str, ...]) -> None:
    class Group(WrapperTask):
        def requires(self) -> Any:
            return Load()

    if made:
        build(Load())
    found = Survey.of(Graph.of([Group()]), ignore)
    root = found.tasks[found.root]
    assert root.complete is made
    assert root.reason == ("all that it groups is there" if made else f"{Load()!r}, which it needs, runs")
    assert root.seconds is None
    assert found.sidecars()[found.root] == ()


def test_a_long_run_is_given_in_minutes_and_hours(workspace: Path) -> None:
    target = Load().output()
    for seconds, words in [(59.994, "59.99 s"), (75.4, "1 min 15 s"), (7325.0, "2 h 2 min")]:
        build(Load(), rerun=["Load"])
        sidecar = Path(target.uri + ".kart.json")
        content = json.loads(sidecar.read_text())
        del content["digest"]
        sidecar.write_text(json.dumps({**content, "schema_version": 1, "run": {**content["run"], "seconds": seconds}}))
        assert tree(Load()) == f"{short(Load())} complete, {words}"


def test_states_are_those_of_the_current_workspace(tmp_path: Path) -> None:
    build(Load(), workspace_directory=tmp_path / "a")
    shown = []
    for name in "ab":
        with Workspace(str(tmp_path / name)):
            shown.append("complete" in tree(Load()))
    assert shown == [True, False]


def test_the_public_names_are_these() -> None:
    assert views.__all__ == ["graphviz", "mermaid", "table", "tree"]
    assert [getattr(views, name) for name in views.__all__] == [graphviz, mermaid, table, tree]


def test_importing_the_views_loads_nothing_heavy() -> None:
    code = "import sys, airflow_kart.views; print({'airflow', 'pandas', 'numpy', 'pydot'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
