"""Every error airflow_kart raises on purpose.

::

    KartError
    ├── ConfigurationError          an option, a connection or an extra is missing or wrong
    ├── ParameterError              a task was declared or made with wrong parameters
    │   ├── MissingParameterError
    │   ├── UnknownParameterError
    │   └── ParameterValueError
    ├── IdentityError               a value has no canonical form, so no unique id
    ├── GraphError                  the tasks do not make a graph
    │   ├── CycleError
    │   └── RequirementError        requires() returned something that is not a task
    ├── TargetError                 a target was declared or used wrongly
    │   ├── TargetPathError
    │   ├── UnknownFormatError
    │   └── OutputNotDumpedError    run() ended without dumping an output
    ├── ArtifactError               the bytes of a target cannot be used
    │   ├── MissingArtifactError
    │   ├── CorruptArtifactError    checksum, size or sidecar do not match
    │   ├── UnequalArtifactError    the artifact, made again, has other bytes
    │   ├── FormatError             an object cannot be written or read in this format
    │   ├── EmptyDumpError          a table without rows, where that is refused
    │   ├── ColumnTypeError         a column is not of its declared type
    │   └── SchemaError             a table does not satisfy its target's schema
    ├── StorageError                the store refused or failed
    │   ├── ConflictError           another writer was first
    │   └── ObjectChangedError      an object changed in the midst of a read
    ├── LockError                   the store of the locks failed
    │   ├── LockLostError           another run got the lock from its holder
    │   └── LockTimeoutError        the wait for a lock took too long
    ├── MissingInputError           a task was started before its inputs exist
    ├── TaskFailedError             a task of a DAG run failed, or its process died
    └── BindingError                a DAG's binding does not fit its root task

A message tells the cause, names task and parameter, and says how to go on. Programs find the names in the attributes
``task``, ``uri`` and ``parameter``; an attribute is ``None`` where the error does not know the name. Pickling keeps them.
The classes below say which of them their errors carry.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from types import FrameType, TracebackType

__all__ = [
    "ArtifactError",
    "BindingError",
    "ColumnTypeError",
    "ConfigurationError",
    "ConflictError",
    "CorruptArtifactError",
    "CycleError",
    "EmptyDumpError",
    "FormatError",
    "GraphError",
    "IdentityError",
    "KartError",
    "LockError",
    "LockLostError",
    "LockTimeoutError",
    "MissingArtifactError",
    "MissingInputError",
    "MissingParameterError",
    "ObjectChangedError",
    "OutputNotDumpedError",
    "ParameterError",
    "ParameterValueError",
    "RequirementError",
    "SchemaError",
    "StorageError",
    "TargetError",
    "TargetPathError",
    "TaskFailedError",
    "UnequalArtifactError",
    "UnknownFormatError",
    "UnknownParameterError",
]


class KartError(Exception):
    """Root of every error that airflow_kart raises on purpose.

    Args:
        message: the cause, the task and parameter, and how to go on.
        task: the task's ``repr()``, or the name of the class.
        uri: the artifact, or another object of a store.
        parameter: the parameter's name.

    Attributes:
        task: as the argument, or ``None``. The same goes for ``uri`` and ``parameter``.
    """

    def __init__(
        self, message: str = "", *, task: str | None = None, uri: str | None = None, parameter: str | None = None
    ) -> None:
        super().__init__(message)
        self.task = task
        self.uri = uri
        self.parameter = parameter

    def add_context(
        self, context: str, *, task: str | None = None, uri: str | None = None, parameter: str | None = None
    ) -> None:
        """Add context to the error, for a caller that knows more and raises the same error again.

        Args:
            context: precedes the message, with a colon between them.
            task: as in the constructor; counts where the error names no task yet. The same goes for the others.
            uri: as in the constructor.
            parameter: as in the constructor.
        """
        self.args = (f"{context}: {self}",)
        self.task = self.task or task
        self.uri = self.uri or uri
        self.parameter = self.parameter or parameter

    def in_users_code(self, *, saying: bool = False) -> KartError:
        """Return the error with one traceback of the user's code: the call of this package first, the mistake last.

        The traceback holds the frames of the causes too: an error that is raised ``from None`` shows them all.

        Args:
            saying: whether the message shall end with the place.
        """
        caller = calling_frame()
        places = [(caller, caller.f_lasti, caller.f_lineno), *_users_frames(self)]
        lines = [(frame.f_code, line) for frame, _, line in places]
        traceback: TracebackType | None = None
        for (frame, instruction, line), before in reversed(list(zip(places, [None, *lines[:-1]], strict=True))):
            if (frame.f_code, line) != before:
                traceback = TracebackType(traceback, frame, instruction, line)
        if saying:
            at = _described(places[-1][0], places[-1][2]) if len(places) > 1 else self._method_of_task(caller)
            self.args = (f"{self} [{at}]",)
        return self.with_traceback(traceback)

    def _method_of_task(self, caller: FrameType) -> str:
        """Return the place of the method that declares what is wrong; of the call, if the caller's module lacks the class."""
        name = "output" if isinstance(self, TargetError) else "requires"
        cls = caller.f_globals.get((self.task or "").partition("(")[0])
        code = getattr(getattr(cls, name, None), "__code__", None)
        if code is None or is_own(code.co_filename):
            return _described(caller, caller.f_lineno)
        return f"{self.task.partition('(')[0]}.{name}, {code.co_filename}, line {code.co_firstlineno}"  # type: ignore[union-attr]


def calling_frame() -> FrameType:
    """Return the nearest caller outside this package."""
    frame = sys._getframe(1)  # noqa: SLF001 - as Airflow's DAG does for its own fileloc
    while frame.f_back is not None and is_own(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def _users_frames(error: BaseException) -> Iterator[tuple[FrameType, int, int]]:
    """Yield the frames of an error and its causes, without those of this package and of Python's library."""
    traceback = error.__traceback__
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if not is_own(file) and not file.startswith(os.path.dirname(os.__file__) + os.sep):
            yield traceback.tb_frame, traceback.tb_lasti, traceback.tb_lineno
        traceback = traceback.tb_next
    if error.__cause__ is not None:
        yield from _users_frames(error.__cause__)


def is_own(file: str) -> bool:
    """Whether a file is of this package."""
    return file.startswith(os.path.dirname(__file__) + os.sep)


def _described(frame: FrameType, line: int) -> str:
    owner = frame.f_locals.get("self")
    name = frame.f_code.co_name
    method = "" if name == "<module>" else f"{type(owner).__qualname__}.{name}, " if owner is not None else f"{name}, "
    return f"{method}{frame.f_code.co_filename}, line {line}"


class ConfigurationError(KartError):
    """An option, a connection or an optional package is missing or wrong. Sets ``task`` where a class asks for the option."""


class ParameterError(KartError):
    """A task class was declared, or a task was made, with wrong parameters. Sets ``task`` and ``parameter``."""


class MissingParameterError(ParameterError):
    """A parameter without a default was not given."""


class UnknownParameterError(ParameterError):
    """A keyword names no parameter of the task."""


class ParameterValueError(ParameterError):
    """A value does not fit its parameter."""


class IdentityError(KartError):
    """A value has no canonical form, so a task with this value has no unique id. Sets ``task`` and ``parameter``."""


class GraphError(KartError):
    """The tasks do not make a graph that can be run. Sets ``task``."""


class CycleError(GraphError):
    """A task requires itself, directly or through others."""


class RequirementError(GraphError):
    """``requires()`` failed or returned something that is not a task."""


class TargetError(KartError):
    """A target was declared or used wrongly. Sets ``task``, and ``uri`` where the target has one."""


class TargetPathError(TargetError):
    """A target's path leaves the workspace, or is claimed twice."""


class UnknownFormatError(TargetError):
    """No format is registered for a target's extension."""


class OutputNotDumpedError(TargetError):
    """``run()`` ended without dumping one of the task's outputs."""


class ArtifactError(KartError):
    """The bytes of a target cannot be used. Sets ``uri``; while a task dumps, also ``task``."""


class MissingArtifactError(ArtifactError):
    """There is no complete artifact at a target."""


class CorruptArtifactError(ArtifactError):
    """An artifact and its sidecar do not agree, or the sidecar cannot be read."""


class UnequalArtifactError(ArtifactError):
    """An artifact that was made again, to verify an adoption, has other bytes. Sets ``task`` and ``uri``."""


class FormatError(ArtifactError):
    """An object cannot be written, or bytes cannot be read, in a target's format."""


class EmptyDumpError(ArtifactError):
    """A table without rows was dumped where that is refused."""


class ColumnTypeError(ArtifactError):
    """A table's column is not of the type its task declares."""


class SchemaError(ArtifactError):
    """A table does not satisfy its target's schema."""


class StorageError(KartError):
    """The store refused or failed: permissions, space, network. Sets ``uri``."""


class ConflictError(StorageError):
    """Another writer was first: the store holds another version than expected."""


class ObjectChangedError(StorageError):
    """Another writer replaced or removed an object in the midst of a read, and the store lost the old version."""


class LockError(KartError):
    """The store of the locks cannot be reached, or cannot keep locks. Sets ``uri`` for locks in files and buckets."""


class LockLostError(LockError):
    """The holder could not renew its lock in time, and another run may hold the lock now."""


class LockTimeoutError(LockError):
    """The time that a task may wait for a lock is over, and another run still holds the lock. Sets ``task``."""


class MissingInputError(KartError):
    """A task was started before its input artifacts exist. Sets ``task``."""


class TaskFailedError(KartError):
    """A task of a DAG run or of ``build()`` failed, its process died, or an upstream task failed. Sets ``task``."""


class BindingError(KartError):
    """A DAG's binding names an unknown parameter, or renders to an invalid value. Sets ``parameter``."""
