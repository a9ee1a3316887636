"""Retries only for errors that another try may not meet again: the retry policy of kart operators, from Airflow 3.3 on."""

from __future__ import annotations

from typing import Any

from airflow_kart.exceptions import (
    BindingError,
    ColumnTypeError,
    ConfigurationError,
    EmptyDumpError,
    FormatError,
    GraphError,
    IdentityError,
    LockError,
    ParameterError,
    SchemaError,
    StorageError,
    TargetError,
)

try:
    from airflow.providers.common.compat.sdk import RetryDecision, RetryPolicy
except ImportError:  # Airflow before 3.3

    class RetryPolicy:  # type: ignore[no-redef]
        """In place of Airflow's: ``from airflow_kart import *`` works, and whoever makes a policy learns why there is none."""

        def __init__(self) -> None:
            raise ConfigurationError("KartRetryPolicy needs Airflow 3.3 or newer; before, Airflow has no retry policies")


_FINAL = (
    BindingError,
    ColumnTypeError,
    EmptyDumpError,
    FormatError,
    GraphError,
    IdentityError,
    ParameterError,
    SchemaError,
    TargetError,
)
_PASSING = (LockError, StorageError, OSError)


class KartRetryPolicy(RetryPolicy):
    """Fails a task at once where each try would meet the same error: in parameters, requirements, targets, formats and checks.

    All other errors, such as those of connections, stores and locks, leave the decision to ``retries``. Kart operators with
    retries have this policy unless they are given another.
    """

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,  # noqa: ARG002 - Airflow's, as are the others
        max_tries: int,  # noqa: ARG002
        context: Any = None,  # noqa: ARG002
    ) -> RetryDecision:
        """Return the decision for an error."""
        cause: BaseException | None = exception
        while cause is not None:
            if isinstance(cause, _PASSING):
                return RetryDecision.default()
            cause = cause.__cause__
        if isinstance(exception, _FINAL):
            return RetryDecision.fail(f"another try would meet the same {type(exception).__name__}")
        return RetryDecision.default()
