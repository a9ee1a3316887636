"""The names by which gokart and luigi call things that have another name here, for errors that say so."""

from __future__ import annotations

from typing import Final

_SWITCH = "set {name} = True on the class"
ATTRIBUTES: Final = {
    # Parameters of every task in gokart.
    "workspace_directory": "give build(), KartDag or a block `with Workspace(...)` the workspace",
    "local_temporary_directory": "set the environment variable TMPDIR",
    "rerun": "set rerun = True on the class, or give build(rerun=[...]) or kart_rerun the task's name",
    "strict_check": _SWITCH,
    "modification_time_check": _SWITCH,
    "fail_on_empty_dump": _SWITCH,
    "serialized_task_definition_check": 'set code_version = "auto" on the class',
    "fix_random_seed_methods": "set seed_functions on the class",
    "fix_random_seed_value": "set seed_value on the class",
    "redis_host": "set [kart] redis_conn_id",
    "redis_port": "set [kart] redis_conn_id",
    "redis_timeout": "set [kart] lock_time_to_live",
    "should_lock_run": "locks are on by default; [kart] lock chooses the kind",
    "complete_check_at_run": "the check is always on",
    "cache_unique_id": "a task computes its unique id once",
    "store_index_in_feather": "Feather files always keep the index",
    "should_dump_supplementary_log_files": "one sidecar holds all of them",
    "delete_unnecessary_output_files": "nothing deletes outputs yet",
    # Attributes and methods of tasks.
    "load_data_frame": "load(columns=[...])",
    "make_unique_id": "unique_id",
    "task_unique_id": "unique_id",
    "task_id": "unique_id",
    "get_info": "the sidecar, or repr()",
    "get_task_params": "task.parameters in the sidecar",
    "get_task_log": "task_log; after the run, task_log in the sidecar",
    "get_processing_time": "run.seconds in the sidecar",
    "get_code": 'code_version = "auto" on the class',
    "get_own_code": 'code_version = "auto" on the class',
    "param_kwargs": "get_parameters(), and the attributes",
    "to_str_params": "get_parameters(), and the attributes",
    "get_params": "get_parameters()",
    "deps": "requires()",
    "processor": "format=, such as CsvFormat(separator=';')",
    # Declarations of classes.
    "task_namespace": "nothing: the module's logical name tells classes of one name apart; [kart] namespace tells projects apart",
    "retry_count": 'operator_kwargs = {"retries": ...}',
    "worker_timeout": 'operator_kwargs = {"execution_timeout": ...}',
    "batch_method": "nothing: Airflow does not merge tasks",
}


def advice_for(name: str) -> str | None:
    """Return what to use in place of a name of gokart or luigi, or ``None`` for other names."""
    advice = ATTRIBUTES.get(name)
    return None if advice is None else advice.replace("{name}", name)
