"""TaskOnKart: a task as a class of typed parameters, with ``requires``, ``output`` and ``run``."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, overload

from airflow_kart.exceptions import (
    KartError,
    ParameterError,
    TargetError,
    TargetPathError,
)
from airflow_kart.formats import format_for
from airflow_kart.lineage import Lineage, resolve
from airflow_kart.modules import logical_class_name, logical_module_name
from airflow_kart.nesting import KeyPath, NotALeafError, describe_path, follow, leaves, map_leaves
from airflow_kart.parameters import (
    Parameter,
    ParameterVisibility,
)
from airflow_kart.parametrized import Parametrized
from airflow_kart.sidecar.document import SIDECAR_SUFFIX
from airflow_kart.sidecar.private import private_digest
from airflow_kart.sidecar.source import source_of
from airflow_kart.target import Target
from airflow_kart.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np

__all__ = ["TaskOnKart", "targets_of"]

T = TypeVar("T")
U = TypeVar("U")


class TaskOnKart(Parametrized, Generic[T]):
    """A step of a pipeline: what it needs, where its output goes, how it is made.

    ``T`` is the type of what the task dumps. Parameters are annotated class attributes, given by keyword and fixed
    once the task is made::

        class Train(TaskOnKart[Model]):
            features: TaskOnKart[pd.DataFrame] = TaskInstanceParameter()
            depth: int = IntParameter(default=6)

            def requires(self):
                return {"features": self.features}

            def output(self):
                return self.make_target("models/train.pkl")

            def run(self):
                self.dump(fit(self.load(self.features), self.depth))

    Two tasks of the same class and parameters are equal and have the same :attr:`unique_id`.
    """

    operator_kwargs: ClassVar[Mapping[str, Any]] = {}
    """Arguments for this class's Airflow operators: pool, retries, queue, executor_config, ..."""
    code_version: ClassVar[str | None] = None
    """A version that counts in the unique id: change it to make everything from here on run again.

    ``"auto"`` for a fingerprint of the code: what counts is said in :mod:`airflow_kart.fingerprint.closure`.
    """
    seed_functions: ClassVar[tuple[str, ...]] = ("random.seed", "numpy.random.seed")
    """Dotted names of what is called with the seed before :meth:`run`, such as ``"torch.manual_seed"``."""
    seed_value: ClassVar[int | None] = None
    """The seed, below 2**32; by default made of the unique id, so that other tasks draw other numbers.

    Like all code it counts in the unique id only through :attr:`code_version`.
    """

    lineage_cache: ClassVar[Lineage | None] = None  # set on instances; annotated so because it is no parameter

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check what the class declares."""
        super().__init_subclass__(**kwargs)
        if not (cls.code_version is None or isinstance(cls.code_version, str)):
            raise ParameterError(f"{cls.__qualname__}.code_version is {cls.code_version!r}; give a str or None")
        _check_seeds(cls)

    # What a pipeline's author writes.

    def requires(self) -> Any:
        """Return the tasks this one needs: a task, or any nesting of dicts, lists and tuples of tasks.

        By default the tasks it got as parameters, by parameter name.
        """
        return {name: getattr(self, name) for name in self._task_parameters}

    def output(self) -> Any:
        """Return the target of what the task dumps, or any nesting of dicts, lists and tuples of targets.

        By default one pickle, named after the class.
        """
        return self.make_target()

    def run(self) -> None:
        """Do the work: :meth:`load` what is needed, :meth:`dump` every output."""
        raise KartError(f"{type(self).__qualname__} has no run(); define what the task does")

    # What it is made of.

    @property
    def unique_id(self) -> str:
        """The 32 hex digits that name what this task produces.

        Made of the class's logical name, its code version, the significant parameters, and the unique ids of what it
        requires; see :mod:`airflow_kart.identity`.

        Raises:
            GraphError: what it requires does not make a graph.
            IdentityError: a parameter's value has no canonical form.
        """
        return (self.lineage_cache or resolve(self)).unique_id

    @property
    def lineage(self) -> Lineage:
        """What the task requires, resolved: equal tasks are one instance."""
        return self.lineage_cache or resolve(self)

    @property
    def rng(self) -> np.random.Generator:
        """A random generator of the task's own, the same in every run of the same task.

        Seeded with ``seed_value``, or else with all 128 bits of the unique id. Nothing else in the process draws from
        it, as other threads and libraries do from the generators of :attr:`seed_functions`.
        """
        import numpy as np

        if "_rng" not in self.__dict__:
            seed = int(self.unique_id, 16) if self.seed_value is None else self.seed_value
            self.__dict__.setdefault("_rng", np.random.default_rng(seed))
        generator: np.random.Generator = self.__dict__["_rng"]
        return generator

    def restart_rng(self) -> None:
        """Let :attr:`rng` begin again, as it does before each run."""
        self.__dict__.pop("_rng", None)

    # Targets, and what is at them.

    def make_target(self, relative_file_path: str | None = None, use_unique_id: bool = True) -> Target:
        """Return a target in the workspace.

        Args:
            relative_file_path: path below the workspace; its extension chooses the format. By default
                ``<module>/<Class>.pkl``.
            use_unique_id: whether the unique id is put into the file's name, ``train_<id>.pkl``. Without it tasks
                with other parameters write to the same file, and each sees only its own as complete.

        Raises:
            TargetPathError: the path leaves the workspace.
            UnknownFormatError: no format has this extension.
        """
        cls = type(self)
        path = relative_file_path
        if path is None:
            path = f"{logical_module_name(cls.__module__).replace('.', '/')}/{cls.__name__}.pkl"
        workspace = Workspace.current()
        try:
            if path.lower().endswith(SIDECAR_SUFFIX):
                raise TargetPathError(f"{path!r}: names that end with {SIDECAR_SUFFIX} are those of sidecars")
            target_format = format_for(path)
            if use_unique_id:
                stem, extension = posixpath.splitext(path)
                path = f"{stem}_{self.unique_id}{extension}"
            uri = workspace.uri(path)
        except TargetError as error:
            raise type(error)(f"{cls.__qualname__}.output(): {error}") from error
        return Target(uri, target_format, workspace.store, owner=self)

    def input(self) -> Any:
        """Return the outputs of the required tasks, nested as ``requires()`` nests the tasks."""
        return map_leaves(lambda task: task.output(), self.lineage.requirements, TaskOnKart)

    def complete(self) -> bool:
        """Whether every output is there and complete. Only looks."""
        return all(target.exists() for _, target in targets_of(self))

    @overload
    def load(self, target: TaskOnKart[U]) -> U: ...

    @overload
    def load(self, target: Sequence[TaskOnKart[U]]) -> list[U]: ...

    @overload
    def load(self, target: Mapping[str, TaskOnKart[U]]) -> dict[str, U]: ...

    @overload
    def load(self, target: Target | str | int | None = None) -> Any: ...

    def load(self, target: object = None) -> Any:
        """Load inputs.

        Args:
            target: what to load: a required task (or a list or dict of them), a key of ``requires()``, a target, or
                nothing for all that ``requires()`` returns, nested in the same way.

        Raises:
            MissingArtifactError: an input is not there.
            CorruptArtifactError: an input is not what its sidecar says.
        """
        if isinstance(target, Target):
            return target.load()
        if target is None or isinstance(target, (str, int)):
            chosen = self.lineage.requirements
            if target is not None:
                try:
                    chosen = follow(chosen, (target,))
                except LookupError:
                    raise TargetError(f"{self!r}.load({target!r}): requires() has no such key; {_keys_of(chosen)}") from None
        else:
            chosen = target
        try:
            list(leaves(chosen, TaskOnKart))
        except NotALeafError as error:
            raise TargetError(
                f"{self!r}.load() takes a key of requires(), a task, a target, or lists and dicts of these, not {error}"
            ) from None
        return map_leaves(_load_output, chosen, TaskOnKart)

    def dump(self, obj: T, target: str | int | Target | None = None) -> None:
        """Write an output.

        Args:
            obj: what to write.
            target: which output, where there are several: its key in ``output()``, or the target itself.

        Raises:
            TargetError: there is no such output, or none was named where there are several.
            FormatError: the target's format cannot write the object.
        """
        if not isinstance(target, Target):
            target = self._output_at(target)
        try:
            target.dump(obj)
        except KartError as error:
            raise type(error)(f"{self!r}: {error}") from error

    def _output_at(self, key: str | int | None) -> Target:
        outputs = self.output()
        try:
            found = outputs if key is None else follow(outputs, (key,))
        except LookupError:
            found = None
        if not isinstance(found, Target):
            names = ", ".join(describe_path(path) for path, _ in targets_of(self))
            which = "which output?" if key is None else f"there is no output {key!r};"
            raise TargetError(f"{self!r}.dump(): {which} Name one of them by its key: {names}")
        return found

    @property
    def task_log(self) -> dict[str, Any]:
        """Values to be kept in the sidecar, such as scores and counts; emptied when a run starts.

        What JSON has no form for is kept as text.
        """
        log: dict[str, Any] = self.__dict__.setdefault("_task_log", {})
        return log

    def describe(self, input_checksums: Mapping[str, str]) -> dict[str, Any]:
        """Return the parts of a sidecar that describe the task: itself, what it required, and its source.

        Args:
            input_checksums: the SHA-256 of each input's artifact that is known, by uri.
        """
        cls = type(self)
        return {
            "task": {
                "class": logical_class_name(cls),
                "unique_id": self.unique_id,
                "code_version": cls.code_version,
                "parameters": {
                    name: self._describe_parameter(name, parameter) for name, parameter in cls._parameters.items()
                },
            },
            "upstream": [
                {
                    "key": list(path),
                    "class": logical_class_name(type(task)),
                    "unique_id": task.unique_id,
                    "artifacts": [
                        {"uri": target.uri, "sha256": input_checksums.get(target.uri)} for _, target in targets_of(task)
                    ],
                }
                for path, task in self.lineage.inputs
            ],
            "source": source_of(cls),
            "task_log": dict(self.task_log),
        }

    def _describe_parameter(self, name: str, parameter: Parameter[Any]) -> dict[str, Any]:
        described: dict[str, Any] = {"type": type(parameter).__name__, "significant": parameter.significant}
        value = getattr(self, name)
        if parameter.visibility is ParameterVisibility.PRIVATE:
            return {**described, "private": True, "digest": private_digest(parameter.serialize(value))}
        return {**described, "value": parameter.to_json(value)}


def _check_seeds(cls: type[TaskOnKart[Any]]) -> None:
    functions: object = cls.seed_functions
    if not (isinstance(functions, tuple) and all(isinstance(name, str) and "." in name for name in functions)):
        raise ParameterError(
            f'{cls.__qualname__}.seed_functions is {functions!r}; give a tuple of dotted names, such as ("torch.manual_seed",)'
        )
    value: object = cls.seed_value
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**32):
        raise ParameterError(f"{cls.__qualname__}.seed_value is {value!r}; give an int from 0 to 2**32 - 1, or None")


def targets_of(task: TaskOnKart[Any]) -> list[tuple[KeyPath, Target]]:
    """Return a task's targets with their keys.

    Raises:
        TargetError: ``output()`` failed, or returned something that is not a target, or none at all.
        TargetPathError: two of them are at the same path.
    """
    try:
        outputs = task.output()
    except KartError:
        raise
    except Exception as error:
        raise TargetError(f"{task!r}.output() failed: {type(error).__name__}: {error}") from error
    try:
        found = list(leaves(outputs, Target))
    except NotALeafError as error:
        raise TargetError(
            f"{task!r}.output() returned {error}, which is not a target; return make_target(...), or dicts and lists of these"
        ) from None
    if not found:
        raise TargetError(f"{task!r}.output() returned no target; return make_target(...)")
    _refuse_shared_paths(task, found)
    return found


def _refuse_shared_paths(task: TaskOnKart[Any], targets: Iterable[tuple[KeyPath, Target]]) -> None:
    seen: dict[str, KeyPath] = {}
    for path, target in targets:
        if target.uri in seen:
            raise TargetPathError(
                f"{task!r}.output(): {describe_path(seen[target.uri])} and {describe_path(path)} are the same file, {target.uri}; "
                "give each output a path of its own"
            )
        seen[target.uri] = path


def _keys_of(requirements: Any) -> str:
    if isinstance(requirements, TaskOnKart):
        return "it returns one task by itself: call load()"
    if isinstance(requirements, Mapping):
        return f"it has {', '.join(map(repr, requirements)) or 'none'}"
    return f"it returns a list of {len(requirements)}" if requirements else "it returns nothing"


def _load_output(task: TaskOnKart[Any]) -> Any:
    return map_leaves(Target.load, task.output(), Target)
