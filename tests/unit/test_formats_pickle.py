"""Pickles: what others wrote, and large columns."""

from __future__ import annotations

import base64
import io
import pickle
import random
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_formats import through

from airflow_kart.exceptions import FormatError
from airflow_kart.formats import PickleFormat
from airflow_kart.formats.pickle import dumps

# pandas.DataFrame({"a": [1.5, 2.5]}, index=pandas.Index([5, 7])), as pandas 1.5.3 pickles it, compressed.
OF_OLD_PANDAS = """
eNptUs9r1EAUzsaNxWX9UdEqCj2vl4hgxYNQcUWowQjey/CSzG5CJ5MwM6EuWNDDblt4N5//qyd1JsnqVnYGZl7yfsz3fe99Hf745Xvtwt0aZAY6TCvF
w5mCkhPeeAsG3rX2d3ryjc5ogkNWzhXh/mZ4IQ1XEoQOS5Aw50oTjt+IKj350H3bdNzrM5goEv0vhfA2a2RdpCeCs8TluOBRVggRMncS3mSp4mA4A6Vg
Yd0TvC+bsl50r5eNMEXnwjFTPK2kNqpJjSsUtIGEO/btPjvyljQdJHROk2hgt7+i/C4GmVnUjif6s5d0eXFOn6z/Gg5eURzH73/b1R6RZyi5nN7pZPt5
2N3D12QoNjYnH+OIiQoytq4XaFGknJbWGXnuRVc68t25pGNL5uFVLTP+meswAW07MGKSn7Ij98+Wyp9isLbbXmS2P5TfmuS7+T1HK9/rSVnzEfofrxD5
8h+RQ0fkmHAABD14HErX7LhZOSbP8PE2ZFZRrorUgjuS5sXzDUD5wRYsfoel2MCS72+VNOi09Hb6+6+k0w4QX7UQnbB2Nh339ZyykhtoxbB8AjDGTuAZ
4XU2EzBvzQcgRHWqWdbUthtumAQk3I7fhW6S8A8hqjCf
"""


def test_a_frame_of_old_pandas_loads() -> None:
    data = zlib.decompress(base64.b64decode(OF_OLD_PANDAS))
    with pytest.raises(ImportError):
        pickle.loads(data)
    loaded: Any = PickleFormat().load(io.BytesIO(data))
    pd.testing.assert_frame_equal(loaded, pd.DataFrame({"a": [1.5, 2.5]}, index=pd.Index([5, 7])), check_column_type=False)


OF_GOKART = """
import collections, dataclasses, functools, sys
import numpy as np
import pandas as pd
from gokart.file_processor import PickleFileProcessor

class Base:
    def name(self):
        return "base"

class Model(Base):
    kind = "tree"
    def __init__(self, factor):
        self.factor, self.scale = factor, lambda number: number * factor
        self.weights = np.arange(3.0)
    def predict(self, number):
        return self.scale(number) + self.weights.sum()
    def name(self):
        return super().name() + "+"

@dataclasses.dataclass
class Row:
    a: int

Point = collections.namedtuple("Point", "x y")

def adder(first):
    def add(second):
        return first + second
    return add

OBJECTS = {
    "frame": pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": pd.Categorical(["u", "v"])}, index=["k", "l"]),
    "lambda": lambda number: number + 1,
    "closure": adder(5),
    "partial": functools.partial(adder(2), 3),
    "model": Model(2),
    "class": Model,
    "row": Row(1),
    "point": Point(1, 2),
    "array": np.arange(4),
    "nested": {"a": [1, (2, None)], "b": {3}},
}
for name, obj in OBJECTS.items():
    with open(f"{name}.pkl", "wb") as file:
        PickleFileProcessor().dump(obj, file)
"""


def test_pickles_of_gokart_load(python: Any, tmp_path: Path) -> None:
    python(code=OF_GOKART)

    def load(name: str) -> Any:
        with open(tmp_path / f"{name}.pkl", "rb") as file:
            return PickleFormat().load(file)

    assert load("frame").equals(
        pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": pd.Categorical(["u", "v"])}, index=["k", "l"])
    )
    assert load("lambda")(1) == 2
    assert load("closure")(1) == 6
    assert load("partial")() == 5
    model = load("model")
    assert (model.predict(4), model.name(), model.kind) == (11.0, "base+", "tree")
    assert load("class").kind == "tree"
    assert load("row").a == 1
    assert load("point") == (1, 2)
    assert list(load("array")) == [0, 1, 2, 3]
    assert load("nested") == {"a": [1, (2, None)], "b": {3}}


def test_what_nobody_can_load_is_named() -> None:
    with pytest.raises(FormatError, match=r"does not have: No module named 'pandas\.nowhere'; install the packages"):
        PickleFormat().load(io.BytesIO(b"\x80\x05cpandas.nowhere\nThing\n."))


LARGE = 120_000


def columns() -> dict[str, Any]:
    texts = [f"{number:x}" for number in range(LARGE)]
    return {
        "texts": pd.Series([*texts[:-1], None], dtype=object),
        "others": pd.Series([str(number) for number in range(LARGE)], dtype=object),
        "mixed": pd.Series([*texts[:-2], 1.5, b"x"], dtype=object),
        "lists": pd.Series([[text] for text in texts], dtype=object),
        "few": pd.Series(["a", "b"] * (LARGE // 2), dtype=object),
        "str": pd.Series(texts, dtype="str"),
        "string": pd.Series([*texts[:-1], None], dtype="string"),
        "arrow": pd.Series(range(LARGE), dtype="int64[pyarrow]"),
        "float": pd.Series(np.arange(LARGE, dtype=float)),
    }


def test_large_columns_read_back() -> None:
    frame = pd.DataFrame(columns())
    pd.testing.assert_frame_equal(through(PickleFormat(), frame), frame)
    part = frame.iloc[10 : LARGE - 10]
    pd.testing.assert_frame_equal(through(PickleFormat(), part), part)
    assert len(dumps(frame.iloc[:10])) < 5_000_000  # the rest of the column is not written


def test_plain_pickle_reads_large_columns(python: Any, tmp_path: Path) -> None:
    (tmp_path / "frame.pkl").write_bytes(dumps(pd.DataFrame(columns())))
    python(
        code="""
import pickle, sys
frame = pickle.load(open("frame.pkl", "rb"))
assert frame["texts"][11] == "b" and frame["str"][11] == "b" and frame["arrow"].sum() == 7199940000, frame
assert not any(name.startswith("airflow_kart") for name in sys.modules)
"""
    )


@pytest.mark.parametrize("order", ["C", "F"])
def test_large_arrays_of_objects_read_back(order: Any) -> None:
    array = np.array([[f"{row}-{column}" for column in range(LARGE // 2)] for row in range(3)], dtype=object, order=order)
    loaded = through(PickleFormat(), {"one": array, "same": array, "strided": array[:, ::2]})
    assert loaded["one"].dtype == object
    assert (loaded["one"] == array).all()
    assert loaded["one"].flags.f_contiguous == array.flags.f_contiguous
    assert loaded["one"] is loaded["same"]
    assert (loaded["strided"] == array[:, ::2]).all()


def test_what_a_large_array_shares_stays_shared() -> None:
    shared = ["a"]
    array = np.empty(LARGE, dtype=object)
    array[:] = [(shared, number) for number in range(LARGE)]
    loaded = through(PickleFormat(), array)
    assert loaded[0][0] is loaded[-1][0]
    few = through(PickleFormat(), np.array(["x" * 1000, "y" * 1000] * LARGE, dtype=object))
    assert few[0] is few[2]


PEAK = """
import resource, sys
import numpy as np, pandas as pd, pyarrow
from airflow_kart.formats import format_for
from airflow_kart.storage import LocalStore
from airflow_kart.artifacts.target import Target
target = Target("a.pkl", format_for("a.pkl"), LocalStore())
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
if sys.argv[1] == "dump":
    rows = 2_000_000
    def texts():
        array = np.empty(rows, dtype=object)
        for number in range(rows):
            array[number] = f"{number:012d}"
        return array
    numbers = np.full((15, rows), 1.5)
    arrow = pd.arrays.ArrowStringArray(pyarrow.array(texts(), pyarrow.large_string()))
    frame = pd.concat([pd.DataFrame(numbers.T, copy=False), pd.DataFrame({"t": texts(), "a": arrow}, copy=False)], axis=1)
    before = peak()
    target.dump(frame)
    print(peak() - before)
else:
    before = peak()
    frame = target.load()
    print(peak() - before - frame.memory_usage(deep=True).sum() / 2**20)
"""


def test_a_frame_is_not_held_twice(python: Any, script: Any) -> None:
    path = script("peak.py", PEAK)
    assert float(python(path, "dump")) < 100  # megabytes; the frame has 400
    assert float(python(path, "load")) < 150


class Holder:
    def __init__(self, some: Any) -> None:
        self.some = some
        self.array = np.arange(5)
        self.itself = self


WORDS = [f"word {number}" for number in range(50)]
MADE = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import datetime as dt, hashlib
import numpy as np
import pandas as pd
from airflow_kart.formats.pickle import dumps
from test_formats_pickle import Holder, WORDS

day = dt.date(2024, 1, 1)
pairs = {{frozenset((word, number)) for number, word in enumerate(WORDS)}}
mixed = {{*WORDS, *range(50), None, 1.5, day, b"x", (1, "a"), (1, None), ("b", frozenset(WORDS))}}
for obj in [
    set(WORDS),
    frozenset(WORDS),
    {{"a": [set(WORDS)], "b": (frozenset(WORDS), 1)}},
    Holder({{"deep": [Holder(set(WORDS))]}}),
    [mixed, pairs],
    {{"frame": pd.DataFrame({{"a": [1.5]}}), "large": np.arange(1_000_000), "words": set(WORDS)}},
    set(map(str, range(100_000))),
]:
    print(hashlib.sha256(dumps(obj)).hexdigest())
"""


def test_equal_sets_are_equal_bytes_in_every_process(python: Any) -> None:
    found = [python(code=MADE, env={"PYTHONHASHSEED": seed}).split() for seed in ("0", "1", "2")]
    assert len(found[0]) == 7
    assert found[0] == found[1] == found[2]


ELEMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates() | st.datetimes(),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
)


@given(st.sets(ELEMENTS), st.randoms(use_true_random=False))
def test_sets_of_anything_read_back_and_equal_ones_are_equal_bytes(some: set[Any], dice: random.Random) -> None:
    shuffled = list(some)
    dice.shuffle(shuffled)
    again = set(shuffled)
    for obj, other in ((some, again), ([some], [again]), (frozenset(some), frozenset(again))):
        written = dumps(obj)
        loaded = pickle.loads(written)
        assert type(loaded) is type(obj)
        assert len(loaded) == len(obj)
        if "nan" not in repr(some):
            assert loaded == obj
            assert dumps(other) == written


def test_what_a_set_shares_stays_shared_and_what_holds_itself_does() -> None:
    some = {"a", "b"}
    loaded = pickle.loads(dumps([some, {"again": some}]))
    assert loaded[0] is loaded[1]["again"]
    held = Holder({"a"})
    held.some.add(held)
    copy = pickle.loads(dumps(held))
    assert copy.itself is copy
    assert copy in copy.some and "a" in copy.some


def test_subclasses_of_sets_and_deep_objects_are_written_in_their_own_way() -> None:
    deep: Any = {"a", "b"}
    for _ in range(400):
        deep = [deep]
    assert pickle.loads(dumps(deep)) == deep
    tagged = Tagged("ab")
    assert type(pickle.loads(dumps([tagged, {"a"}]))[0]) is Tagged


class Tagged(frozenset[str]):
    pass


def test_a_set_beside_large_arrays_costs_no_second_copy() -> None:
    array = np.zeros(8_000_000)
    buffer = Count()
    tracemalloc.start()
    try:
        PickleFormat().dump({"array": array, "read only": np.broadcast_to(array, array.shape), "words": set(WORDS)}, buffer)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert buffer.count > 2 * array.nbytes
    assert peak < array.nbytes // 2


class Count(io.RawIOBase):
    count = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self.count += memoryview(data).nbytes
        return memoryview(data).nbytes

    def restart(self) -> None:
        self.count = 0


OF_MAIN = """
import dataclasses, enum, sys
from pathlib import Path
from airflow_kart.formats.pickle import dumps

LIMITS = {"low", "high"}

def known(name):
    return name in {"a", "b", "c"} or name in LIMITS

class Kind(enum.Enum):
    A = "a"

class Base:
    names = frozenset({"x", "y", "z"})

class Model(Base):
    def __init__(self):
        self.words, self.kind = {"some", "more"}, Kind.A
    def knows(self, name):
        return known(name) and super().__init__ is not None

@dataclasses.dataclass
class Data:
    n: int = 1

for number, obj in enumerate([[Model(), Base()], Data(), Kind.A, known, {"call": known}]):
    Path(f"{sys.argv[1]}{number}").write_bytes(dumps(obj))
"""


def test_instances_of_classes_of_a_dag_file_are_equal_bytes_in_every_process(python: Any, tmp_path: Path) -> None:
    script = tmp_path / "pipeline.py"
    script.write_text(OF_MAIN)
    for seed in "01":
        python(script, tmp_path / f"{seed}-", env={"PYTHONHASHSEED": seed})
    for number in range(5):
        assert (tmp_path / f"0-{number}").read_bytes() == (tmp_path / f"1-{number}").read_bytes()
    (model, base), again = (pickle.loads((tmp_path / f"{seed}-0").read_bytes()) for seed in "01")
    assert isinstance(model, type(base))
    assert type(again[0]) is type(model)
    assert model.knows("low") and not model.knows("other")
    script.write_text(OF_MAIN.replace("super()", "self"))
    python(script, tmp_path / "2-", env={"PYTHONHASHSEED": "2"})
    edited, _ = pickle.loads((tmp_path / "2-0").read_bytes())
    assert type(edited) is not type(model)
