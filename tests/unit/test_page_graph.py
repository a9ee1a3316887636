"""The graph of a run as SVG: places that can be read, a bounded size, hostile texts."""

from __future__ import annotations

import random
import re
import time
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment, FileSystemLoader, StrictUndefined

import airflow_kart
from airflow_kart.plugin.graph import MOST, OLDER, Box, Drawing, Node, drawing, fitting, range_of
from airflow_kart.plugin.layout import Positions, layers, way
from airflow_kart.plugin.words import OUTCOMES

SVG = "{http://www.w3.org/2000/svg}"
TEMPLATES = Path(airflow_kart.__file__).parent / "plugin" / "templates"
ENVIRONMENT = Environment(
    loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)


def svg(drawn: Drawing) -> str:
    text = str(ENVIRONMENT.get_template("graph.html").module.graph(drawn, "Graph of a <run>"))  # type: ignore[attr-defined]
    found = re.search("<svg.*</svg>", text, re.DOTALL)
    assert found is not None
    return found[0].replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)


def box_of(drawn: Drawing, name: str) -> Box:
    return next(box for box in drawn.boxes if box.name == name)


def flagship() -> Drawing:
    """A report of two days, features of eight days, of which one is new."""
    days = [f"2013-02-{day}" for day in range(21, 29)]
    nodes, edges = [], []
    for day in days:
        raw, made = ("ran", "ran") if day == days[-1] else ("not_needed", OLDER if day == days[0] else "cached")
        nodes += [Node(f"raw_{day}", "p.Raw", raw, {"day": day}, f"/tasks/raw_{day}")]
        nodes += [Node(f"features_{day}", "p.Features", made, {"day": day}, f"/tasks/features_{day}")]
        edges += [(f"raw_{day}", f"features_{day}"), (f"features_{day}", "evaluation" if day == days[-1] else "training")]
    nodes += [Node("training", "p.Training", "ran", {"day": days[-1]}, "/tasks/training", "0.03 s")]
    nodes += [Node(name, f"p.{name.title()}", "ran", {}, f"/tasks/{name}") for name in ("model", "evaluation", "report")]
    edges += [("training", "model"), ("model", "evaluation"), ("evaluation", "report")]
    return drawing(nodes, edges, lambda cls: f"#{cls}")


def test_a_class_of_several_tasks_is_one_box_with_a_link_to_each() -> None:
    drawn = flagship()
    assert [box.name for box in drawn.boxes] == ["Raw", "Features", "Training", "Model", "Evaluation", "Report"]
    features = box_of(drawn, "Features")
    assert features.title == "Features, 8 tasks, day 02-21 … 02-28: 1 ran, 1 of older code, 6 cached"
    root = ET.fromstring(svg(drawn))
    links = [link.attrib["href"] for link in root.iter(f"{SVG}a")]
    assert [link for link in links if "features" in link] == [f"/tasks/features_2013-02-{day}" for day in range(21, 29)]
    assert "#p.Features" in links
    assert [text.text for text in root.iter(f"{SVG}text")][-2:] == ["Report", "ran"]
    assert [link.rpartition("/")[2] for link in links if link in ("/tasks/training", "/tasks/model")] == [
        "training",
        "model",
    ]


def test_the_main_line_is_straight_and_the_long_line_passes_beside_it() -> None:
    drawn = flagship()
    middles = {box.y + box.height / 2 for box in drawn.boxes}
    assert max(middles) - min(middles) <= 1
    long = [piece.split()[-1] for piece in drawn.wires["hot"].split("M") if "L" in piece]
    assert len(long) == 2, "through the layers of Training and Model"
    assert len(set(long)) == 1, "without a bend"
    layout_is_sound(drawn)


def test_wires_tell_what_ran_because_of_what_ran() -> None:
    nodes = [Node("a", "A", "ran"), Node("b", "B", "ran"), Node("c", "C", "cached"), Node("d", "D", "run")]
    drawn = drawing(nodes, [("a", "b"), ("a", "c"), ("c", "d"), ("c", "unknown")])
    assert {kind: path.count("M") for kind, path in drawn.wires.items()} == {"hot": 1, "": 1, "late": 1}
    assert {kind: path.count("M") for kind, path in drawn.tips.items()} == {"hot": 1, "": 1, "late": 1}


def thousand() -> tuple[list[Node], list[tuple[str, str]]]:
    classes = {
        "Sales": 180,
        "Prices": 60,
        "Weather": 180,
        "Clean": 180,
        "Features": 180,
        "Training": 60,
        "Model": 60,
        "Test": 90,
    }
    classes |= {"Calibration": 5, "Forecast": 3, "Report": 1, "Comparison": 1}
    upstream = {
        "Clean": ["Sales", "Prices"],
        "Features": ["Clean", "Weather"],
        "Training": ["Features"],
        "Model": ["Training"],
    }
    upstream |= {"Test": ["Model", "Features"], "Calibration": ["Test"], "Forecast": ["Calibration", "Model"]}
    upstream |= {"Report": ["Forecast", "Test"], "Comparison": ["Forecast", "Sales"]}
    chance = random.Random(1)
    nodes = [
        Node(
            f"{name}_{number}",
            f"shop.{name}",
            chance.choice([OLDER, *OUTCOMES]),
            {"number": str(number)},
            f"/tasks/{name}_{number}",
        )
        for name, count in classes.items()
        for number in range(count)
    ]
    edges = [
        (f"{other}_{number * classes[other] // classes[name]}", f"{name}_{number}")
        for name, others in upstream.items()
        for other in others
        for number in range(classes[name])
    ]
    return nodes, edges


def test_a_thousand_tasks_are_ten_kilobytes_and_fit_the_frame() -> None:
    nodes, edges = thousand()
    began = time.perf_counter()
    drawn = drawing(nodes, edges, lambda cls: f"#{cls}")
    text = svg(drawn)
    assert time.perf_counter() - began < 1
    assert len(nodes) == 1000
    assert len(text) < 16_000, "with all outcomes in most classes"
    assert (len(drawn.boxes), drawn.downwards, drawn.gathered) == (12, True, False)
    assert drawn.width < 980
    for box in drawn.boxes:
        assert sum(width for _, _, width in box.bar) <= box.width - 20
        assert all(width >= 3 for _, _, width in box.bar)


def layout_is_sound(drawn: Drawing) -> None:
    for box in drawn.boxes:
        assert box.x >= 0 and box.x + box.width <= drawn.width
        assert box.y >= 0 and box.y + box.height <= drawn.height
    for one, other in combinations(drawn.boxes, 2):
        apart = one.x + one.width <= other.x or other.x + other.width <= one.x
        assert apart or one.y + one.height <= other.y or other.y + other.height <= one.y, (one.name, other.name)
    for path in (*drawn.wires.values(), *drawn.tips.values()):
        assert re.fullmatch(r"[MCLclhvz0-9 .-]*", path)
    for path in drawn.wires.values():
        numbers = [float(number) for number in re.findall(r"-?\d+(?= )", re.sub("c[^M]*", "", path))]
        assert all(0 <= number <= max(drawn.width, drawn.height) for number in numbers)
    for piece in [piece for path in drawn.wires.values() for piece in path.split("M") if "L" in piece]:
        (x, y), (end_x, end_y) = (map(float, point.split()[-2:]) for point in piece.split("L"))
        for box in drawn.boxes:
            beside = max(x, end_x) <= box.x or min(x, end_x) >= box.x + box.width
            assert beside or max(y, end_y) <= box.y or min(y, end_y) >= box.y + box.height, "a lane crosses a box"


@given(
    st.integers(0, 90),
    st.lists(st.tuples(st.integers(0, 89), st.integers(0, 89)), max_size=200),
    st.integers(1, 3),
    st.booleans(),
)
def test_any_graph_is_drawn_without_overlap(count: int, pairs: list[tuple[int, int]], tasks: int, each: bool) -> None:
    """Circles, loops, islands, several tasks of a class: boxes lie apart, and lanes beside boxes."""
    nodes = [
        Node(f"{cls}.{number}", f"m.C{cls}", "ran", {"n": str(number)}) for cls in range(count) for number in range(tasks)
    ]
    drawn = drawing(nodes, [(f"{one}.0", f"{other}.{tasks - 1}") for one, other in pairs], each=each)
    assert len(drawn.boxes) <= MOST
    assert sorted(node.id for box in drawn.boxes for node in box.nodes) == sorted(node.id for node in nodes)
    layout_is_sound(drawn)
    ET.fromstring(svg(drawn))


@given(st.integers(1, 30), st.sets(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=80), st.integers(0, 4))
def test_layers_keep_upstream_first_and_their_size(count: int, pairs: set[tuple[int, int]], most: int) -> None:
    edges = {(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1] and max(pair) < count}
    layer = layers(count, edges, most)
    assert sorted(layer) == list(range(count))
    assert all(layer[one] < layer[other] for one, other in edges)
    assert set(layer.values()) == set(range(len(set(layer.values()))))
    if most:
        assert all(list(layer.values()).count(number) <= most for number in layer.values())
    found = Positions(layer, edges, dict.fromkeys(layer, 100.0), 10, 300).middle
    assert all(piece[1] in found for edge in edges for piece in way(layer, edge))


def test_a_source_stands_before_its_first_reader() -> None:
    assert layers(4, {(0, 1), (1, 2), (3, 2)}) == {0: 0, 1: 1, 2: 2, 3: 1}


def test_a_circle_of_classes_is_drawn_with_a_line_back() -> None:
    nodes = [Node(f"{cls}{day}", cls, "ran", {"day": str(day)}) for cls in "AB" for day in range(3)]
    edges = [(f"A{day}", f"B{day}") for day in range(3)] + [(f"B{day}", f"A{day + 1}") for day in range(2)] + [("A0", "A1")]
    drawn = drawing(nodes, edges)
    assert [box.name for box in drawn.boxes] == ["A", "B"]
    assert drawn.wires["hot"].count("M") == 2, "one between the classes, and a loop"
    assert drawn.tips["hot"].count("M") == 3, "to either side, and of the loop"


def test_few_tasks_can_be_drawn_each_by_itself() -> None:
    nodes = [Node(f"a{number}", "A", "ran", {"n": str(number)}, f"/{number}") for number in range(10, 0, -1)]
    assert len(drawing(nodes, []).boxes) == 1
    drawn = drawing(nodes, [], each=True)
    assert [(box.which, box.href) for box in drawn.boxes] == [(f"n={number}", f"/{number}") for number in range(1, 11)]


def test_many_classes_are_gathered_by_layers() -> None:
    nodes = [Node(f"{number}", f"m.C{number}", "failed" if number == 999 else "cached") for number in range(1000)]
    drawn = drawing(nodes, [(f"{number // 2}", f"{number}") for number in range(1, 1000)])
    assert drawn.gathered
    assert len(drawn.boxes) <= MOST
    assert len(svg(drawn)) < 20_000
    worst = drawn.boxes[-1]
    assert (worst.name, worst.title.partition(": ")[2]) == ("488 classes", "1 failed, 487 cached")
    chain = drawing(nodes, [(f"{number}", f"{number + 1}") for number in range(999)])
    assert len(chain.boxes) <= MOST
    assert sum(len(box.nodes) for box in chain.boxes) == 1000


def test_hostile_texts_stay_texts() -> None:
    evil = '"></text><script>alert(1)</script><a href="javascript:alert(2)">\u202e\x00'
    nodes = [Node(f"{evil}{number}", f"m.{evil}", "ran", {evil: evil}, "/tasks/x", evil) for number in range(2)]
    root = ET.fromstring(svg(drawing(nodes, [(nodes[0].id, nodes[1].id)])))
    kinds = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert kinds <= {"svg", "path", "a", "g", "title", "rect", "use", "text"}
    assert {link.attrib["href"] for link in root.iter(f"{SVG}a")} == {"/tasks/x"}
    assert not any(name.startswith("on") for element in root.iter() for name in element.attrib)
    shown = "".join(root.itertext())
    assert "<script>" in shown
    assert "\u202e" not in shown
    assert "\x00" not in shown


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([{"day": "2013-02-01"}, {"day": "2013-02-28"}], "day 02-01, 02-28"),
        ([{"day": f"2013-02-{day:02}"} for day in range(1, 20)], "day 02-01 … 02-19"),
        ([{"day": f"{year}-01-01"} for year in range(2013, 2019)], "day 2013-01-01 … 2018-01-01"),
        ([{"region": str(number)} for number in range(1, 61)], "region=1 … 60"),
        ([{"horizon": "28"}, {"horizon": "7"}, {"horizon": "1"}], "horizon=1, 7, 28"),
        ([{"fold": str(fold), "region": "x"} for fold in range(9)], "fold=0 … 8, region"),
        ([{"fold": "1", "region": "x"}], "fold=1, region=x"),
        ([{}], ""),
    ],
)
def test_a_box_says_which_tasks_it_holds(values: list[dict[str, str]], said: str) -> None:
    assert range_of([Node(str(number), "A", "ran", which) for number, which in enumerate(values)]) == said


def test_texts_are_cut_before_the_border() -> None:
    assert fitting("Features", 200) == "Features"
    assert fitting("W" * 100, 80) == "W" * 8 + "…"
    assert fitting("日" * 100, 80) == "日" * 5 + "…"
    assert fitting("a\u202eb\x07", 100) == "a\ufffdb\ufffd"
    assert fitting("x", 2) == "…"
