"""TaskOnKart: a task as a class of typed parameters, with ``requires``, ``output`` and ``run``."""

from __future__ import annotations

import difflib
import json
import posixpath
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Generic, NoReturn, TypeVar, overload

from typing_extensions import Self, dataclass_transform

from airflow_kart import identity
from airflow_kart.exceptions import (
    IdentityError,
    KartError,
    MissingParameterError,
    ParameterError,
    TargetError,
    TargetPathError,
    UnknownParameterError,
)
from airflow_kart.formats import format_for
from airflow_kart.lineage import Lineage, resolve
from airflow_kart.modules import logical_class_name, logical_module_name
from airflow_kart.nesting import KeyPath, NotALeafError, describe_path, follow, leaves, map_leaves
from airflow_kart.parameters import (
    BoolParameter,
    DateParameter,
    DictParameter,
    EnumParameter,
    FloatParameter,
    IntParameter,
    ListParameter,
    ListTaskInstanceParameter,
    Parameter,
    ParameterVisibility,
    StrParameter,
    TaskInstanceParameter,
)
from airflow_kart.sidecar.private import private_digest
from airflow_kart.sidecar.source import source_of
from airflow_kart.target import Target
from airflow_kart.workspace import Workspace

__all__ = ["TaskOnKart", "targets_of"]

T = TypeVar("T")
U = TypeVar("U")
Other = TypeVar("Other", bound="TaskOnKart[Any]")


@dataclass_transform(
    kw_only_default=True,
    frozen_default=True,
    field_specifiers=(
        Parameter,
        StrParameter,
        IntParameter,
        FloatParameter,
        BoolParameter,
        DateParameter,
        EnumParameter,
        ListParameter,
        DictParameter,
        TaskInstanceParameter,
        ListTaskInstanceParameter,
    ),
)
class TaskOnKart(Generic[T]):
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
    """A version that counts in the unique id: change it to make everything from here on run again."""

    _parameters: ClassVar[Mapping[str, Parameter[Any]]] = {}
    _task_parameters: ClassVar[tuple[str, ...]] = ()

    lineage_cache: Lineage | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Collect and check the class's parameters."""
        super().__init_subclass__(**kwargs)
        found: dict[str, Parameter[Any]] = {}
        for base in reversed(cls.__mro__):
            for name, value in vars(base).items():
                if isinstance(value, Parameter):
                    found[name] = value
                else:
                    found.pop(name, None)
        for name, parameter in found.items():
            if name in vars(cls):
                if hasattr(TaskOnKart, name):
                    raise ParameterError(
                        f"{cls.__qualname__}.{name}: a parameter cannot have the name of a TaskOnKart method"
                    )
                parameter.bind_defaults(cls.__qualname__, name)
        if not (cls.code_version is None or isinstance(cls.code_version, str)):
            raise ParameterError(f"{cls.__qualname__}.code_version is {cls.code_version!r}; give a str or None")
        cls._parameters = found
        cls._task_parameters = tuple(name for name, parameter in found.items() if parameter.holds_tasks)

    def __init__(self, **values: Any) -> None:
        """Make the task from its parameters, by keyword.

        Raises:
            MissingParameterError: a parameter without a default was not given.
            UnknownParameterError: a keyword names no parameter.
            ParameterValueError: a value does not fit its parameter.
        """
        cls = type(self)
        made = {}
        for name, parameter in cls._parameters.items():
            if name in values:
                made[name] = parameter.accept(values[name], cls.__qualname__, name)
            elif parameter.required:
                raise MissingParameterError(f"{cls.__qualname__} needs the parameter {name}: {cls.__qualname__}({name}=...)")
            else:
                made[name] = parameter.default
        if len(values) > len(made) or values.keys() - made.keys():
            _refuse_unknown(cls, values)
        self.__dict__.update(made)

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

    @classmethod
    def get_parameters(cls) -> Mapping[str, Parameter[Any]]:
        """Return the class's parameters by name, in the order of their declaration."""
        return cls._parameters

    @classmethod
    def from_text(cls, parameters: Mapping[str, str]) -> Self:
        """Make a task from parameters written as text."""
        known = cls._parameters
        values = {
            name: known[name].read(text, cls.__qualname__, name) if name in known else text
            for name, text in parameters.items()
        }
        return cls(**values)

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
    def parameter_digest(self) -> bytes:
        """The digest of class and parameters, significant or not, by which equal tasks are recognised."""
        known: bytes | None = self.__dict__.get("_digest")
        if known is None:
            cls = type(self)
            encoded = {name: self._encode(name) for name in cls._parameters}
            known = identity.parameter_digest(logical_class_name(cls), encoded)
            self.__dict__["_digest"] = known
            self.__dict__["_encoded"] = {
                name: None if parameter.holds_tasks else encoded[name]
                for name, parameter in cls._parameters.items()
                if parameter.significant
            }
        return known

    @property
    def encoded_parameters(self) -> Mapping[str, bytes | None]:
        """The encoded significant parameters by name; ``None`` for those that hold tasks."""
        if "_encoded" not in self.__dict__:
            _ = self.parameter_digest
        encoded: Mapping[str, bytes | None] = self.__dict__["_encoded"]
        return encoded

    @property
    def task_parameters(self) -> tuple[str, ...]:
        """The names of the parameters that hold tasks."""
        return self._task_parameters

    def _encode(self, name: str) -> bytes:
        try:
            return identity.encode(getattr(self, name), _encode_by_digest)
        except IdentityError as error:
            raise IdentityError(f"{type(self).__qualname__}.{name}: {error}") from error

    @overload
    def clone(self, cls: None = None, **changes: Any) -> Self: ...

    @overload
    def clone(self, cls: type[Other], **changes: Any) -> Other: ...

    def clone(self, cls: type[TaskOnKart[Any]] | None = None, **changes: Any) -> TaskOnKart[Any]:
        """Make a task with this one's parameters, some of them changed.

        Args:
            cls: class of the new task; by default this one's. Parameters it does not have are left out.
            changes: parameters that differ, by name.
        """
        wanted = cls or type(self)
        own = {name: getattr(self, name) for name in self._parameters if name in wanted.get_parameters()}
        return wanted(**{**own, **changes})

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
    def load(self, target: list[TaskOnKart[U]] | tuple[TaskOnKart[U], ...]) -> list[U]: ...

    @overload
    def load(self, target: dict[str, TaskOnKart[U]]) -> dict[str, U]: ...

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
                    keys = list(chosen) if isinstance(chosen, dict) else f"{len(self.lineage.inputs)} by position"
                    raise TargetError(f"{self!r}.load({target!r}): requires() has no such key; it has {keys}") from None
        else:
            chosen = target
        try:
            return map_leaves(_load_output, chosen, TaskOnKart)
        except NotALeafError as error:
            raise TargetError(
                f"{self!r}.load() takes a key of requires(), a task, a target, or lists and dicts of these, not {error}"
            ) from None

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
        """JSON values to be kept in the sidecar, such as scores and counts; emptied when a run starts."""
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
            "task_log": self._describe_log(),
        }

    def _describe_log(self) -> Any:
        try:
            return json.loads(json.dumps(self.task_log))
        except (TypeError, ValueError) as error:
            raise TargetError(
                f"{self!r}.task_log holds something that is not JSON ({error}); put JSON values into it"
            ) from error

    def _describe_parameter(self, name: str, parameter: Parameter[Any]) -> dict[str, Any]:
        described: dict[str, Any] = {"type": type(parameter).__name__, "significant": parameter.significant}
        value = getattr(self, name)
        if parameter.visibility is ParameterVisibility.PRIVATE:
            return {**described, "private": True, "digest": private_digest(parameter.serialize(value))}
        return {**described, "value": parameter.to_json(value)}

    # How it behaves as a value.

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse to change a parameter."""
        if name in self._parameters:
            raise AttributeError(f"{type(self).__qualname__}.{name} is fixed; make another task: task.clone({name}=...)")
        object.__setattr__(self, name, value)

    def __eq__(self, other: object) -> bool:
        """Whether the other is a task of the same class and parameters."""
        if self is other:
            return True
        return isinstance(other, TaskOnKart) and self.parameter_digest == other.parameter_digest

    def __hash__(self) -> int:
        """Hash class and parameters."""
        return hash(self.parameter_digest)

    def __repr__(self) -> str:
        """Return class and parameters; tasks inside are named without theirs, private values not at all."""
        parts = [f"{name}={self._short(name, parameter)}" for name, parameter in self._parameters.items()]
        return f"{type(self).__qualname__}({', '.join(parts)})"

    def _short(self, name: str, parameter: Parameter[Any]) -> str:
        value = self.__dict__.get(name)
        if parameter.visibility is ParameterVisibility.PRIVATE:
            return "***"
        if isinstance(value, TaskOnKart):
            return f"{type(value).__qualname__}(...)"
        if parameter.holds_tasks and isinstance(value, tuple):
            return f"[{len(value)} tasks]"
        text = repr(value) if isinstance(value, (str, int, float)) else parameter.serialize(value)
        return text if len(text) <= 80 else f"{text[:77]}..."

    def __copy__(self) -> Self:
        """Return the task: it cannot change."""
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        """Return the task: it cannot change."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle class and parameters."""
        return _make, (type(self), {name: getattr(self, name) for name in self._parameters})


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


def _load_output(task: TaskOnKart[Any]) -> Any:
    return map_leaves(Target.load, task.output(), Target)


def _encode_by_digest(task: identity.Identifiable) -> bytes:
    return identity.encode_id(task.parameter_digest)


def _make(cls: type[TaskOnKart[Any]], values: Mapping[str, Any]) -> TaskOnKart[Any]:
    return cls(**values)


def _refuse_unknown(cls: type[TaskOnKart[Any]], values: Mapping[str, Any]) -> NoReturn:
    known = list(cls.get_parameters())
    unknown = sorted(values.keys() - set(known))
    close = difflib.get_close_matches(unknown[0], known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(known) or 'none'}"
    raise UnknownParameterError(f"{cls.__qualname__} has no parameter {', '.join(unknown)}; {hint}")
