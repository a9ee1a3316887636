"""Credentials that expire while a store is at work: it gets new ones by the connection, and goes on."""

from __future__ import annotations

import json
import logging
import os
import traceback
import urllib.request
from contextlib import AbstractContextManager
from typing import Any

import pytest
import xxhash
from harness import gcs_server, http_proxy, s3_server
from harness.bucket_kind import Kind
from harness.http_proxy import Rule
from harness.store_conformance import MB, get, put

from airflow_kart.exceptions import ConfigurationError, KartError, StorageError
from airflow_kart.storage import BucketStore, GCSStore, S3Store

ROLE = "arn:aws:iam::123456789012:role/kart"
NAME = "AIRFLOW_CONN_EXPIRING"
SECRETS = ("not-a-secret", "PRIVATE KEY")


def started(kind: Kind, *rules: Rule) -> AbstractContextManager[str]:
    return http_proxy.started(kind.address, *rules, module="harness.expiring_front")


def facts(front: str) -> dict[str, int]:
    """How often each token was used."""
    with urllib.request.urlopen(f"{front}/facts", timeout=30) as answer:
        return dict(json.load(answer))


def store_by_role(kind: Kind, front: str) -> BucketStore:
    """Return a store whose tokens are given at the front: for an assumed role, or to a service account."""
    if kind.name == "s3":
        sts = {"sts": {"endpoint_url": front}}
        kind.patch.setenv(NAME, s3_server.s3_connection(front, role_arn=ROLE, service_config=sts))
        return S3Store("expiring")
    return google_store(kind, front, "account")


def google_store(kind: Kind, front: str, account: str) -> GCSStore:
    kind.patch.setenv(NAME, gcs_server.gcs_connection(f"{front}/{account}"))
    kind.patch.setenv("STORAGE_EMULATOR_HOST", front)
    return GCSStore("expiring")


@pytest.fixture(autouse=True)
def no_other_credentials(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out whoever the machine is to AWS."""
    empty = str(tmp_path_factory.mktemp("aws") / "none")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, empty)


@pytest.mark.parametrize("good_for", [1, 3, 6])
def test_a_large_upload_goes_on_with_new_credentials(kind: Kind, good_for: int) -> None:
    data = os.urandom(MB) * 70 + b"."
    with started(kind, Rule("token", times=good_for), Rule("token")) as front:
        store = store_by_role(kind, front)
        assert store.stat(f"{kind.base}/a") is None  # which gets the first token, for all threads to use
        upload = store.upload(f"{kind.base}/a")
        for start in range(0, len(data), MB):
            upload.write(data[start : start + MB])
        version = upload.publish(None)
        used = list(facts(front).values())
    assert used[0] > good_for
    assert sum(used[1:]) >= 10 - good_for, "parts, and what publishes them"
    found = kind.store().read(f"{kind.base}/a")
    assert found is not None
    assert (found.data == data, found.version) == (True, version)
    assert list(kind.store().abandoned_uploads(f"{kind.base}/")) == []


@pytest.mark.parametrize("good_for", [1, 3])
def test_a_large_object_is_read_on_with_new_credentials(kind: Kind, good_for: int) -> None:
    data = os.urandom(MB) * 60
    put(kind.store(), f"{kind.base}/a", data)
    with (
        started(kind, Rule("token", times=good_for), Rule("token")) as front,
        store_by_role(kind, front).open(f"{kind.base}/a") as stream,
    ):
        assert stream.read() == data
        assert stream.hexdigest() == xxhash.xxh3_128_hexdigest(data)  # type: ignore[attr-defined]
        assert next(iter(facts(front).values())) > good_for


@pytest.mark.parametrize("good_for", [2, 3, 4])
def test_every_operation_goes_on_with_new_credentials(kind: Kind, good_for: int) -> None:
    """Each token is good for a few requests only, so that every kind of request meets one that has expired."""
    a, b = f"{kind.base}/a", f"{kind.base}/b"
    with started(kind, Rule("token", times=good_for)) as front:
        store = store_by_role(kind, front)
        for _ in range(2):
            assert store.stat(a) is None
            assert store.read(a) is None
            put(store, a, b"x")
            assert get(store, a) == b"x"
            found, read = store.stat(a), store.read(a)
            assert found is not None and read is not None
            assert (found.size, found.version) == (1, read.version)
            put(store, b, b"")
            assert get(store, b) == b""
            assert sorted(store.list(f"{kind.base}/")) == [a, b]
            many = [a, *(f"{kind.base}/missing/{number}" for number in range(30))]
            assert store.stat_by_listing(many) == dict.fromkeys(many[1:])  # a single one is not worth a listing
            assert list(store.abandoned_uploads(f"{kind.base}/")) == []
            store.check_writable(kind.base)
            assert store.remove(a) and store.remove(b)
            assert not store.remove(a)
        assert len(facts(front)) > 6, "tokens"


def test_a_connection_that_was_given_new_credentials_is_used_anew(kind: Kind) -> None:
    """The first ones are at their end; somebody sets others in the connection while the store is at work."""
    until_published = {"s3": 5, "gcs": 4}[kind.name]
    with started(
        kind, Rule("token", times=until_published), Rule("token"), Rule("given", path="/old/token", times=1)
    ) as front:
        if kind.name == "s3":
            kind.patch.setenv(NAME, s3_server.s3_connection(front, aws_session_token="old"))
            store: BucketStore = S3Store("expiring")
        else:
            store = google_store(kind, front, "old")
        assert store.stat(f"{kind.base}/a") is None
        upload = store.upload(f"{kind.base}/a")
        upload.write(bytes(17 * MB))
        upload.finish()
        if kind.name == "s3":
            kind.patch.setenv(NAME, s3_server.s3_connection(front, aws_session_token="new"))
        else:
            google_store(kind, front, "new")
        upload.publish()
        assert get(store, f"{kind.base}/a") == bytes(17 * MB)
        assert any("new" in token for token in facts(front))


def test_credentials_that_stay_expired_are_named_and_never_told(kind: Kind) -> None:
    with started(kind, Rule("token", times=1), Rule("given", path="/old/token", times=1)) as front:
        if kind.name == "s3":
            kind.patch.setenv(NAME, s3_server.s3_connection(front, aws_session_token="old"))
            store: BucketStore = S3Store("expiring")
        else:
            store = google_store(kind, front, "old")
        assert store.stat(f"{kind.base}/a") is None
        for action in (store.stat, store.read, store.remove):
            with pytest.raises(
                StorageError, match=r"credentials .*renew those of the connection \(connection expiring"
            ) as caught:
                action(f"{kind.base}/a")
            assert not any(secret in str(caught.value) for secret in SECRETS)


@pytest.mark.parametrize("kind", ["s3"], indirect=True)
def test_a_role_that_may_no_longer_be_assumed_is_named(kind: Kind) -> None:
    """Both where the store asks for new credentials, and where the client does so by itself, as they end soon."""
    with started(kind, Rule("token", times=1), Rule("given", times=1)) as front:
        store: Any = store_by_role(kind, front)
        assert store.stat(f"{kind.base}/a") is None
        with pytest.raises(ConfigurationError, match=r"\(connection expiring\): .*sts:AssumeRole.*correct the connection"):
            store.stat(f"{kind.base}/a")
    with started(kind, Rule("token"), Rule("given", times=2, seconds=300)) as front:
        store = store_by_role(kind, front)
        assert store.stat(f"{kind.base}/a") is None
        with pytest.raises(
            StorageError, match=r"the role .* could not be assumed: AccessDenied: .*sts:AssumeRole \(connection exp"
        ):
            store.stat(f"{kind.base}/a")


@pytest.mark.parametrize("kind", ["s3", "s3 that is no address", "gcs"])
def test_the_password_of_an_endpoint_is_told_nowhere(
    kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AIRFLOW__KART__STORAGE_RETRIES", "1")
    address = "user:EP-SECRET@127.0.0.1:1"
    if kind == "gcs":
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://{address}")
        uri = "gs://bucket/a"
    else:
        endpoint = f"http://{address}" if kind == "s3" else f"http://{address} x"
        connection = {
            "conn_type": "aws",
            "login": "AKIAEXAMPLE",
            "password": "0123456789",
            "extra": {"endpoint_url": endpoint},
        }
        monkeypatch.setenv("AIRFLOW_CONN_TELLTALE", json.dumps(connection))
        uri = "s3://telltale@bucket/a"
    store: BucketStore = GCSStore() if kind == "gcs" else S3Store("telltale")
    with caplog.at_level(logging.DEBUG, logger="airflow_kart"), pytest.raises(KartError) as caught:
        store.read(uri)
    said = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + caplog.text
    assert "EP-SECRET" not in said
    assert "could not read" in said or "no S3 client could be made" in said
    assert "telltale" in said or kind == "gcs"
