"""What a class of tasks says about itself, in attributes that are no parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeAlias


class NamedAsset(Protocol):
    """Airflow's ``Asset``, which this floor does not import."""

    name: str
    uri: str


Asset: TypeAlias = "str | NamedAsset | Callable[[Any], str | NamedAsset]"
"""An asset, its name or uri with fields such as ``{day}``, or a function of the task that returns one of these."""


class Flags:
    """The flags of a class of tasks, each with its default."""

    operator_kwargs: ClassVar[Mapping[str, Any]] = {}
    """Arguments for this class's Airflow operators: pool, retries, queue, executor_config, ..."""
    assets: ClassVar[Sequence[Asset]] = ()
    """The Airflow assets that an artifact of this class changes.

    Texts may have fields: public parameters, ``{class_name}``, ``{dag_id}``, ``{unique_id}``.
    """
    assets_when_cached: ClassVar[bool] = False
    """Whether the assets get their events also from a run that found the artifact."""
    code_version: ClassVar[str | None] = None
    """A version that counts in the unique id: another version makes this task and everything downstream run again.

    ``"auto"`` for a fingerprint of the code, as :mod:`airflow_kart.identity.code.closure` describes. Classes that say nothing of
    their own have that of ``[kart] code_version``.
    """
    inline: ClassVar[bool] = False
    """Whether the tasks have no operators in a compiled DAG: the operators downstream make and cache them."""
    rerun: ClassVar[bool] = False
    """Whether a run that needs the task always runs the task, and everything downstream, complete or not."""
    strict_check: ClassVar[bool] = False
    """Whether a task is complete only if its requirements are complete too."""
    modification_time_check: ClassVar[bool] = False
    """Whether a task is incomplete, too, if one of its inputs has changed since the task ran.

    Checksums decide; of a file without a checksum, such as an external one, the modification time does.
    """
    fail_on_empty_dump: ClassVar[bool] = False
    """Whether dumping a table without rows is an error."""
    column_types: ClassVar[Mapping[str, Any]] = {}
    """The types of columns, by name, in all dumped tables; the declarations of base classes count too."""
    seed_functions: ClassVar[tuple[str, ...]] = ("random.seed", "numpy.random.seed")
    """Dotted names of the functions to call with the seed before :meth:`run`, for example ``"torch.manual_seed"``.

    Those of numpy and torch are called when :meth:`run` imports the library, if no code has done so before.
    """
    seed_value: ClassVar[int | None] = None
    """The seed, below 2**32; by default a part of the unique id, so that other tasks draw other numbers.

    As with all code, another seed counts in the unique id only through :attr:`code_version`.
    """
