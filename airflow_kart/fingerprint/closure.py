"""The fingerprint of a class: a digest of its code and of all code of its project that it uses.

What counts: the class's body, bases and decorators, and every function, class and constant of its project that it
names, directly or through others; for these, every statement of their module that defines or changes them
(``TABLE["x"] = 1``), in whichever branch. A task class that stands only in ``requires()`` or in a class's body is an
upstream's, which counts by its own unique id. A module that is passed around as a whole counts whole.

The project: what lies in the same DAG bundle, or below the folder that holds the class's top-level package; not what is
installed (except the class's own package), nor Python's library. Other packages count by the names that are used of them.

What does not count: comments, layout, docstrings, the order of functions and imports, and where the files are.

Reading cannot see what is looked up by computed names, what a registry or an import's side effects provide, files of
data, or the versions of other packages.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from airflow_kart.exceptions import IdentityError
from airflow_kart.fingerprint.module import Definition, Module
from airflow_kart.fingerprint.project import Place, project_of, read_module
from airflow_kart.fingerprint.references import Import, Reference
from airflow_kart.identity import digest, encode

__all__ = ["fingerprint", "fingerprint_parts"]

_PART_DOMAIN = b"airflow-kart/code-part/1"
_DOMAIN = b"airflow-kart/code/1"
_TASK_CLASSES = frozenset({"airflow_kart.TaskOnKart", "airflow_kart.task.TaskOnKart"})


def fingerprint(cls: type) -> str:
    """Return the digest of a class's code as 32 hex digits.

    Raises:
        IdentityError: the class has no source file, is not found in it, or a file it uses cannot be read.
    """
    parts = _Closure(cls).parts
    return digest(_DOMAIN, [encode(parts)]).hex()


def fingerprint_parts(cls: type) -> dict[str, str]:
    """Return what a fingerprint is made of: the digest of each definition, 16 hex digits, by its logical name.

    Compare two of these to see what a change of the fingerprint comes from.

    Raises:
        IdentityError: as :func:`fingerprint`.
    """
    return {name: part.hex()[:16] for name, part in sorted(_Closure(cls).parts.items())}


@dataclass(frozen=True)
class _Named:
    """A name that a module of the project defines, or a module as a whole."""

    place: Place
    name: str | None
    attributes: tuple[str, ...] = ()
    """The attributes that are taken of it."""


class _Closure:
    """All definitions that a class's code leads to."""

    def __init__(self, cls: type) -> None:
        self._project, place = project_of(cls)
        self._modules: dict[str, Module] = {}
        self._of_tasks: dict[_Named, bool] = {}
        self.parts: dict[str, bytes] = {}
        start = _Named(place, cls.__qualname__.partition(".")[0])
        if self._project.logical_name(place.file or "") is None or self._definition(start) is None:
            raise IdentityError(
                f'{cls.__qualname__}.code_version is "auto", but {place.file} does not define {start.name}; '
                'give a text instead: code_version = "1"'
            )
        pending = [start]
        while pending:
            pending += self._add(pending.pop())

    def _add(self, found: _Named) -> Iterator[_Named]:
        """Add one definition, unless it is there already; return those that it leads to."""
        key = f"{self._project.logical_name(found.place.file or '')}.{found.name or '*'}"
        if key in self.parts:
            return
        definition = self._definition(found)
        code = definition.code if definition is not None else ()
        others: set[str] = set()
        for used, as_upstream in self._used(found, definition):
            if isinstance(used, str):
                others.add(used)
            elif not (as_upstream and not used.attributes and self._makes_tasks(used)):
                yield used
        self.parts[key] = digest(_PART_DOMAIN, [encode(code), encode(others)])

    def _used(self, found: _Named, definition: Definition | None) -> Iterator[tuple[_Named | str, bool]]:
        """Return what a definition uses, and whether that may be an upstream's class; of a module, all it defines."""
        if found.name is None:
            for name in self._module(found.place).names:
                yield from ((used, False) for used in self._in_module(found.place, (name,)))
        elif definition is not None:
            of_task = self._makes_tasks(found)
            for reference in definition.references:
                as_upstream = of_task and reference.as_upstream
                yield from ((used, as_upstream) for used in self._resolve(found.place, reference))

    def _module(self, place: Place) -> Module:
        file = place.file or ""
        if file not in self._modules:
            self._modules[file] = read_module(place)
        return self._modules[file]

    def _definition(self, found: _Named) -> Definition | None:
        return None if found.name is None else self._module(found.place).definition(found.name)

    def _makes_tasks(self, found: _Named) -> bool:
        """Whether a definition is a class below :class:`~airflow_kart.task.TaskOnKart`, as far as reading can tell."""
        key = _Named(found.place, found.name)
        if key not in self._of_tasks:
            self._of_tasks[key] = False  # for bases that lead back to it
            definition = self._definition(found)
            bases = definition.bases if definition is not None else ()
            self._of_tasks[key] = any(
                base in _TASK_CLASSES if isinstance(base, str) else self._makes_tasks(base)
                for reference in bases
                for base in self._resolve(found.place, reference)
            )
        return self._of_tasks[key]

    def _resolve(self, place: Place, reference: Reference) -> Iterator[_Named | str]:
        """Return what a reference leads to: names of the project, and dotted names of what lies outside."""
        if isinstance(reference.source, Import):
            return self._imported(place, reference.source, reference.attributes, frozenset())
        return self._in_module(place, (reference.source, *reference.attributes), frozenset())

    def _imported(self, place: Place, imported: Import, attributes: tuple[str, ...], seen: _Seen) -> Iterator[_Named | str]:
        names = (*([imported.name] if imported.name else []), *attributes)
        written = "." * imported.level + ".".join([*([imported.module] if imported.module else []), *names])
        found = self._project.find_import(place, imported.level, imported.module)
        while found is not None and found.file is None and names:  # a package without __init__.py
            found, names = self._project.find_below(found, names[:1]), names[1:]
        if found is None or found.file is None or self._project.logical_name(found.file) is None:
            yield written
        else:
            yield from self._in_module(found, names, seen)

    def _in_module(self, place: Place, names: tuple[str, ...], seen: _Seen = frozenset()) -> Iterator[_Named | str]:
        """Return what a chain of attributes of a module leads to."""
        if not names:
            yield _Named(place, None)
            return
        name, rest = names[0], names[1:]
        if (place, name) in seen:  # modules that import it from each other
            return
        seen |= {(place, name)}
        definition = self._module(place).definition(name)
        if definition is not None:
            targets = [found for target in definition.imports for found in self._imported(place, target, rest, seen)]
            yield from targets
            if definition.code and not (definition.only_changes and all(isinstance(found, str) for found in targets)):
                yield _Named(place, name, rest)
            return
        submodule = self._project.find_below(place, [name])
        if submodule is not None and submodule.file is not None:
            yield from self._in_module(submodule, rest, seen)
        else:
            yield from self._from_elsewhere(place, names, seen)

    def _from_elsewhere(self, place: Place, names: tuple[str, ...], seen: _Seen) -> Iterator[_Named | str]:
        """Return what a name leads to that a module gets from ``import *``, or makes up in ``__getattr__``."""
        found: list[_Named | str] = []
        for target in self._module(place).star_imports:
            found += self._imported(place, Import(target.level, target.module, None), names, seen)
        inside = [each for each in found if isinstance(each, _Named)]
        if inside or hasattr(builtins, names[0]):
            yield from inside
        else:
            yield from found
            if self._module(place).definition("__getattr__") is not None:
                yield _Named(place, "__getattr__", names)


_Seen: TypeAlias = "frozenset[tuple[Place, str]]"
