"""The fingerprint of a class: a digest of the class's code and of the project's code that the class uses.

These count: the class's body, bases and decorators, and every function, class and constant of the project that the
class names, directly or through others. Of each, every statement of its module counts that defines or changes the name
(``TABLE["x"] = 1``), in every branch. A task class that stands only in ``requires()`` or in a class's body is an
upstream, and counts by its own unique id. A module that the code passes around counts as a whole.

The project is the DAG bundle, or the folder that holds the class's top-level package. Installed packages (except the
class's own) and Python's library are outside. Of code outside the project, only the used names count.

These do not count: comments, layout, docstrings, annotations that nothing reads, a class's ``operator_kwargs``, the order
of functions and imports, and the location of the files.

The fingerprint reads source code, and so cannot see names computed at run time, registries, side effects of imports,
changes by a module that the class does not use, data files, or the versions of other packages.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import cast

from airflow_kart.exceptions import IdentityError
from airflow_kart.identity.code.definitions import Definitions, Named, Part
from airflow_kart.identity.code.project import Project, project_of
from airflow_kart.identity.encoding import digest
from airflow_kart.identity.names import is_own
from airflow_kart.settings import kart_choice

_DOMAIN = b"airflow-kart/code/1"


AUTO = "auto"
"""The version of code that is its fingerprint."""


def code_version_of(cls: type) -> str | None:
    """Return a class's version of its code; of a class that says nothing of its own, ``[kart] code_version``.

    Raises:
        ConfigurationError: the option is neither ``auto`` nor ``none``.
    """
    first = next((base for base in cls.__mro__ if "code_version" in vars(base)), None)
    if first is not None and not is_own(first):
        return cast("str | None", vars(first)["code_version"])
    return AUTO if kart_choice("code_version", ("none", AUTO)) == AUTO else None


def fingerprint(cls: type) -> str:
    """Return the digest of a class's code as 32 hex digits.

    Raises:
        IdentityError: the class has no source file, the file does not define the class, or a used file is unreadable.
    """
    return digest(_DOMAIN, sorted(part.digest for part in _parts(cls))).hex()


def fingerprint_parts(cls: type) -> dict[str, str]:
    """Return the parts of a fingerprint: the digest of each definition, 16 hex digits, by logical name.

    Of a class, there is also the digest of each method and attribute. :func:`changed_parts` compares two results.

    Raises:
        IdentityError: as :func:`fingerprint`.
    """
    found: dict[str, str] = {}
    for part in sorted(_parts(cls), key=lambda part: part.key):
        found[part.key] = part.digest.hex()[:16]
        found |= {f"{part.key}.{name}": member.hex()[:16] for name, member in part.members}
    return found


def changed_parts(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[list[str], int]:
    """Return which parts of a class's code differ, and the number of all parts.

    A class counts as its methods and attributes, unless the rest of the class differs: its bases, its decorators, or what
    it uses from outside the project.

    Args:
        before: from :func:`fingerprint_parts`.
        now: from :func:`fingerprint_parts`, of the same class at another time.
    """
    names = before.keys() | now.keys()
    with_members = {name.rpartition(".")[0] for name in names} & names
    differing = {name for name in names if before.get(name) != now.get(name)}
    explained = {name.rpartition(".")[0] for name in differing} & with_members
    changed = differing - explained
    return sorted(changed), len((names - with_members) | changed)


def _parts(cls: type) -> Iterable[Part]:
    """Return all definitions that a class's code uses, directly or through others."""
    project, place = project_of(cls)
    definitions = _definitions_of(project)
    start = Named(place, cls.__qualname__.partition(".")[0])
    if not definitions.defines(start):
        raise IdentityError(
            f'{cls.__qualname__}.code_version is "auto", but {place.file} does not define {start.name}; '
            'give a text instead: code_version = "1"',
            task=cls.__qualname__,
        )
    found: dict[str, Part] = {}
    pending = [start]
    while pending:
        part = definitions.part(pending.pop())
        if part.key not in found:
            found[part.key] = part
            pending += part.uses
    return found.values()


_known_definitions: dict[Project, tuple[list[str], Definitions]] = {}


def _definitions_of(project: Project) -> Definitions:
    """Return the project's definitions: the known ones while its files and ``sys.path`` stay the same."""
    search_path, definitions = _known_definitions.get(project, (None, None))
    if definitions is None or search_path != sys.path or not definitions.is_current():
        definitions = Definitions(project)
        _known_definitions[project] = (list(sys.path), definitions)
    return definitions
