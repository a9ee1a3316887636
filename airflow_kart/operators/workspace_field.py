"""The workspace of a DAG, as its author gives it, as operators hold it, and as a run uses it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TypeAlias

from airflow_kart.exceptions import BindingError
from airflow_kart.identity.names import valid_namespace
from airflow_kart.locks import LOCK_KINDS
from airflow_kart.operators.blueprint import is_template
from airflow_kart.settings import below_airflow_home
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.changed_code import ON_CHANGED_CODE

WorkspaceField: TypeAlias = "Mapping[str, str | list[str]]"
"""The fields of a workspace that were given, as JSON. Airflow renders its templates and shows it in the UI."""


def given_workspace(workspace: object, workspace_directory: object) -> WorkspaceField | None:
    """Return the workspace that an author names in one of two ways; ``None`` where the author names none.

    Args:
        workspace: a path, a uri, or a :class:`~airflow_kart.Workspace`.
        workspace_directory: a path or a uri; the short form.

    Raises:
        BindingError: the author gives both, or neither a text nor a workspace, or a workspace with an unknown kind of locks.
    """
    if workspace is not None and workspace_directory is not None:
        raise BindingError(
            f"workspace is {workspace!r} and workspace_directory is {workspace_directory!r} (one of them perhaps from "
            "default_args); give one of them"
        )
    given = workspace_directory if workspace is None else workspace
    if given is None or isinstance(given, Mapping):  # a compiled DAG's
        return given
    if isinstance(given, Workspace):
        if given.lock and not is_template(given.lock) and given.lock.strip().lower() not in LOCK_KINDS:
            raise BindingError(
                f"lock is {given.lock!r}; use {', '.join(LOCK_KINDS[:-1])} or {LOCK_KINDS[-1]}", parameter="lock"
            )
        return with_changed_code(given.as_written(), given.on_changed_code)
    if isinstance(given, (str, os.PathLike)):
        return {"directory": os.fspath(given)} if os.fspath(given) else None
    name = "workspace_directory" if workspace is None else "workspace"
    raise BindingError(f"{name} is {given!r}; give a path, a uri, or a Workspace(...)")


def with_changed_code(field: WorkspaceField | None, on_changed_code: str | None) -> WorkspaceField | None:
    """Return a workspace that says what becomes of an artifact whose code has changed since.

    Raises:
        BindingError: the word is unknown.
    """
    if on_changed_code is None:
        return field
    if on_changed_code not in ON_CHANGED_CODE and not is_template(on_changed_code):
        words = f"{', '.join(ON_CHANGED_CODE[:-1])} or {ON_CHANGED_CODE[-1]}"
        raise BindingError(f"on_changed_code is {on_changed_code!r}; use {words}", parameter="on_changed_code")
    return {**(field or {"directory": ""}), "on_changed_code": on_changed_code}


def in_namespace(field: WorkspaceField | None, namespace: object) -> WorkspaceField | None:
    """Return a workspace with a namespace: the given workspace, else the configured one.

    Raises:
        BindingError: the namespace is no text, or the workspace has another one.
        ConfigurationError: the namespace is malformed.
    """
    if namespace is None:
        return field
    own = (field or {}).get("namespace", namespace)
    if not isinstance(namespace, str) or own != namespace:
        raise BindingError(
            f"namespace is {namespace!r}, and that of the workspace is {own!r}; give one text", parameter="namespace"
        )
    return {**(field or {"directory": ""}), "namespace": valid_namespace(namespace, "namespace")}


def workspace_to_compile_in(field: WorkspaceField | None) -> Workspace:
    """Return a workspace for the targets of sample tasks. Compiling looks nothing up there."""
    directory = None if field is None else str(field["directory"])
    namespace = None if field is None else field.get("namespace")
    if not directory or is_template(directory):
        return (
            Workspace.current() if namespace is None else Workspace(Workspace.current().directory, namespace=str(namespace))
        )
    return Workspace(below_airflow_home(directory), namespace=None if namespace is None else str(namespace))
