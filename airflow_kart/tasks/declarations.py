"""The declarations of a task class besides its parameters, checked when Python makes the class."""

from __future__ import annotations

import inspect
import re
import string
from collections.abc import Mapping

from airflow_kart.exceptions import ParameterError
from airflow_kart.identity.names import is_own
from airflow_kart.parameters.former import advice_for
from airflow_kart.tasks.model import Task

_FORMER = (
    "task_namespace",
    "retry_count",
    "worker_timeout",
    "fix_random_seed_methods",
    "fix_random_seed_value",
    "serialized_task_definition_check",
    "store_index_in_feather",
    "delete_unnecessary_output_files",
    "should_dump_supplementary_log_files",
    "cache_unique_id",
    "complete_check_at_run",
)
_FORMER_METHODS = ("make_unique_id", "load_data_frame", "get_task_log", "get_task_params", "get_processing_time")
_SWITCHES = (
    "assets_when_cached",
    "inline",
    "rerun",
    "strict_check",
    "modification_time_check",
    "fail_on_empty_dump",
    "reuse_equal_inputs",
)


def check_declarations(cls: type[Task]) -> None:
    """Check the class attributes of a :class:`~airflow_kart.tasks.task.TaskOnKart` subclass.

    Raises:
        ParameterError: one is of a wrong kind, or is one that nobody would ask.
    """
    for name in (*_FORMER, *_FORMER_METHODS):
        if name in vars(cls) and name not in cls.get_parameters():
            raise ParameterError(
                f"{cls.__qualname__}.{name} has no effect here; in its place: {advice_for(name)}",
                task=cls.__qualname__,
            )
    if "complete" in vars(cls) and not is_own(cls):
        raise ParameterError(
            f"{cls.__qualname__}.complete() would not be asked: what counts as complete is what the sidecars of output() say; "
            "make it an ExternalTask where others make the artifact, or set strict_check, modification_time_check or rerun"
        )
    _require(cls, "code_version", cls.code_version is None or isinstance(cls.code_version, str), 'a str, "auto", or None')
    for name in _SWITCHES:
        _require(cls, name, isinstance(getattr(cls, name), bool), "True or False")
    _require(cls, "column_types", _is_mapping_by_name(cls.column_types), "a dict of types by column name")
    named = isinstance(cls.assets, (list, tuple)) and all(
        one and (callable(one) or hasattr(one, "format") or hasattr(one, "uri")) for one in cls.assets
    )
    _require(cls, "assets", named, "a tuple of assets, texts, or functions of the task")
    public = {name for name, parameter in cls.get_parameters().items() if not parameter.is_private}
    for name in (field for text in cls.assets if isinstance(text, str) for field in _fields(text)):
        _require(
            cls, "assets", name in public | ASSET_FIELDS, f"fields of {sorted(public | ASSET_FIELDS)}, which lack {name!r}"
        )
    names = cls.seed_functions
    dotted = isinstance(names, tuple) and all(isinstance(name, str) and "." in name for name in names)
    _require(cls, "seed_functions", dotted, 'a tuple of dotted names, such as ("torch.manual_seed",)')
    value = cls.seed_value
    number = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32
    _require(cls, "seed_value", value is None or number, "an int from 0 to 2**32 - 1, or None")


ASSET_FIELDS = frozenset({"class_name", "dag_id", "unique_id"})
"""The fields that the text of an asset may have besides parameters."""


def public_values(task: Task) -> dict[str, object]:
    """Return the values of a task's parameters that are not private."""
    return {name: getattr(task, name) for name, parameter in task.get_parameters().items() if not parameter.is_private}


def _fields(text: str) -> list[str]:
    """Return the names of the fields in a text; a broken text is a field itself, which nobody knows."""
    try:
        return [re.split(r"[.\[]", name)[0] for _, name, _, _ in string.Formatter().parse(text) if name is not None]
    except ValueError:
        return [text]


def refuse_async(cls: type[Task]) -> None:
    """Refuse ``async def``: nothing would await the coroutine.

    Raises:
        ParameterError: a method of the class is async.
    """
    for name in ("requires", "output", "run"):
        method = getattr(cls, name, None)
        if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
            raise ParameterError(
                f"{cls.__qualname__}.{name}() is async, and nobody awaits it; write def {name}(self), and inside "
                "asyncio.run(...) for what is async",
                task=cls.__qualname__,
            )


def _is_mapping_by_name(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(name, str) for name in value)


def _require(cls: type[Task], name: str, holds: bool, wanted: str) -> None:
    if not holds:
        raise ParameterError(f"{cls.__qualname__}.{name} is {getattr(cls, name)!r}; give {wanted}")
