"""TaskOnKart: a task as a class of typed parameters, with ``requires``, ``output`` and ``run``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, overload

from typing_extensions import Never, Self

from airflow_kart.artifacts.target import Target
from airflow_kart.exceptions import KartError, TargetError
from airflow_kart.formats import Format, ReadsInParts
from airflow_kart.identity.encoding import Identified
from airflow_kart.parameters.parametrized import Parametrized, State
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.completeness import is_complete
from airflow_kart.tasks.declarations import check_declarations
from airflow_kart.tasks.flags import Flags
from airflow_kart.tasks.inputs import input_parts, input_targets, loaded_inputs
from airflow_kart.tasks.model import Kind, TaskState, entropy_of, task_state
from airflow_kart.tasks.outputs import output_at
from airflow_kart.tasks.resolution import resolve
from airflow_kart.tasks.restoration import restore
from airflow_kart.tasks.targets import Located, in_workspaces, make_target, refuse_unknown_options, require_zip

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")
U = TypeVar("U")
Model = TypeVar("Model")
Columns = Sequence[str] | None
Labels = Mapping[str, str] | None
OneTarget = str | int | Target


class TaskOnKart(Parametrized, Identified, Flags, Generic[T]):
    """A step of a pipeline: its requirements, its output, its work.

    ``T`` is the type that loading the task returns: the type of the dumped object, or for several outputs a dict, list or
    ``TypedDict`` of the outputs' types, nested as :meth:`output` nests the targets. Parameters are annotated class
    attributes, given by keyword and fixed once the task is made::

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

    _kind: ClassVar[Kind] = Kind()
    _state_class: ClassVar[type[State]] = TaskState

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check the declarations of the class."""
        super().__init_subclass__(**kwargs)
        check_declarations(cls)

    # What a pipeline's author writes.

    def requires(self) -> Any:
        """Return the required tasks: a task, or any nesting of dicts, lists and tuples of tasks.

        By default the tasks among the parameters, by parameter name.
        """
        return {name: getattr(self, name) for name in self._task_parameters}

    def output(self) -> Any:
        """Return the target of the output, or for several outputs any nesting of dicts, lists and tuples of targets.

        By default one pickle, named after the class.
        """
        return self.make_target()

    def run(self) -> Iterator[Any] | None:
        """Do the work: :meth:`load` the inputs, :meth:`dump` every output.

        A generator may ask for more tasks on its way: ``target = yield task`` makes a task, or any nesting of tasks, here and
        now, and returns the output. These tasks do not count in the unique id; the sidecar names them. An operator that has
        to wait for the lock of one of them defers, and calls :meth:`run` again from the beginning; after the first
        :meth:`dump` the operator waits in its worker slot.
        """
        cls = type(self).__qualname__
        raise KartError(
            f"{cls} has no run(); define run(), or make {cls} an ExternalTask if others make its artifact, or a WrapperTask if "
            "it only groups others",
            task=repr(self),
        )

    # What it is made of.

    @property
    def unique_id(self) -> str:
        """The 32 hex digits that name the result of this task.

        A digest of the class's logical name, its code version, the significant parameters, and the unique ids of the required
        tasks; see :mod:`airflow_kart.identity.encoding`.

        Raises:
            GraphError: the requirements do not make a graph.
            IdentityError: a parameter's value has no canonical form.
        """
        state = self.__dict__.get("_kart_state")  # asked for often, and nearly always resolved
        return ((state is not None and state.resolution) or resolve(self)).unique_id

    @property
    def rng(self) -> np.random.Generator:
        """A random generator of the task's own, the same in every run of the same task.

        Seeded with ``seed_value``, or else with the 128 bits of the digest of the run's content, or outside a run of the unique
        id. No other thread or library draws from this generator; they may draw from the generators of :attr:`seed_functions`.
        """
        import numpy as np

        state = task_state(self)
        if state.rng is None:
            state.rng = np.random.default_rng(int(entropy_of(self), 16) if self.seed_value is None else self.seed_value)
        return state.rng

    # Targets, and what is at them.

    def make_target(
        self,
        relative_file_path: str | None = None,
        use_unique_id: bool = True,
        *,
        format: Format | None = None,  # noqa: A002 - the word for it everywhere else
        schema: Any = None,
        **unknown: Never,
    ) -> Target:
        """Return a target in the workspace.

        Args:
            relative_file_path: path below the workspace; its extension chooses the format, and the class's type argument
                the library whose tables are loaded. By default ``<module>/<Class>.pkl``.
            use_unique_id: whether the file's name contains the unique id, ``train_<id>.pkl``. Without the id, tasks with
                other parameters write to the same file, and each task sees only its own artifact as complete.
            format: by default the format of the extension; give another, or one with options:
                ``CsvFormat(separator=";")``.
            schema: a pandera schema or model that tables must satisfy when the task dumps them and when others load them; by
                default the schema of the class's type argument, ``TaskOnKart[DataFrame[Features]]``.
            unknown: none; the error of a former name, such as gokart's ``processor``, says what to use.

        Raises:
            TargetPathError: the path leaves the workspace.
            UnknownFormatError: no format has this extension.
        """
        refuse_unknown_options(type(self), unknown)
        return self._target(relative_file_path, ".pkl", use_unique_id, format, schema)

    def make_model_target(
        self,
        relative_file_path: str,
        save_function: Callable[[Model, str], object],
        load_function: Callable[[str], Model],
        use_unique_id: bool = True,
    ) -> Target:
        """Return a target for an object whose library writes files of its own, all of which go into one zip archive.

        Args:
            relative_file_path: path below the workspace, which ends with ``.zip``.
            save_function: writes the object: a function of the object and the path of a file in an empty directory, where
                the function may write any files.
            load_function: reads the object: a function of the same path, in a directory with the same files.
            use_unique_id: as in :meth:`make_target`.

        Raises:
            TargetPathError: the path leaves the workspace, or does not end with ``.zip``.
        """
        require_zip(type(self), relative_file_path)
        from airflow_kart.formats.model import ModelFormat

        return self._target(relative_file_path, ".zip", use_unique_id, ModelFormat(save_function, load_function), None)

    def make_large_data_frame_target(
        self,
        relative_file_path: str | None = None,
        use_unique_id: bool = True,
        max_byte: int = 64 << 20,
        *,
        schema: Any = None,
    ) -> Target:
        """Return a target for a table that is written, and can be read, in parts.

        :meth:`dump` takes a table and :meth:`dump_generator` tables one after the other; :meth:`load` returns one
        table, :meth:`load_generator` a part at a time.

        Args:
            relative_file_path: path below the workspace, which ends with ``.zip``; by default ``<module>/<Class>.zip``.
            use_unique_id: as in :meth:`make_target`.
            max_byte: the most memory a part takes, in bytes.
            schema: as in :meth:`make_target`; for each part.

        Raises:
            TargetPathError: the path leaves the workspace, or does not end with ``.zip``.
        """
        if relative_file_path is not None:
            require_zip(type(self), relative_file_path)
        from airflow_kart.formats.large_frame import LargeFrameFormat

        return self._target(relative_file_path, ".zip", use_unique_id, LargeFrameFormat(max_byte), schema)

    def _target(
        self, path: str | None, extension: str, use_unique_id: bool, target_format: Format | None, schema: object
    ) -> Target:
        return make_target(
            self,
            path,
            extension=extension,
            use_unique_id=use_unique_id,
            target_format=target_format,
            schema=schema,
            generic=TaskOnKart,
            locate=self._locate,
        )

    def _locate(self, path: str) -> Located:
        return in_workspaces(Workspace.current(), path)

    def input(self, target: object = None, *keys: str | int) -> Any:
        """Return the targets of inputs, nested as ``requires()`` nests the tasks; of a wrapper, as it nests its own.

        Args:
            target: as for :meth:`load`; by default all required tasks.
            keys: as for :meth:`load`.

        Raises:
            TargetError: there is no such input.
        """
        return input_targets(self, target, keys, "input")

    def complete(self) -> bool:
        """Whether the task need not run: every output has a complete artifact. Looking changes nothing.

        A wrapper, and a class with ``strict_check`` or ``modification_time_check``, asks its inputs too.
        """
        return is_complete(self).complete

    @overload
    def load(self, target: TaskOnKart[U], *, columns: Columns = None) -> U: ...

    @overload
    def load(self, target: TaskOnKart[dict[str, U]], key: str, /, *, columns: Columns = None) -> U: ...

    @overload
    def load(self, target: TaskOnKart[list[U]], key: int, /, *, columns: Columns = None) -> U: ...

    @overload
    def load(self, target: Sequence[TaskOnKart[U]], *, columns: Columns = None) -> list[U]: ...

    @overload
    def load(self, target: Mapping[str, TaskOnKart[U]], *, columns: Columns = None) -> dict[str, U]: ...

    @overload
    def load(self, target: TaskOnKart[Any], key: str | int, /, *keys: str | int, columns: Columns = None) -> Any: ...

    @overload
    def load(self, target: OneTarget | None = None, *keys: str | int, columns: Columns = None) -> Any: ...

    def load(self, target: object = None, *keys: str | int, columns: Columns = None) -> Any:
        """Load inputs.

        Args:
            target: a required task (or a list or dict of them), a key of ``requires()``, a target, or nothing for all
                required tasks, nested as in ``requires()``.
            keys: the way from there to one input: ``load("models", "best", "weights")`` loads the output ``"weights"`` of
                the task ``requires()["models"]["best"]``.
            columns: of tables only these, in this order; see :meth:`airflow_kart.Target.load`.

        Raises:
            MissingArtifactError: an input is not there.
            CorruptArtifactError: an input differs from its sidecar.
            FormatError: an input lacks one of the columns, or is no table.
            TargetError: there is no such input.
        """
        return loaded_inputs(self, target, keys, columns)

    @overload
    def load_generator(self, target: TaskOnKart[U]) -> Iterator[U]: ...

    @overload
    def load_generator(self, target: TaskOnKart[dict[str, U]], key: str, /) -> Iterator[U]: ...

    @overload
    def load_generator(self, target: Sequence[TaskOnKart[U]]) -> Iterator[U]: ...

    @overload
    def load_generator(self, target: Mapping[str, TaskOnKart[U]]) -> Iterator[U]: ...

    @overload
    def load_generator(self, target: TaskOnKart[Any], key: str | int, /, *keys: str | int) -> Iterator[Any]: ...

    @overload
    def load_generator(self, target: OneTarget | None = None, *keys: str | int) -> Iterator[Any]: ...

    def load_generator(self, target: object = None, *keys: str | int) -> Iterator[Any]:
        """Load inputs one after the other, each part of a large table by itself, without holding the rest.

        Args:
            target: as for :meth:`load`; nested inputs follow each other in order.
            keys: as for :meth:`load`.

        Raises:
            MissingArtifactError: an input is not there.
            CorruptArtifactError: an input differs from its sidecar.
            TargetError: there is no such input.
        """
        return input_parts(self, target, keys)

    @overload
    def dump(self, obj: T, target: None = None, custom_labels: Labels = None) -> None: ...

    @overload
    def dump(self, obj: object, target: OneTarget, custom_labels: Labels = None) -> None: ...

    def dump(self, obj: object, target: OneTarget | None = None, custom_labels: Labels = None) -> None:
        """Write an output.

        Args:
            obj: the object to write.
            target: of several outputs, one: the key in ``output()``, or the target itself.
            custom_labels: texts by name, for the sidecar and, in buckets, for the object's metadata.

        Raises:
            TargetError: the task has no output of this name, or several outputs and ``target`` names none.
            FormatError: the target's format cannot write the object.
        """
        self._dump(obj, target, custom_labels)

    @overload
    def dump_generator(self, parts: Iterable[T], target: None = None, custom_labels: Labels = None) -> None: ...

    @overload
    def dump_generator(self, parts: Iterable[Any], target: OneTarget, custom_labels: Labels = None) -> None: ...

    def dump_generator(self, parts: Iterable[object], target: OneTarget | None = None, custom_labels: Labels = None) -> None:
        """Write a table to a large-frame target part by part, holding one part at a time.

        Args:
            parts: tables with the same columns.
            target: as for :meth:`dump`.
            custom_labels: as for :meth:`dump`.

        Raises:
            TargetError: the task has no output of this name, or the output is no large-frame target.
            FormatError: a part cannot be written, or has other columns than the first.
        """
        self._dump(iter(parts), target, custom_labels)

    def _dump(self, obj: object, target: OneTarget | None, custom_labels: Labels) -> None:
        if not isinstance(target, Target):
            target = output_at(self, target)
        if isinstance(obj, Iterator) and not isinstance(target.format, ReadsInParts):
            raise TargetError(
                f"{self!r}: {target.uri} takes one object, not parts; make it with make_large_data_frame_target, or dump a list"
            )
        try:
            target.dump(obj, custom_labels)
        except KartError as error:
            error.add_context(repr(self), task=repr(self), uri=target.uri)
            raise

    @property
    def task_log(self) -> dict[str, Any]:
        """Values for the sidecar, scores and counts for example; emptied when a run starts.

        Values that JSON cannot express become text.
        """
        return task_state(self).log

    @classmethod
    def restore(cls, unique_id: str, **given: Any) -> Self:
        """Make the task anew that has an artifact in the current workspace, from its sidecar.

        Args:
            unique_id: the task's unique id, which is in the names of its files.
            given: values of private parameters, which no sidecar holds.

        Raises:
            MissingArtifactError: the workspace has no artifact of this id.
            IdentityError: the class has changed since, so that its task would have another id.
            ParameterError: a parameter does not fit the class any more.
        """
        found: Self = restore(cls, unique_id, given)
        return found
