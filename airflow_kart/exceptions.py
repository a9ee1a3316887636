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
    │   ├── FormatError             an object cannot be written or read in this format
    │   ├── EmptyDumpError          a table without rows, where that is refused
    │   ├── ColumnTypeError         a column is not of its declared type
    │   └── SchemaError             a table does not satisfy its target's schema
    ├── StorageError                the store refused or failed
    │   ├── ConflictError           another writer was first
    │   └── ObjectChangedError      an object was replaced while it was read
    ├── LockError                   what keeps the locks failed
    │   ├── LockLostError           somebody else got the lock while it was held
    │   └── LockTimeoutError        a lock was waited for too long
    ├── MissingInputError           a task was started before its inputs exist
    ├── TaskFailedError             a task of a DAG run failed, or its process died
    └── BindingError                a DAG's binding does not fit its root task

A message says what happened, to which task and parameter, and what to do next. Programs find the same in attributes:
``task``, ``uri`` and ``parameter``, where the error knows them.
"""

from __future__ import annotations

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
    "UnknownFormatError",
    "UnknownParameterError",
]


class KartError(Exception):
    """Root of every error airflow_kart raises on purpose.

    Args:
        message: what happened, to which task and parameter, and what to do next.
        task: the task, as ``repr()`` writes it, or the name of its class.
        uri: the artifact, or another object of a store.
        parameter: the parameter's name.
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


class ConfigurationError(KartError):
    """An option, a connection or an optional package is missing or wrong."""


class ParameterError(KartError):
    """A task class was declared, or a task was made, with wrong parameters."""


class MissingParameterError(ParameterError):
    """A parameter without a default was not given."""


class UnknownParameterError(ParameterError):
    """A keyword names no parameter of the task."""


class ParameterValueError(ParameterError):
    """A value does not fit its parameter."""


class IdentityError(KartError):
    """A value has no canonical form, so the task that holds it has no unique id."""


class GraphError(KartError):
    """The tasks do not make a graph that can be run."""


class CycleError(GraphError):
    """A task requires itself, directly or through others."""


class RequirementError(GraphError):
    """``requires()`` failed or returned something that is not a task."""


class TargetError(KartError):
    """A target was declared or used wrongly."""


class TargetPathError(TargetError):
    """A target's path leaves the workspace, or is claimed twice."""


class UnknownFormatError(TargetError):
    """No format is registered for a target's extension."""


class OutputNotDumpedError(TargetError):
    """``run()`` ended without dumping one of the task's outputs."""


class ArtifactError(KartError):
    """The bytes of a target cannot be used."""


class MissingArtifactError(ArtifactError):
    """There is no complete artifact at a target."""


class CorruptArtifactError(ArtifactError):
    """An artifact and its sidecar do not agree, or the sidecar cannot be read."""


class FormatError(ArtifactError):
    """An object cannot be written, or bytes cannot be read, in a target's format."""


class EmptyDumpError(ArtifactError):
    """A table without rows was dumped where that is refused."""


class ColumnTypeError(ArtifactError):
    """A table's column is not of the type its task declares."""


class SchemaError(ArtifactError):
    """A table does not satisfy its target's schema."""


class StorageError(KartError):
    """The store refused or failed: permissions, space, network."""


class ConflictError(StorageError):
    """Another writer was first: what is there is not what was expected."""


class ObjectChangedError(StorageError):
    """An object was replaced or removed while it was read, and what it was can no longer be had."""


class LockError(KartError):
    """What keeps the locks cannot be reached, or cannot keep any."""


class LockLostError(LockError):
    """A lock was lost while it was held: its holder could not renew it in time, and somebody else may have it."""


class LockTimeoutError(LockError):
    """A lock was not to be had within the time that a task may wait for it."""


class MissingInputError(KartError):
    """A task was started before the artifacts it reads exist."""


class TaskFailedError(KartError):
    """A task of a DAG run failed, or could not run because one did; or a process of ``build()`` died in the midst of one."""


class BindingError(KartError):
    """A DAG's binding names an unknown parameter or rendered to a value it cannot take."""
