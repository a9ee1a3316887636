"""Which errors another try may not meet again."""

from __future__ import annotations

import datetime as dt

import pytest
from airflow.sdk import DAG
from harness.pipeline import RAN, Noted, ran

from airflow_kart import KartDag, KartOperator, exceptions
from airflow_kart.exceptions import FormatError, LockLostError, SchemaError, StorageError

try:
    from airflow.providers.common.compat.sdk import RetryAction, RetryDecision, RetryPolicy
except ImportError:  # Airflow before 3.3
    RetryPolicy = None  # type: ignore[assignment,misc]

FINAL = {
    "BindingError",
    "ColumnTypeError",
    "EmptyDumpError",
    "FormatError",
    "GraphError",
    "CycleError",
    "RequirementError",
    "IdentityError",
    "MissingParameterError",
    "OutputNotDumpedError",
    "ParameterError",
    "ParameterValueError",
    "SchemaError",
    "TargetError",
    "TargetPathError",
    "UnknownFormatError",
    "UnknownParameterError",
}


@pytest.mark.skipif(RetryPolicy is not None, reason="Airflow has retry policies")
def test_before_airflow_has_them():
    everything: dict[str, type] = {}
    exec("from airflow_kart import *", everything)
    with pytest.raises(exceptions.ConfigurationError, match=r"needs Airflow 3\.3"):
        everything["KartRetryPolicy"]()
    with DAG("without", schedule=None):
        KartOperator(task_id="t", task=Broken(), retries=2)


class Broken(Noted):
    """Cannot ever run."""

    def run(self):
        RAN.append(type(self).__name__)
        raise SchemaError("column x is missing")


class Flaky(Noted):
    """Finds no server, the first time."""

    def run(self):
        RAN.append(type(self).__name__)
        raise StorageError("the bucket did not answer")


@pytest.mark.skipif(RetryPolicy is None, reason="Airflow has no retry policies")
class TestPolicy:
    def decision(self, error):
        from airflow_kart import KartRetryPolicy

        return KartRetryPolicy().evaluate(error, 1, 3, None).action

    @pytest.mark.parametrize("name", exceptions.__all__)
    def test_of_each_error(self, name):
        expected = RetryAction.FAIL if name in FINAL else RetryAction.DEFAULT
        assert self.decision(getattr(exceptions, name)("words")) is expected

    def test_an_error_because_of_the_store_is_the_stores(self):
        error = FormatError("the bytes cannot be read")
        error.__cause__ = ValueError("cut off")
        assert self.decision(error) is RetryAction.FAIL
        error.__cause__.__cause__ = ConnectionResetError()
        assert self.decision(error) is RetryAction.DEFAULT

    def test_other_errors_are_left_to_airflow(self):
        assert self.decision(ValueError("of a run()")) is RetryAction.DEFAULT
        assert self.decision(LockLostError("lost")) is RetryAction.DEFAULT
        assert self.decision(SystemExit()) is RetryAction.DEFAULT

    def test_it_is_the_policy_of_operators_with_retries_that_have_no_other(self):
        from airflow_kart import KartRetryPolicy

        class Own(RetryPolicy):
            def evaluate(self, exception, try_number, max_tries, context=None):
                return RetryDecision.default()

        own = Own()
        with DAG("policies", schedule=None):
            first, second, without = (
                KartOperator(task_id=f"t{retries}", task=Broken(), retries=retries) for retries in (1, 2, 0)
            )
            given = KartOperator(task_id="given", task=Broken(), retries=1, retry_policy=own)
        assert isinstance(first.retry_policy, KartRetryPolicy)
        assert first.retry_policy is second.retry_policy
        assert without.retry_policy is None
        assert given.retry_policy is own
        with DAG("defaults", schedule=None, default_args={"retries": 1, "retry_policy": own}):
            assert KartOperator(task_id="t", task=Broken()).retry_policy is own

    def test_a_failing_check_is_not_tried_again_and_a_store_is(self, run_dag):
        options = {"retries": 1, "retry_delay": dt.timedelta(0)}
        RAN.clear()
        for task, tries in ((Broken(), 1), (Flaky(), 2)):
            name = type(task).__name__.lower()
            run = run_dag(KartDag(name, task, schedule=None, plan=False, operator_kwargs=options))
            assert run.states[name] == "failed"
            assert ran() == [type(task).__name__] * tries
