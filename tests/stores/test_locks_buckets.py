"""What all locks promise, kept in S3 and Google Cloud Storage."""

from __future__ import annotations

import os

import pytest
from harness.bucket_kind import Kind
from harness.http_proxy import Rule, started
from harness.lock_conformance import NAME, EveryLease, taken
from harness.lock_process import LockPlace, preload

from airflow_kart import Workspace
from airflow_kart.locks import Holder, Taken, locks_for
from airflow_kart.locks.lease import LeaseLocks
from airflow_kart.storage import BucketStore, GCSStore, S3Store

TIME_TO_LIVE = 0.8

preload(
    "airflow.providers.common.compat.sdk",
    "airflow.providers.amazon.aws.hooks.s3",
    "airflow.providers.google.cloud.hooks.gcs",
)


@pytest.fixture
def place(kind: Kind) -> LockPlace:
    store = kind.store()
    needed = {name: value for name, value in os.environ.items() if name.startswith(("AIRFLOW_CONN_KART", "STORAGE_"))}
    return LockPlace(_Leases(store), (kind.base, kind.base, TIME_TO_LIVE), TIME_TO_LIVE, environment=needed)


class _Leases:
    """Makes locks in a store; another process makes the store anew, by its connection."""

    def __init__(self, store: BucketStore) -> None:
        self._store = store

    def __call__(self, _directory: str, uri: str, time_to_live: float) -> LeaseLocks:
        return LeaseLocks(self._store, uri, time_to_live)


class TestLeasesInBuckets(EveryLease):
    """What every lease promises."""


LAST_REQUEST = {
    "s3": {
        "put": Rule("reset_after", method="PUT", path=".*kart-locks.*", times=1),
        "remove": Rule("reset_after", "DELETE", times=1),
    },
    "gcs": {
        "put": Rule("reset_after", method="POST", path=".*uploadType=multipart.*", times=1),
        "remove": Rule("reset_after", "DELETE", times=1),
    },
}


@pytest.mark.parametrize("action", ["acquire", "renew", "release"])
def test_a_lost_answer_is_no_loss(kind: Kind, action: str) -> None:
    direct = LeaseLocks(kind.store(), kind.base, 60)
    rule = LAST_REQUEST[kind.name]["remove" if action == "release" else "put"]
    with started(kind.address, rule) as address:
        broken = LeaseLocks(kind.store(address), kind.base, 60)
        if action == "acquire":
            lease = taken(broken)
        else:
            lease = taken(direct)
            vars(lease)["_locks"] = broken  # from here on the way is through the proxy
        lease.renew()
        assert isinstance(direct.acquire(NAME, Holder("Other")), Taken)
        lease.release()
    assert direct.look(NAME) is None


def test_where_no_retry_helps_the_next_renewal_sees_what_became_of_it(kind: Kind) -> None:
    put = LAST_REQUEST[kind.name]["put"]
    with started(kind.address, Rule("reset_before", "GET|HEAD", times=1), put) as address:
        locks = LeaseLocks(kind.store(address, retries=0), kind.base, 60)
        with pytest.raises(Exception, match="could not take the lock"):
            locks.acquire(NAME, Holder("Train"))
        seen = locks.look(NAME)
        assert seen is not None and seen.holder is not None
        assert seen.holder.task == "Train"


def test_a_workspace_in_a_bucket_has_leases(kind: Kind) -> None:
    store = kind.store()
    workspace = Workspace(
        kind.base,
        aws_conn_id=store.aws_conn_id if isinstance(store, S3Store) else None,
        gcp_conn_id=store.gcp_conn_id if isinstance(store, GCSStore) else None,
    )
    locks = locks_for(workspace)
    lease = taken(locks)
    assert lease.time_to_live == 60
    assert isinstance(locks_for(workspace).acquire(NAME, Holder("Other")), Taken)
    assert list(store.list(f"{kind.base}/")) == []
    lease.release()
