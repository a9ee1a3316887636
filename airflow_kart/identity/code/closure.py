"""The fingerprint of a class: a digest of its code and of all code of its project that it uses.

What counts: the class's body, bases and decorators, and every function, class and constant of its project that it
names, directly or through others; for these, every statement of their module that defines or changes them
(``TABLE["x"] = 1``), in whichever branch. A task class that stands only in ``requires()`` or in a class's body is an
upstream's, which counts by its own unique id. A module that is passed around as a whole counts whole.

The project: what lies in the same DAG bundle, or below the folder that holds the class's top-level package; not what is
installed (except the class's own package), nor Python's library. Other packages count by the names that are used of them.

What does not count: comments, layout, docstrings, annotations that nothing reads, a class's ``operator_kwargs``, the order
of functions and imports, and where the files are.

Reading cannot see what is looked up by computed names, what a registry or an import's side effects provide, what another
module changes that is not used itself, files of data, or the versions of other packages.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from airflow_kart.exceptions import IdentityError
from airflow_kart.identity.code.project import Project, project_of
from airflow_kart.identity.code.survey import Named, Part, Survey
from airflow_kart.identity.encoding import digest

__all__ = ["fingerprint", "fingerprint_parts"]

_DOMAIN = b"airflow-kart/code/1"


def fingerprint(cls: type) -> str:
    """Return the digest of a class's code as 32 hex digits.

    Raises:
        IdentityError: the class has no source file, is not found in it, or a file it uses cannot be read.
    """
    return digest(_DOMAIN, sorted(part.digest for part in _parts(cls))).hex()


def fingerprint_parts(cls: type) -> dict[str, str]:
    """Return what a fingerprint is made of: the digest of each definition, 16 hex digits, by its logical name.

    Compare two of these to see what a change of the fingerprint comes from.

    Raises:
        IdentityError: as :func:`fingerprint`.
    """
    return {part.key: part.digest.hex()[:16] for part in sorted(_parts(cls), key=lambda part: part.key)}


def _parts(cls: type) -> Iterable[Part]:
    """Return all definitions that a class's code leads to."""
    project, place = project_of(cls)
    survey = _survey_of(project)
    start = Named(place, cls.__qualname__.partition(".")[0])
    if not survey.defines(start):
        raise IdentityError(
            f'{cls.__qualname__}.code_version is "auto", but {place.file} does not define {start.name}; '
            'give a text instead: code_version = "1"'
        )
    found: dict[str, Part] = {}
    pending = [start]
    while pending:
        part = survey.part(pending.pop())
        if part.key not in found:
            found[part.key] = part
            pending += part.uses
    return found.values()


_surveys: dict[Project, tuple[list[str], Survey]] = {}


def _survey_of(project: Project) -> Survey:
    """Return what is known of a project, as long as its files and the way to find others are as they were."""
    search_path, survey = _surveys.get(project, (None, None))
    if survey is None or search_path != sys.path or not survey.is_current():
        survey = Survey(project)
        _surveys[project] = (list(sys.path), survey)
    return survey
