"""Classes of DAG files in pickles: executed twice, enums of all kinds, locks and other things that pickle has no form for."""

from __future__ import annotations

import importlib.util
import io
import sys
import textwrap
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from airflow_kart.exceptions import FormatError
from airflow_kart.formats import PickleFormat
from airflow_kart.formats.pickle import dumps

SHOP = """
from __future__ import annotations

import dataclasses
import enum
import threading
import weakref


@dataclasses.dataclass
class Point:
    x: int

    class Unit:
        def name(self):
            return "metre"


class Colour(enum.Enum):
    RED = 1
    ROT = 1
    BLUE = 2


class Rights(enum.IntFlag):
    READ = 4
    WRITE = 2
    BOTH = 6


class State(enum.Flag):
    NONE = 0
    OPEN = 1


class Planet(enum.Enum):
    EARTH = (5.97, 6378)
    TERRA = (5.97, 6378)
    MARS = (0.64, 3397)

    def __init__(self, mass, radius):
        self.mass = mass

    @property
    def heavy(self):
        return self.mass > 1


class Size(str, enum.Enum):
    def __new__(cls, value, label):
        made = str.__new__(cls, value)
        made._value_ = value
        made.label = label
        return made

    SMALL = ("s", "small")


class Node:
    def __init__(self, parent):
        self.parent = parent


Node.root = Point
Point.node = Node
LOCK = threading.RLock()
SEEN = weakref.WeakValueDictionary()


class Guarded:
    lock = threading.Lock()
    known = weakref.WeakSet()

    def get(self):
        with LOCK, self.lock:
            return len(SEEN) + len(self.known) + 1


class Journal:
    entries = (line for line in ())

    def __init__(self):
        self.lines = 3


def load(data):
    from airflow_kart.formats import PickleFormat
    import io

    return PickleFormat().load(io.BytesIO(data))


def dumped(value):
    from airflow_kart.formats.pickle import dumps

    return dumps(value)
"""
NAME = f"unusual_prefix_{'c' * 40}_shop"


@pytest.fixture
def execute(tmp_path: Path) -> Iterator[Callable[[], ModuleType]]:
    """Execute a DAG file as Airflow does, each time under the same name."""
    path = tmp_path / "shop.py"
    path.write_text(SHOP)

    def run() -> ModuleType:
        spec = importlib.util.spec_from_file_location(NAME, path)
        assert spec is not None and spec.loader is not None
        module = sys.modules[NAME] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    yield run
    del sys.modules[NAME]


ELSEWHERE = f"""
import importlib.util, io, sys
from airflow_kart.formats import PickleFormat

module = None
if sys.argv[1] == "loaded":
    spec = importlib.util.spec_from_file_location({NAME!r}, "shop.py")
    module = sys.modules[{NAME!r}] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
found = PickleFormat().load(open("shop.pkl", "rb"))
"""


def test_a_class_of_the_first_execution_keeps_its_name(execute: Any, python: Any, tmp_path: Path) -> None:
    first, second = execute(), execute()
    value = [first.Point(1), first.Colour.BLUE, first.Point.Unit(), first.Node(None), first.Planet.MARS]
    (tmp_path / "shop.pkl").write_bytes(dumps(value))
    check = """
assert found[0] == module.Point(1) and found[1] is module.Colour.BLUE and isinstance(found[2], module.Point.Unit)
assert isinstance(found[3], module.Node) and found[4] is module.Planet.MARS
"""
    python("loaded", code=ELSEWHERE + check)
    loaded: Any = PickleFormat().load(io.BytesIO((tmp_path / "shop.pkl").read_bytes()))
    assert isinstance(loaded[0], second.Point)


def test_code_of_the_first_execution_gets_its_own_classes(execute: Any) -> None:
    first, second = execute(), execute()
    assert isinstance(first.load(dumps(second.Point(1))), first.Point)
    assert isinstance(second.load(dumps(first.Point(1))), second.Point)
    assert first.load(first.dumped(first.Colour.ROT)) is first.Colour.RED


def test_a_file_changed_between_two_executions(execute: Any, tmp_path: Path) -> None:
    first = execute()
    (tmp_path / "shop.py").write_text(SHOP.replace("metre", "foot").replace("    x: int", "    x: int\n    y: int = 0"))
    second = execute()
    assert isinstance(first.load(first.dumped(first.Point(1))), first.Point)
    assert not isinstance(second.load(dumps(first.Point(1))), second.Point)  # another class, as its lines are others


def test_another_class_of_the_same_name_is_not_taken_for_it(execute: Any) -> None:
    module = execute()
    other = type("Point", (), {"__module__": NAME, "other": lambda self: 1})
    assert not isinstance(module.load(dumps(other())), module.Point)


@pytest.mark.parametrize(
    ("member", "check"),
    [
        ("Colour.ROT", "found.name == 'RED' and type(found).ROT is found and [*type(found)] == [found, type(found).BLUE]"),
        (
            "Rights.READ",
            "type(found).BOTH == 6 and found | type(found).WRITE is type(found).BOTH and found in type(found).BOTH",
        ),
        ("Rights.BOTH", "found.name == 'BOTH' and found == 6"),
        ("State.OPEN", "type(found).NONE.value == 0 and found & type(found).NONE is type(found).NONE"),
        ("State.NONE", "not found and found.name == 'NONE'"),
        ("Planet.TERRA", "found.mass == 5.97 and found.heavy and type(found).TERRA is type(found).EARTH"),
        ("Planet.MARS", "not found.heavy and type(found)((0.64, 3397)) is found"),
        ("Size.SMALL", "found == 's' and found.label == 'small' and type(found)('s') is found"),
        ("Guarded()", "found.get() == 1 and not found.lock.locked()"),
    ],
)
def test_classes_by_value(execute: Any, python: Any, tmp_path: Path, member: str, check: str) -> None:
    module = execute()
    data = dumps(eval(member, vars(module)))
    (tmp_path / "shop.pkl").write_bytes(data)
    python("alone", code=f"{ELSEWHERE}\nassert {check}, (found, vars(found))")
    python("loaded", code=f"{ELSEWHERE}\nassert isinstance(found, module.{member.partition('.')[0].rstrip('()')})")
    assert type(module.load(data)) is getattr(module, member.partition(".")[0].rstrip("()"))


def test_a_class_that_no_pickle_can_hold_is_loaded_with_its_file(execute: Any, python: Any, tmp_path: Path) -> None:
    module = execute()
    (tmp_path / "shop.pkl").write_bytes(dumps(module.Journal()))
    python("loaded", code=f"{ELSEWHERE}\nassert isinstance(found, module.Journal) and found.lines == 3")
    alone = f"try:{textwrap.indent(ELSEWHERE, '    ')}\nexcept FormatError as error:\n    print(error)"
    assert "the class Journal of" in python("alone", code=f"from airflow_kart.exceptions import FormatError\n{alone}")


def test_classes_of_main_that_only_dill_writes(python: Any, script: Any) -> None:
    path = script(
        "main.py",
        """
import io, weakref
from airflow_kart.formats import PickleFormat
from airflow_kart.formats.pickle import dumps

class Entry:
    pass

class Journal:
    refs = [weakref.ref(Entry)]
    def lines(self):
        return 3

loaded = PickleFormat().load(io.BytesIO(dumps(Journal())))
assert type(loaded) is Journal and loaded.lines() == 3
""",
    )
    python(path)


class Pool:
    """An object with locks, held or not, and with weak references."""

    def __init__(self) -> None:
        self.lock, self.again, self.ready = threading.Lock(), threading.RLock(), threading.Event()
        self.changed = threading.Condition(self.lock)
        self.items = [Item()]
        self.weak = weakref.WeakSet(self.items)
        self.by_name = weakref.WeakValueDictionary({"one": self.items[0]})
        self.by_item = weakref.WeakKeyDictionary({self.items[0]: 1})


class Item:
    pass


def test_locks_come_back_free_and_weak_references_lead_to_what_is_in_the_pickle() -> None:
    pool = Pool()
    with pool.lock, pool.again:
        found: Any = PickleFormat().load(io.BytesIO(dumps(pool)))
    assert found.lock.acquire(blocking=False) and found.again.acquire(blocking=False)
    assert found.changed._lock is found.lock and not found.ready.is_set()
    assert list(found.weak) == found.items and found.by_name["one"] is found.items[0]
    assert found.by_item[found.items[0]] == 1
    with pytest.raises(FormatError, match="cannot be pickled"):
        dumps({"rest": (number for number in [1])})
