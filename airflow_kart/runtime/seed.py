"""Random numbers that are the same whenever, and in whichever process, the same task runs."""

from __future__ import annotations

import importlib
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from airflow_kart.exceptions import ConfigurationError
from airflow_kart.tasks.model import Task, task_state

__all__ = ["seed_of", "seeded"]

_STATES = {
    "random.seed": ("random.getstate", "random.setstate"),
    "numpy.random.seed": ("numpy.random.get_state", "numpy.random.set_state"),
    "torch.manual_seed": ("torch.random.get_rng_state", "torch.random.set_rng_state"),
}
"""How to keep, and how to put back, the state of the generators that a function seeds."""


def seed_of(task: Task) -> int:
    """Return the seed of a task's run: its class's ``seed_value``, or the first 32 bits of its unique id.

    numpy's global generator takes 32 bits.
    """
    fixed = type(task).seed_value
    return int(task.unique_id[:8], 16) if fixed is None else fixed


@contextmanager
def seeded(task: Task) -> Iterator[dict[str, Any]]:
    """Call the task's ``seed_functions`` with its seed, and let ``task.rng`` start anew.

    Afterwards ``random``, ``numpy.random`` and torch's generator on the CPU get their states back; other libraries'
    generators do not. The block gets the part of a sidecar that records the seed.

    Raises:
        ConfigurationError: one of ``seed_functions`` cannot be imported, is no function, or refuses the seed. The block
            is not run then.
    """
    value = seed_of(task)
    names = type(task).seed_functions
    functions = [_imported(task, name) for name in names]
    with ExitStack() as afterwards:
        for name in names:
            if name in _STATES:
                keep, put_back = (_imported(task, each) for each in _STATES[name])
                afterwards.callback(put_back, keep())
        for name, function in zip(names, functions, strict=True):
            try:
                function(value)
            except Exception as error:
                raise ConfigurationError(
                    f"{_owner(task)}.seed_functions: {name}({value}) failed: {type(error).__name__}: {error}; "
                    "name functions that take one int"
                ) from error
        task_state(task).rng = None
        yield {"value": value, "functions": list(names), "versions": _versions(names)}


def _imported(task: Task, name: str) -> Callable[..., Any]:
    """Return the function of that dotted name."""
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


def _versions(names: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of the functions' packages; for the standard library, Python's version."""
    packages = dict.fromkeys(name.partition(".")[0] for name in names)
    return {"python" if package in sys.stdlib_module_names else package: _version(package) for package in packages}


def _version(package: str) -> str:
    if package in sys.stdlib_module_names:
        return platform.python_version()
    return str(getattr(sys.modules[package], "__version__", "unknown"))
