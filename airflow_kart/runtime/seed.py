"""Random numbers that are the same whenever, and in whichever process, the same task runs."""

from __future__ import annotations

import functools
import importlib.util
import platform
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from typing_extensions import Self

from airflow_kart.exceptions import ConfigurationError
from airflow_kart.tasks.model import Task, entropy_of, task_state

_STATES = {
    "random.seed": ("random.getstate", "random.setstate"),
    "numpy.random.seed": ("numpy.random.get_state", "numpy.random.set_state"),
    "torch.manual_seed": ("torch.random.get_rng_state", "torch.random.set_rng_state"),
}
"""How to keep, and how to put back, the state of the generators that a function seeds."""


def seed_of(task: Task) -> int:
    """Return the seed of a task's run: its class's ``seed_value``, or 32 bits of its content, as numpy's global generator takes.

    Equal content then means equal random numbers. Where an input has no checksum, the unique id stands for the content.
    """
    fixed = type(task).seed_value
    return int(entropy_of(task)[:8], 16) if fixed is None else fixed


class States:
    """The states of random generators, as they were before tasks seeded them; at the end of the block they are given back.

    To keep a state and to give it back takes as long as much else around a small task. So tasks one after the other share a
    block, and a generator gets its state back before a task that does not seed it.
    """

    def __init__(self) -> None:
        self._kept: dict[str, Callable[[], object]] = {}  # by function that seeds: gives the state back

    def keep(self, task: Task, name: str) -> None:
        """Keep the state of the generator that a function seeds, unless it is kept already."""
        if name in _STATES and name not in self._kept:
            keep, put_back = (_imported(task, each) for each in _STATES[name])
            self._kept[name] = functools.partial(put_back, keep())

    def give_back(self, except_for: Collection[str] = ()) -> None:
        """Give the states back, except to the generators that these functions seed."""
        for name in [name for name in self._kept if name not in except_for]:
            self._kept.pop(name)()

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """Give all states back."""
        self.give_back()


@contextmanager
def seeded(task: Task, states: States | None = None) -> Iterator[dict[str, Any]]:
    """Call the task's ``seed_functions`` with its seed, and let ``task.rng`` start anew.

    The generators of numpy and torch are seeded as soon as the block imports the library, if no code has done so before.
    Afterwards ``random``, ``numpy.random`` and torch's generator on the CPU get their states back; other libraries'
    generators do not. The block gets the part of a sidecar that records the seed, with the functions called so far.

    Args:
        task: the task.
        states: takes the states, for the tasks after this one too; by default they are given back at the end of this block.

    Raises:
        ConfigurationError: one of ``seed_functions`` cannot be imported, is no function, or refuses the seed. The block
            is not run then.
    """
    names = type(task).seed_functions
    called: dict[str, Any] = {"value": seed_of(task), "functions": [], "versions": {}}
    later = [
        name for name in names if name in _STATES and name.rpartition(".")[0] not in sys.modules and _is_installed(name)
    ]
    if states is not None:
        states.give_back(except_for=names)
    for name in names:
        if name not in later:
            _imported(task, name)
    with ExitStack() as afterwards:
        kept = afterwards.enter_context(States()) if states is None else states

        def seed(name: str) -> None:
            kept.keep(task, name)
            function, value = _imported(task, name), called["value"]
            try:
                function(value)
            except Exception as error:
                raise ConfigurationError(
                    f"{_owner(task)}.seed_functions: {name}({value}) failed: {type(error).__name__}: {error}; "
                    "name functions that take one int"
                ) from error
            called["functions"].append(name)
            called["versions"].update([_version(name)])

        for name in names:
            if name in later:
                afterwards.enter_context(_AtImport(name.rpartition(".")[0], functools.partial(seed, name)))
            else:
                seed(name)
        task_state(task).rng = None
        yield called


@functools.lru_cache(maxsize=8)
def _is_installed(name: str) -> bool:
    return importlib.util.find_spec(name.partition(".")[0]) is not None


@dataclass(frozen=True, eq=False)
class _AtImport:
    """While a block lasts, calls a function right after a module's import. Of nested blocks the outermost comes first."""

    module: str
    function: Callable[[], None]

    def __enter__(self) -> None:
        sys.meta_path.insert(0, self)

    def __exit__(self, *_exception: object) -> None:
        with suppress(ValueError):
            sys.meta_path.remove(self)

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the spec that the other finders find, with a loader that calls the function too."""
        if fullname != self.module or self not in sys.meta_path:
            return None
        others = sys.meta_path[sys.meta_path.index(self) + 1 :]
        spec = next((found for finder in others if (found := finder.find_spec(fullname, path, target)) is not None), None)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            if self in sys.meta_path:  # the block has not ended meanwhile
                self.function()

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _imported(task: Task, name: str) -> Callable[..., Any]:
    """Return the function of that dotted name."""
    module, _, attribute = name.rpartition(".")
    if callable(known := getattr(sys.modules.get(module), attribute, None)):
        return known  # type: ignore[no-any-return]
    module, *attributes = name.split(".")
    try:
        found: Any = importlib.import_module(module)
        for attribute in attributes:
            module = f"{module}.{attribute}"
            if not hasattr(found, attribute):
                importlib.import_module(module)
            found = getattr(found, attribute)
    except Exception as error:  # a library's import may raise anything
        raise ConfigurationError(
            f"{_owner(task)}.seed_functions names {name}, which cannot be imported: {error}; "
            "install the library, or take the name out"
        ) from error
    if not callable(found):
        raise ConfigurationError(f"{_owner(task)}.seed_functions names {name}, which is no function but {found!r}")
    return found  # type: ignore[no-any-return]  # callable says so


def _owner(task: Task) -> str:
    return type(task).__qualname__


def _version(name: str) -> tuple[str, str]:
    """Return a function's package and its version; for the standard library, Python's."""
    package = name.partition(".")[0]
    if package in sys.stdlib_module_names:
        return "python", platform.python_version()
    return package, str(getattr(sys.modules[package], "__version__", "unknown"))
