"""How a path in ``output()`` becomes a target: its format, its name, its workspace, and the checks of its task's class."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

from airflow_kart.artifacts.checks import Checks, Schema, require_schema, schema_in
from airflow_kart.artifacts.sidecar.document import SIDECAR_SUFFIX
from airflow_kart.artifacts.target import Target
from airflow_kart.exceptions import ConfigurationError, TargetError, TargetPathError
from airflow_kart.formats import Format, TableKind, format_for, of_kind, split_extension, table_kind_of
from airflow_kart.identity.names import module_name_in_namespace
from airflow_kart.parameters.former import advice_for
from airflow_kart.storage import Store, join_uri
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.model import Task, kind_of
from airflow_kart.tasks.provenance import TaskOwner
from airflow_kart.tasks.resolution import require_usable
from airflow_kart.tasks.type_argument import type_argument

Located = Sequence[tuple[str, Store]]


def make_target(
    task: Task,
    path: str | None,
    *,
    extension: str,
    use_unique_id: bool,
    target_format: Format | None,
    schema: object,
    generic: type,
    locate: Callable[[str], Located],
) -> Target:
    """Return a target of a task.

    Args:
        task: the task.
        path: relative to the workspace; by default ``<module>/<Class>`` with the extension.
        extension: of the default path.
        use_unique_id: whether the file's name contains the unique id.
        target_format: by default the format of the path's extension.
        schema: a pandera schema or model; by default the schema of the class's type argument.
        generic: the generic class whose type argument is the type of the dumped object.
        locate: returns the uris of a path, each with its store: first the one to write to, then others to read.

    Raises:
        TargetError: the path leaves the workspace, has no format, or the schema is none.
    """
    cls = type(task)
    require_usable(task)
    if path is None:
        path = f"{module_name_in_namespace(cls.__module__).replace('.', '/')}/{cls.__name__}{extension}"
    try:
        given_schema = require_schema(schema)
        if path.lower().endswith(SIDECAR_SUFFIX):
            raise TargetPathError(f"{path!r}: names that end with {SIDECAR_SUFFIX} are those of sidecars")
        kind, typed_schema = _what_is_dumped(cls, generic)
        target_format = target_format or format_for(path)
        if kind is not None:
            target_format = of_kind(target_format, kind)
        if use_unique_id:
            stem, extension = split_extension(path)
            path = f"{stem}_{task.unique_id}{extension}"
        (uri, store), *others = locate(path)
    except (TargetError, ConfigurationError) as error:
        error.add_context(f"{cls.__qualname__}.output()", task=cls.__qualname__)
        raise
    checks = Checks(cls.fail_on_empty_dump, _column_types(cls), given_schema or typed_schema)
    target_class, owner = kind_of(cls).target_class, TaskOwner(task)
    found = tuple(target_class(other, target_format, its, owner=owner, checks=checks) for other, its in others)
    return target_class(uri, target_format, store, owner=owner, checks=checks, others=found)


def in_workspaces(workspace: Workspace, path: str) -> Located:
    """Return the uris of a path in a workspace and in its ``read_from`` workspaces, each with its store."""
    directories = (workspace.directory, *workspace.others)
    return [(join_uri(directory, path), workspace.store_of(directory)) for directory in directories]


def refuse_unknown_options(cls: type[Task], unknown: Mapping[str, object]) -> None:
    """Refuse options that ``make_target`` does not take; of gokart's, say what stands in their place.

    Raises:
        TargetError: there are such options.
    """
    for name in sorted(unknown):
        advice = advice_for(name)
        hint = f"in its place: {advice}" if advice else "it takes format and schema"
        raise TargetError(f"{cls.__qualname__}: make_target() takes no option {name}; {hint}", task=cls.__qualname__)


def require_zip(cls: type[Task], path: str) -> None:
    """Refuse the path of an archive that does not end with ``.zip``.

    Raises:
        TargetPathError: the path ends otherwise.
    """
    if not path.lower().endswith(".zip"):
        name = cls.__qualname__
        raise TargetPathError(f"{name}.output(): {path!r} is to be a zip archive; let it end with .zip", task=name)


def _column_types(cls: type[Task]) -> dict[str, object]:
    """Return the column types that the class and its bases declare; the nearest declaration of a column wins."""
    declared = [vars(base).get("column_types", {}) for base in reversed(cls.__mro__)]
    return {name: wanted for types in declared for name, wanted in types.items()}


@functools.lru_cache(maxsize=1024)
def _what_is_dumped(cls: type, generic: type) -> tuple[TableKind | None, Schema | None]:
    """Return the library of a class's tables, and their schema, as the type argument says."""
    dumped = type_argument(cls, generic)
    return table_kind_of(dumped), schema_in(dumped)
