"""A task as the rest of the package sees one, and the state of each task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, cast

from typing_extensions import TypeIs

from airflow_kart.artifacts.target import Target
from airflow_kart.identity.encoding import Identified
from airflow_kart.parameters import Parameter
from airflow_kart.parameters.parametrized import Parametrized, State, state_of
from airflow_kart.tasks.flags import Asset
from airflow_kart.tasks.nesting import KeyPath

if TYPE_CHECKING:
    import numpy as np


class Task(Protocol):
    """A step of a pipeline: its inputs, its outputs, how to make these, and the flags of its class.

    :class:`~airflow_kart.TaskOnKart` is the class that pipelines are written with.
    """

    operator_kwargs: ClassVar[Mapping[str, Any]]
    assets: ClassVar[Sequence[Asset]]
    assets_when_cached: ClassVar[bool]
    code_version: ClassVar[str | None]
    inline: ClassVar[bool]
    rerun: ClassVar[bool]
    strict_check: ClassVar[bool]
    modification_time_check: ClassVar[bool]
    fail_on_empty_dump: ClassVar[bool]
    reuse_equal_inputs: ClassVar[bool]
    column_types: ClassVar[Mapping[str, Any]]
    seed_functions: ClassVar[tuple[str, ...]]
    seed_value: ClassVar[int | None]

    @property
    def unique_id(self) -> str:
        """The id of the artifact that the task produces."""
        ...

    @property
    def parameter_digest(self) -> bytes:
        """The digest of class and parameters, by which equal tasks are recognised."""
        ...

    @property
    def task_log(self) -> dict[str, Any]:
        """Values for the sidecar."""
        ...

    @classmethod
    def get_parameters(cls) -> Mapping[str, Parameter[Any]]:
        """Return the class's parameters by name."""
        ...

    def requires(self) -> object:
        """Return the required tasks: a task, or any nesting of tasks."""
        ...

    def output(self) -> object:
        """Return the targets: a target, or any nesting of targets."""
        ...

    def run(self) -> Iterator[Any] | None:
        """Do the work."""
        ...


class Kind(NamedTuple):
    """The package's own knowledge of a class of tasks."""

    wrapper: bool = False
    """Whether the task only groups others, and has no artifact."""
    external: bool = False
    """Whether something else makes the artifact."""
    sidecar: bool = True
    """Whether a sidecar beside the artifact tells how the task made the artifact."""
    target_class: type[Target] = Target


class Resolution(NamedTuple):
    """The requirements of a task, with one instance for equal tasks, and the unique id that follows."""

    unique_id: str
    requirements: Any
    """The result of ``requires()``, with lists for tuples."""
    inputs: tuple[tuple[KeyPath, Task], ...]
    """Each required task with its path of keys."""
    class_name: str
    """The logical name that the unique id counts, namespace included."""
    version: str | None = None
    """The code version, as the unique id counts it."""
    fingerprint: str | None = None
    """Of the code, where the fingerprint counts in the unique id."""


class Outputs(NamedTuple):
    """The targets of a task in one workspace."""

    workspace: object
    nested: object
    """The result of ``output()``."""
    targets: tuple[tuple[KeyPath, Target], ...]
    """Each target with its path of keys."""


class TaskState(State):
    """The computed properties of one task."""

    resolution: Resolution | None = None
    outputs: Outputs | None = None
    content: bytes | None = None
    """The digest of the task's content in its present or last run; ``None`` where an input has no checksum."""
    description: bytes | None = None
    """The digest of class and parameters, once somebody has asked for it."""
    asked: object = None
    """The visit of a task that was asked what it requires, and is not yet resolved."""
    rng: np.random.Generator | None = None

    def __init__(self) -> None:
        self.log: dict[str, Any] = {}
        """Values for the sidecar."""


def entropy_of(task: Task) -> str:
    """Return 32 hex digits that seed a task's random numbers: the digest of its content in a run, else the unique id."""
    content = task_state(task).content
    return task.unique_id if content is None else content.hex()


def is_task(value: object) -> TypeIs[Task]:
    """Whether a value is a task."""
    return isinstance(value, Identified)


_PLAIN = Kind()


def kind_of(task: Task | type[Task]) -> Kind:
    """Return the kind of a task, or of a class of tasks."""
    kind: Kind = getattr(task, "_kind", _PLAIN)
    return kind


def task_state(task: Task) -> TaskState:
    """Return the computed properties of a task."""
    state: TaskState | None = task.__dict__.get("_kart_state")  # asked many times for each task of a graph
    return state if state is not None else cast(TaskState, state_of(cast(Parametrized, task)))
