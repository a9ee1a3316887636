"""Random numbers: the same for the same task, in every process, and nobody else's are disturbed."""

from __future__ import annotations

import importlib
import json
import random
import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from airflow_kart import IntParameter, TaskOnKart, build
from airflow_kart.exceptions import ConfigurationError, ParameterError
from airflow_kart.runtime import seed as seed_module
from airflow_kart.runtime.runner import run_task
from airflow_kart.runtime.seed import seeded
from airflow_kart.tasks.content import content_of
from airflow_kart.tasks.model import task_state


@pytest.fixture(autouse=True)
def own_workspace(workspace: Path) -> Path:
    return workspace


def draw(task: TaskOnKart[Any]) -> list[float]:
    return [random.random(), float(np.random.random()), float(task.rng.random())]


class Draws(TaskOnKart[Any]):
    n: int = IntParameter(default=0)

    def run(self) -> None:
        self.dump(draw(self))


class Nested(TaskOnKart[Any]):
    def run(self) -> None:
        before = draw(self)
        inside = build(Draws(n=5), rerun=["Draws"])
        self.dump([before, inside, draw(self)])


class Unnested(TaskOnKart[Any]):
    def run(self) -> None:
        self.dump([draw(self), draw(self)])


def sidecar_of(task: TaskOnKart[Any]) -> Any:
    return json.loads(Path(f"{task.output().uri}.kart.json").read_text())


def with_functions(*names: str, value: int | None = None, run: Callable[[Any], None] | None = None) -> TaskOnKart[Any]:
    def dump_one(self: Any) -> None:
        self.dump(1)

    space = {"seed_functions": names, "seed_value": value, "run": run or dump_one, "__module__": __name__}
    made: TaskOnKart[Any] = type("Seeded", (TaskOnKart,), space)()
    return made


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """A library ``gambling.dice`` with a ``seed`` function; gives the seeds it got."""
    seeds: list[Any] = []
    package, dice = types.ModuleType("gambling"), types.ModuleType("gambling.dice")
    package.__dict__.update(__version__="7.1", __path__=[], broken=lambda: None, number=1)
    dice.__dict__.update(seed=seeds.append)
    monkeypatch.setitem(sys.modules, "gambling", package)
    monkeypatch.setitem(sys.modules, "gambling.dice", dice)
    package.dice = dice  # type: ignore[attr-defined]
    yield seeds


# The same numbers.

SCRIPT = """
import json, random, sys
import numpy as np
from airflow_kart import IntParameter, TaskOnKart, build
class Draws(TaskOnKart):
    n = IntParameter(default=0)
    def run(self):
        self.dump([random.random(), float(np.random.random()), float(self.rng.random())])
class Both(TaskOnKart):
    def requires(self):
        return [Draws(), Draws(n=1)]
    def run(self):
        self.dump(self.load())
if __name__ == "__main__":
    drawn = build(Both(), workspace_directory=sys.argv[1], workers=int(sys.argv[2]))
    print(json.dumps(drawn))
"""


def test_every_process_draws_the_same(python: Any, script: Any) -> None:
    file = script("draws.py", SCRIPT)
    ways = [(1, "0"), (1, "1"), (2, "2")]
    found = [python(file, f"ws{seed}", workers, env={"PYTHONHASHSEED": seed}).splitlines()[-1] for workers, seed in ways]
    assert len(set(found)) == 1
    one, other = json.loads(found[0])
    assert all(a != b for a, b in zip(one, other, strict=True))


def test_a_second_run_draws_the_same() -> None:
    task = Draws()
    run_task(task)
    first = task.output().load()
    draw(task)
    run_task(task, force=True)
    assert task.output().load() == first


def test_the_own_generator_is_seeded_with_the_whole_id() -> None:
    task = Draws()
    assert task.rng.random() == np.random.default_rng(int(task.unique_id, 16)).random()
    assert task.rng is task.rng
    assert Draws(n=1).rng.random() != np.random.default_rng(int(task.unique_id, 16)).random()


def test_the_own_generator_is_nobody_elses() -> None:
    expected = [float(Draws(n=n).rng.random()) for n in range(8)]
    found: dict[int, list[float]] = {}

    def run(n: int) -> None:
        task = Draws(n=n)
        found[n] = [float(task.rng.random()) for _ in range(1000)]

    threads = [threading.Thread(target=run, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[n][0] for n in range(8)] == expected
    again = Draws(n=3)
    assert found[3] == [float(again.rng.random()) for _ in range(1000)]


def test_a_task_that_runs_inside_another_disturbs_nothing() -> None:
    before, inside, after = build(Nested())
    assert inside == build(Draws(n=5))
    task = Nested()
    task_state(task).content = content_of(task, {})
    with seeded(task):
        assert [draw(task), draw(task)] == [before, after]


def test_a_task_runs_in_a_thread_as_elsewhere(tmp_path: Path) -> None:
    expected = build(Draws())
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(build(Draws(), workspace_directory=str(tmp_path / "other"))))
    thread.start()
    thread.join()
    assert found == [expected]


# Put back.


@pytest.mark.parametrize("fails", [False, True])
def test_generators_are_put_back(fails: bool) -> None:
    def run(self: Any) -> None:
        draw(self)
        if fails:
            raise ZeroDivisionError
        self.dump(1)

    task = with_functions("random.seed", "numpy.random.seed", run=run)
    random.seed(5)
    np.random.seed(5)
    expected = [random.random(), np.random.random()]
    random.seed(5)
    np.random.seed(5)
    if fails:
        with pytest.raises(ZeroDivisionError):
            run_task(task)
    else:
        run_task(task)
    assert [random.random(), np.random.random()] == expected


def test_torch_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in that keeps its state as torch does; torch itself is too large to test with."""
    torch, torch_random = types.ModuleType("torch"), types.ModuleType("torch.random")
    state = [42]
    torch.__dict__.update(manual_seed=lambda seed: state.__setitem__(0, seed), random=torch_random, __path__=[])
    torch_random.__dict__.update(get_rng_state=lambda: state[0], set_rng_state=lambda kept: state.__setitem__(0, kept))
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch.random", torch_random)
    task = with_functions("torch.manual_seed")
    with seeded(task):
        assert state == [int(task.unique_id[:8], 16)]
    assert state == [42]
    with pytest.raises(ZeroDivisionError), seeded(task):
        raise ZeroDivisionError
    assert state == [42]


def test_generators_are_put_back_where_a_function_fails(library: list[Any]) -> None:
    random.seed(5)
    expected = random.random()
    random.seed(5)
    with pytest.raises(ConfigurationError):
        run_task(with_functions("random.seed", "gambling.broken"))
    assert random.random() == expected


def test_what_is_not_named_is_not_seeded() -> None:
    np.random.seed(5)
    expected = [np.random.random(), np.random.random()]
    np.random.seed(5)
    with seeded(with_functions("random.seed")):
        assert np.random.random() == expected[0]
    assert np.random.random() == expected[1]


IMPORTS = """
import json, random, sys
from airflow_kart import IntParameter, TaskOnKart, build
if sys.argv[1] == "before":
    import numpy as np
    import numpy.random
class Draws(TaskOnKart):
    def run(self):
        import numpy as np
        self.dump([random.random(), float(np.random.random()), float(self.rng.random())])
class Outer(TaskOnKart):
    def run(self):
        inside = build(Draws(), rerun=["Draws"])
        import numpy as np
        self.dump([inside, random.random(), float(np.random.random())])
print(json.dumps([build(Outer(), workspace_directory="w"), build(Draws(), workspace_directory="v", rerun=["Draws"])]))
import numpy as np
from pathlib import Path
assert not [finder for finder in sys.meta_path if type(finder).__module__.startswith("airflow_kart")]
state = np.random.get_state()[1].tolist()
np.random.seed(int(Outer().unique_id[:8], 16))
assert np.random.get_state()[1].tolist() != state
seed, = [json.loads(path.read_text())["run"]["seed"] for path in Path("w").rglob("Outer*.kart.json")]
assert seed["functions"] == ["random.seed", "numpy.random.seed"] and seed["versions"]["numpy"] == np.__version__
"""


def test_numpy_is_seeded_when_a_run_imports_it(python: Any, script: Any, tmp_path: Path) -> None:
    file = script("imports.py", IMPORTS)
    found = [python(file, when, cwd=script(f"{when}/x", "").parent) for when in ("before", "within")]
    assert found[0] == found[1]


def test_numpy_is_not_imported_for_those_who_do_not_use_it(python: Any) -> None:
    code = """
import sys
from airflow_kart import *
class A(TaskOnKart):
    def output(self): return self.make_target("a.txt")
    def run(self): self.dump("1")
class B(A):
    seed_functions = ("random.seed",)
found = []
for task in (A(), B()):
    build(task, workspace_directory="w")
    with Workspace("w"):
        found += [*task.output().sidecar().content["run"]["seed"]["functions"], "numpy" in sys.modules]
print(found)
"""
    assert python(code=code).splitlines()[-1] == str(["random.seed", False] * 2)


@pytest.mark.parametrize("fails", [False, True])
def test_generators_imported_in_a_block_are_put_back(fails: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text(
        "state = [42]\ndef manual_seed(seed): state[0] = seed\nimport types, sys\n"
        "random = sys.modules['torch.random'] = types.ModuleType('torch.random')\n"
        "random.get_rng_state = lambda: state[0]\ndef put(kept): state[0] = kept\nrandom.set_rng_state = put\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    seed_module._is_installed.cache_clear()
    task = with_functions("torch.manual_seed", "random.seed")
    try:
        with pytest.raises(ZeroDivisionError) if fails else nullcontext(), seeded(task) as recorded:
            assert recorded["functions"] == ["random.seed"]
            torch: Any = importlib.import_module("torch")
            assert torch.state == [int(task.unique_id[:8], 16)]
            assert recorded["functions"] == ["random.seed", "torch.manual_seed"]
            if fails:
                raise ZeroDivisionError
        assert torch.state == [42]
    finally:
        seed_module._is_installed.cache_clear()
        for name in ("torch", "torch.random"):
            sys.modules.pop(name, None)


def seed_in_a_run(task: TaskOnKart[Any]) -> int:
    content = content_of(task, {})
    assert content is not None
    return int(content.hex()[:8], 16)


# What a class says.


def test_other_libraries_are_seeded(library: list[Any]) -> None:
    task = with_functions("gambling.dice.seed", "random.seed")
    run_task(task)
    assert library == [seed_in_a_run(task)]


def test_a_fixed_seed() -> None:
    class Fixed(Draws):
        seed_value: ClassVar[int | None] = 7

    expected = [random.Random(7).random(), np.random.RandomState(7).random(), np.random.default_rng(7).random()]
    assert build(Fixed()) == build(Fixed(n=1)) == expected
    assert sidecar_of(Fixed())["run"]["seed"]["value"] == 7


def test_a_parameter_may_be_named_seed() -> None:
    class Own(TaskOnKart[int]):
        seed: int = IntParameter(default=3)

    assert Own(seed=4).seed == 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_library.seed", "cannot be imported: No module named 'no_such_library'"),
        ("gambling.nothing", "cannot be imported: No module named 'gambling.nothing'"),
        ("gambling.dice.nothing", "cannot be imported: No module named"),
        ("gambling.number", "is no function but 1"),
        ("gambling.broken", r"gambling.broken\(\d+\) failed: TypeError"),
    ],
)
def test_a_wrong_name_stops_the_run_before_it_starts(name: str, message: str, library: list[Any]) -> None:
    started: list[Any] = []
    task = with_functions("random.seed", name, run=started.append)
    with pytest.raises(
        ConfigurationError, match=rf"^Seeded\.seed_functions.* {name}.*{message}|^Seeded\.seed_func.*{message}"
    ):
        run_task(task)
    assert started == []
    assert not task.complete()


@pytest.mark.parametrize("functions", ["random.seed", ["random.seed"], ("seed",), (1,), (random.seed,), None])
def test_wrong_seed_functions_are_an_error_of_the_class(functions: Any) -> None:
    with pytest.raises(ParameterError, match=r"Bad\.seed_functions is .*; give a tuple of dotted names"):
        type("Bad", (TaskOnKart,), {"seed_functions": functions})


@pytest.mark.parametrize("value", [-1, 2**32, 1.0, True, "1"])
def test_a_wrong_seed_is_an_error_of_the_class(value: Any) -> None:
    with pytest.raises(ParameterError, match=r"Bad\.seed_value is .*; give an int from 0 to"):
        type("Bad", (TaskOnKart,), {"seed_value": value})


@pytest.mark.parametrize("name", ["rng", "seed_functions", "seed_value"])
def test_a_parameter_cannot_have_these_names(name: str) -> None:
    with pytest.raises(ParameterError, match=rf"Bad\.{name}: .*choose another"):
        type("Bad", (TaskOnKart,), {name: IntParameter()})


def test_the_seed_is_recorded(library: list[Any]) -> None:
    task = with_functions("random.seed", "numpy.random.seed", "gambling.dice.seed")
    run_task(task)
    assert sidecar_of(task)["run"]["seed"] == {
        "value": seed_in_a_run(task),
        "functions": ["random.seed", "numpy.random.seed", "gambling.dice.seed"],
        "versions": {"python": ".".join(map(str, sys.version_info[:3])), "numpy": np.__version__, "gambling": "7.1"},
    }


class Seeded(TaskOnKart[int]):
    number: int = IntParameter()

    def run(self) -> None:
        self.dump(random.randrange(1000))


class Unseeded(TaskOnKart[list[float]]):
    seed_functions = ()
    upstream: int = IntParameter()

    def requires(self) -> list[TaskOnKart[int]]:
        return [Seeded(number=number) for number in range(self.upstream)]

    def run(self) -> None:
        self.dump([random.random(), np.random.random()])


@pytest.mark.parametrize("upstream", [0, 2])
def test_a_task_that_seeds_nothing_draws_on_from_the_caller_whatever_ran_before(workspace: Path, upstream: int) -> None:
    random.seed(upstream)
    np.random.seed(upstream)
    expected = [random.random(), np.random.random()]
    after = random.random()
    random.seed(upstream)
    np.random.seed(upstream)
    assert build(Unseeded(upstream=upstream)) == expected
    assert random.random() == after
