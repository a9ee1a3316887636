"""The definitions of a project as a graph: the code of each, and the definitions that each uses."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from airflow_kart.identity.code.module import Definition, Module
from airflow_kart.identity.code.project import Project, SourcePlace, read_module
from airflow_kart.identity.code.references import Import, Reference
from airflow_kart.identity.encoding import Identified, digest, encode
from airflow_kart.identity.lookup import find_class_named
from airflow_kart.identity.names import PACKAGE

_DOMAIN = b"airflow-kart/code-part/1"


class Named(NamedTuple):
    """A name that a module of the project defines, or a module as a whole."""

    place: SourcePlace
    name: str | None
    attributes: tuple[str, ...] = ()
    """The attributes after the name."""


class Part(NamedTuple):
    """The contribution of one definition to a fingerprint."""

    key: str
    """The logical name; the key of a whole module ends with ``.*``."""
    digest: bytes
    """The digest of the code, and of the used dotted names outside the project."""
    uses: tuple[Named, ...]
    members: tuple[tuple[str, bytes], ...] = ()
    """Of a class: the digests of its methods and attributes, by name. The digest of the code covers these too."""


_Seen: TypeAlias = "frozenset[tuple[SourcePlace, str]]"


class Definitions:
    """The parts of one project, each made on first use."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._modules: dict[SourcePlace, Module] = {}
        self._parts: dict[tuple[SourcePlace, str | None], Part] = {}
        self._of_tasks: dict[tuple[SourcePlace, str | None], bool] = {}

    def is_current(self) -> bool:
        """Whether all files read so far are unchanged."""
        return all(read_module(place) is module for place, module in list(self._modules.items()))

    def defines(self, found: Named) -> bool:
        """Whether the project defines a name."""
        return self._project.logical_name(found.place.file or "") is not None and self._definition(found) is not None

    def part(self, found: Named) -> Part:
        """Return the part of a definition."""
        key = (found.place, found.name)
        if key not in self._parts:
            self._parts[key] = self._make_part(found)
        return self._parts[key]

    def _make_part(self, found: Named) -> Part:
        definition = self._definition(found)
        inside: dict[Named, None] = {}
        outside: set[str] = set()
        for used, as_upstream in self._used(found, definition):
            if isinstance(used, str):
                outside.add(used)
            elif not (as_upstream and not used.attributes and self._makes_tasks(used)):
                inside[Named(used.place, used.name)] = None
        key = f"{self._project.logical_name(found.place.file or '')}.{found.name or '*'}"
        code = definition.code if definition is not None else ()
        members = definition.members if definition is not None else ()
        return Part(
            key,
            digest(_DOMAIN, [encode(key), encode(code), encode(outside)]),
            tuple(inside),
            tuple((name, digest(_DOMAIN, [encode(forms)])) for name, forms in members),
        )

    def _used(self, found: Named, definition: Definition | None) -> Iterator[tuple[Named | str, bool]]:
        """Return the names a definition uses, and whether each may be an upstream's class; of a module, all its names."""
        if found.name is None:
            for name in self._module(found.place).names:
                yield from ((used, False) for used in self._in_module(found.place, (name,)))
        elif definition is not None:
            of_task = self._makes_tasks(found)
            for reference in definition.references:
                as_upstream = of_task and reference.as_upstream
                yield from ((used, as_upstream) for used in self._resolve(found.place, reference))

    def _module(self, place: SourcePlace) -> Module:
        if place not in self._modules:
            self._modules[place] = read_module(place)
        return self._modules[place]

    def _definition(self, found: Named) -> Definition | None:
        return None if found.name is None else self._module(found.place).definition(found.name)

    def _makes_tasks(self, found: Named, seen: frozenset[tuple[SourcePlace, str | None]] = frozenset()) -> bool:
        """Whether the source shows a subclass of :class:`~airflow_kart.tasks.task.TaskOnKart`."""
        key = (found.place, found.name)
        if key not in self._of_tasks and key not in seen:
            definition = self._definition(found)
            self._of_tasks[key] = any(
                _is_task_class(base) if isinstance(base, str) else self._makes_tasks(base, seen | {key})
                for reference in (definition.bases if definition is not None else ())
                for base in self._resolve(found.place, reference)
            )
        return self._of_tasks.get(key, False)

    def _resolve(self, place: SourcePlace, reference: Reference) -> Iterator[Named | str]:
        """Return the targets of a reference: names of the project, and dotted names outside the project."""
        if isinstance(reference.source, Import):
            return self._imported(place, reference.source, reference.attributes, frozenset())
        return self._in_module(place, (reference.source, *reference.attributes), frozenset())

    def _imported(
        self, place: SourcePlace, imported: Import, attributes: tuple[str, ...], seen: _Seen
    ) -> Iterator[Named | str]:
        names = (*([imported.name] if imported.name else []), *attributes)
        written = "." * imported.level + ".".join([*([imported.module] if imported.module else []), *names])
        found = self._project.find_import(place, imported.level, imported.module)
        while found is not None and found.file is None and names:  # a package without __init__.py
            found, names = self._project.find_below(found, names[:1]), names[1:]
        if found is None or found.file is None or self._project.logical_name(found.file) is None:
            yield written
        else:
            yield from self._in_module(found, names, seen)

    def _in_module(self, place: SourcePlace, names: tuple[str, ...], seen: _Seen = frozenset()) -> Iterator[Named | str]:
        """Return the targets of a chain of attributes of a module."""
        if not names:
            yield Named(place, None)
            return
        name, rest = names[0], names[1:]
        again = (place, name) in seen  # modules that import it from each other, or `from . import name` in a package
        definition = None if again else self._module(place).definition(name)
        seen |= {(place, name)}
        if definition is not None:
            targets = [found for target in definition.imports for found in self._imported(place, target, rest, seen)]
            yield from targets
            if definition.code and not (definition.only_changes and all(isinstance(found, str) for found in targets)):
                yield Named(place, name, rest)
            return
        submodule = self._project.find_below(place, [name])
        if submodule is not None and submodule.file is not None:
            yield from self._in_module(submodule, rest, seen)
        elif not again:
            yield from self._from_elsewhere(place, names, seen)

    def _from_elsewhere(self, place: SourcePlace, names: tuple[str, ...], seen: _Seen) -> Iterator[Named | str]:
        """Return the targets of a name that comes from ``import *`` or from a module's ``__getattr__``."""
        found: list[Named | str] = []
        for target in self._module(place).star_imports:
            found += self._imported(place, Import(target.level, target.module, None), names, seen)
        inside = [each for each in found if isinstance(each, Named)]
        if inside or hasattr(builtins, names[0]):
            yield from inside
        else:
            yield from found
            if self._module(place).definition("__getattr__") is not None:
                yield Named(place, "__getattr__", names)


def _is_task_class(dotted: str) -> bool:
    """Whether a dotted name is the address of one of this package's task classes."""
    found = find_class_named(dotted) if dotted.startswith(f"{PACKAGE}.") else None
    return found is not None and issubclass(found, Identified)
