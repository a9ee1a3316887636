"""What the stores of buckets make of a network and services that misbehave."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import xxhash
from harness.bucket_kind import BUCKET, Kind
from harness.http_proxy import Rule, started
from harness.loopback import free_port
from harness.s3_server import s3_connection
from harness.store_conformance import MB, get, put

from airflow_kart.exceptions import ConfigurationError, ConflictError, StorageError
from airflow_kart.storage import GCSStore, S3Store

STORM = [
    Rule("reset_before", share=0.03),
    Rule("reset_after", share=0.03),
    Rule("answer", share=0.02, status=500),
    Rule("answer", share=0.02, status=503, body="<Error><Code>SlowDown</Code></Error>"),
    Rule("answer", share=0.02, status=429),
    Rule("truncate", method="GET", share=0.05),
    Rule("nothing", share=0.03, seconds=0.05),
]
PUBLISHING = {
    "s3": {"small": Rule("", method="PUT", path=".*/a(?:[?].*)?"), "large": Rule("", method="POST", path=".*uploadId=.*")},
    "gcs": {
        "small": Rule("", method="POST", path=".*uploadType=multipart.*"),
        "large": Rule("", method="POST", path=".*/compose.*"),
    },
}
"""The requests that make an object visible."""
LENGTHS = {"small": 1000, "large": 9 * MB}


def rule_for(kind: Kind, size: str, **changes: Any) -> Rule:
    found = PUBLISHING[kind.name][size]
    return Rule(**{"method": found.method, "path": found.path, **changes})


class Model:
    """Operations on one uri, and what it must hold after each of them."""

    def __init__(self, store: Any, uri: str, seed: int) -> None:
        self.store, self.uri, self.dice = store, uri, random.Random(seed)
        self.data: bytes | None = None
        self.version: str | None = None
        self.old: str | None = None

    def step(self) -> None:
        self.dice.choice([self.put, self.put, self.put_stale, self.read, self.stream, self.stat, self.list, self.remove])()

    def put(self) -> None:
        large = self.dice.random() < 0.02
        data = self.dice.randbytes(self.dice.randrange(5000)) + (bytes(17 * MB) if large else b"")
        upload = self.store.upload(self.uri)
        upload.write(data)
        before, self.old = self.version, self.version or self.old
        self.version = upload.publish(before)
        self.data = data

    def put_stale(self) -> None:
        upload = self.store.upload(self.uri)
        upload.write(b"never")
        with pytest.raises(ConflictError):
            upload.publish('"00000000000000000000000000000000"' if self.uri.startswith("s3") else "17")
        upload.discard()

    def read(self) -> None:
        found = self.store.read(self.uri)
        assert (found.data, found.version) == (self.data, self.version) if self.data is not None else found is None

    def stream(self) -> None:
        if self.data is None:
            with pytest.raises(FileNotFoundError):
                self.store.open(self.uri)
            return
        with self.store.open(self.uri) as stream:
            assert stream.read() == self.data
            assert stream.hexdigest() == xxhash.xxh3_128_hexdigest(self.data)

    def stat(self) -> None:
        found = self.store.stat(self.uri)
        assert (found.size, found.version) == (len(self.data), self.version) if self.data is not None else found is None

    def list(self) -> None:
        folder = self.uri.rpartition("/")[0]
        assert list(self.store.list(f"{folder}/")) == ([self.uri] if self.data is not None else [])

    def remove(self) -> None:
        if self.dice.random() < 0.3:
            assert self.store.remove(self.uri) is (self.data is not None)
            self.data = self.version = None


def test_of_a_thousand_operations_in_a_storm_none_is_lost(kind: Kind) -> None:
    with started(kind.address, *STORM) as proxy:
        store = kind.store(proxy)
        models = [Model(store, f"{kind.base}/{number}/a", number) for number in range(5)]
        errors: list[BaseException] = []

        def work(model: Model) -> None:
            try:
                for _ in range(200):
                    model.step()
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(model,)) for model in models]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
    clean = kind.store()
    for model in models:
        model.store = clean
        model.read()
        model.stat()
    left = {model.uri for model in models if model.data is not None}
    assert set(clean.list(f"{kind.base}/")) == left


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("lost", [1, 2])
def test_a_lost_answer_is_neither_a_conflict_nor_a_loss(kind: Kind, size: str, lost: int) -> None:
    with started(kind.address, rule_for(kind, size, do="reset_after", times=lost)) as proxy:
        store = kind.store(proxy)
        upload = store.upload(f"{kind.base}/a")
        upload.write(os.urandom(LENGTHS[size]))
        upload.finish()
        version = upload.publish(None)
        found = kind.store().stat(f"{kind.base}/a")
    assert found is not None
    assert (found.size, found.version) == (LENGTHS[size], version)


def test_a_lost_answer_to_a_replacement_is_settled(kind: Kind) -> None:
    first = kind.store().upload(f"{kind.base}/a")
    first.write(b"first")
    before = first.publish()
    with started(kind.address, rule_for(kind, "small", do="reset_after", times=1)) as proxy:
        upload = kind.store(proxy).upload(f"{kind.base}/a")
        upload.write(b"second")
        version = upload.publish(before)
    found = kind.store().read(f"{kind.base}/a")
    assert found is not None
    assert (found.data, found.version) == (b"second", version)


def test_a_conflict_stays_one_when_its_answer_is_lost(kind: Kind) -> None:
    put(kind.store(), f"{kind.base}/a", b"first")
    with started(kind.address, rule_for(kind, "small", do="reset_after", times=2)) as proxy:
        upload = kind.store(proxy).upload(f"{kind.base}/a")
        upload.write(b"second")
        with pytest.raises(ConflictError):
            upload.publish(None)
    assert get(kind.store(), f"{kind.base}/a") == b"first"


def test_answers_that_are_lost_for_ever_are_settled_by_looking(kind: Kind) -> None:
    with started(kind.address, rule_for(kind, "small", do="reset_after")) as proxy:
        upload = kind.store(proxy, retries=1).upload(f"{kind.base}/a")
        upload.write(b"there")
        assert upload.publish()
    assert get(kind.store(), f"{kind.base}/a") == b"there"


def test_what_never_got_there_is_no_success(kind: Kind) -> None:
    with started(kind.address, rule_for(kind, "small", do="reset_before")) as proxy:
        upload = kind.store(proxy, retries=1).upload(f"{kind.base}/a")
        upload.write(b"never")
        with pytest.raises(StorageError, match=f"could not publish {kind.base}/a: .*trying again did not help"):
            upload.publish()
    assert kind.store().stat(f"{kind.base}/a") is None


def test_a_truncated_answer_is_continued(kind: Kind) -> None:
    data = os.urandom(MB) * 20
    put(kind.store(), f"{kind.base}/a", data)
    with started(kind.address, Rule("truncate", method="GET", times=5)) as proxy:
        store = kind.store(proxy)
        assert get(store, f"{kind.base}/a") == data
    with started(kind.address, Rule("truncate", method="GET")) as proxy, pytest.raises(StorageError, match="could not read"):
        get(kind.store(proxy, retries=2), f"{kind.base}/a")


def test_a_dripping_answer_is_asked_for_anew(kind: Kind) -> None:
    data = os.urandom(MB)
    put(kind.store(), f"{kind.base}/a", data)
    with started(kind.address, Rule("drip", method="GET", times=1)) as proxy:
        began = time.monotonic()
        assert get(kind.store(proxy), f"{kind.base}/a") == data
        assert 5 < time.monotonic() - began < 30


def test_storms_of_throttling_end_in_an_error_that_says_so(kind: Kind) -> None:
    with started(kind.address, Rule("answer", status=503)) as proxy:
        store = kind.store(proxy, retries=2)
        for action in [lambda: store.stat(f"{kind.base}/a"), lambda: put(store, f"{kind.base}/a", b"x")]:
            with pytest.raises(
                StorageError, match=rf"could not .* {kind.base}/a: .*503.*trying again did not help \(connection kart_"
            ):
                action()


def test_expired_credentials_are_renewed_once(kind: Kind) -> None:
    put(kind.store(), f"{kind.base}/a", b"x")
    token = Rule("answer", path="/token", status=200, body='{"access_token": "a-token", "expires_in": 3600}')
    no_token = Rule("answer", path="/token", status=400, body='{"error": "invalid_grant", "error_description": "gone"}')
    if kind.name == "s3":
        expired = Rule("answer", status=400, body="<Error><Code>ExpiredToken</Code><Message>old</Message></Error>")
        once, always = [replace(expired, times=1)], [expired]
    else:
        once, always = [replace(no_token, times=1), token], [no_token]
    with started(kind.address, *once) as proxy:
        assert get(kind.store(proxy, account=True), f"{kind.base}/a") == b"x"
    with started(kind.address, *always) as proxy, pytest.raises(StorageError, match=r"credentials .*renew those") as caught:
        kind.store(proxy, account=True).read(f"{kind.base}/a")
    assert "PRIVATE KEY" not in str(caught.value)


def test_a_service_that_is_not_there_is_named(kind: Kind) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(StorageError) as caught:
        kind.store(address, retries=1).stat(f"{kind.base}/a")
    message = str(caught.value)
    assert f"could not look up {kind.base}/a" in message
    assert "trying again did not help" in message, "a service may be away for a moment"
    assert "(connection kart_" in message
    assert address in message
    assert "not-a-secret" not in message


REFUSED: dict[str, list[tuple[int, str, str]]] = {
    "s3": [
        (
            403,
            "<Error><Code>AccessDenied</Code><Message>no</Message></Error>",
            "access denied; the credentials need s3:ListBucket",
        ),
        (403, "<Error><Code>InvalidAccessKeyId</Code></Error>", "does not accept the credentials"),
        (403, "<Error><Code>SignatureDoesNotMatch</Code></Error>", "does not accept the credentials"),
        (301, "<Error><Code>PermanentRedirect</Code></Error>", "the bucket kart is in another region; set region_name"),
        (501, "<Error><Code>NotImplemented</Code></Error>", "it has to know conditional requests"),
        (400, "<Error><Code>Odd</Code><Message>as never seen</Message></Error>", "Odd: as never seen"),
    ],
    "gcs": [
        (403, '{"error": {"message": "no"}}', "access denied; the credentials need storage.objects.get"),
        (404, '{"error": {"message": "The specified bucket does not exist."}}', "there is no bucket kart; create it"),
        (400, '{"error": {"message": "as never seen"}}', "status 400: as never seen"),
    ],
}


def test_refusals_say_what_to_do(kind: Kind) -> None:
    for status, body, words in REFUSED[kind.name]:
        # The SDK asks for a bucket's region by a HEAD, which the service answers as ever.
        with started(kind.address, Rule("answer", method="(?!HEAD).*", status=status, body=body)) as proxy:
            store = kind.store(proxy)
            for action in [lambda: store.read(f"{kind.base}/a"), lambda: put(store, f"{kind.base}/a", b"x")]:
                began = time.monotonic()
                with pytest.raises(StorageError, match=rf"could not (read|publish) {kind.base}/a: .*{words}") as caught:
                    action()
                assert time.monotonic() - began < 10, "what is refused is not tried again"
                assert "not-a-secret" not in str(caught.value)


def test_throttling_by_reason_is_waited_for(kind: Kind) -> None:
    if kind.name == "s3":
        body, status = "<Error><Code>SlowDown</Code></Error>", 503
    else:
        body, status = '{"error": {"message": "slow", "errors": [{"reason": "rateLimitExceeded"}]}}', 403
    put(kind.store(), f"{kind.base}/a", b"x")
    with started(kind.address, Rule("answer", status=status, body=body, times=3)) as proxy:
        assert get(kind.store(proxy), f"{kind.base}/a") == b"x"


def test_a_missing_bucket_is_named(kind: Kind) -> None:
    store, uri = kind.store(), f"{kind.base.replace(BUCKET, 'nowhere', 1)}/a"
    with pytest.raises(StorageError, match="there is no bucket nowhere; create it, or correct workspace_directory"):
        put(store, uri, b"x")
    with pytest.raises(StorageError, match="there is no bucket nowhere"):
        store.check_writable(uri)


@pytest.mark.parametrize(("make", "scheme"), [(S3Store, "s3"), (GCSStore, "gs")])
def test_a_connection_that_is_not_there_is_named(make: Callable[[str], Any], scheme: str) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no connection 'misspelled': add it .* AIRFLOW_CONN_MISSPELLED"):
        make("misspelled").stat(f"{scheme}://bucket/a")


def test_without_the_default_connection_the_services_own_ways_are_tried(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind.name == "s3":
        for name, value in {
            "AWS_ENDPOINT_URL": kind.address,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "not-a-secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        store: Any = S3Store()
    else:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", kind.address)
        store = GCSStore()
    put(store, f"{kind.base}/a", b"x")
    assert get(store, f"{kind.base}/a") == b"x"
    assert store.service.who.startswith("without a connection, as there is no ")


def test_a_configured_connection_is_used(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    option = {"s3": "AIRFLOW__KART__AWS_CONN_ID", "gcs": "AIRFLOW__KART__GCP_CONN_ID"}[kind.name]
    made = kind.store()
    monkeypatch.setenv(option, made.aws_conn_id if kind.name == "s3" else made.gcp_conn_id)  # type: ignore[attr-defined]
    put(type(made)(), f"{kind.base}/a", b"x")  # type: ignore[call-arg]
    assert get(made, f"{kind.base}/a") == b"x"
    monkeypatch.setenv(option, "misspelled")
    with pytest.raises(ConfigurationError, match="there is no connection 'misspelled'"):
        type(made)().stat(f"{kind.base}/a")  # type: ignore[call-arg]


WITHOUT = """
import sys
sys.modules["airflow.providers.{provider}"] = None
from airflow_kart.exceptions import ConfigurationError
from airflow_kart.storage import store_for
try:
    store_for("{scheme}://bucket/a").stat("{scheme}://bucket/a")
except ConfigurationError as error:
    print(error)
"""


@pytest.mark.parametrize(("provider", "scheme", "extra"), [("amazon", "s3", "s3"), ("google", "gs", "gcs")])
def test_a_missing_package_is_named(provider: str, scheme: str, extra: str) -> None:
    code = WITHOUT.format(provider=provider, scheme=scheme)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"pip install 'airflow-kart[{extra}]'" in done.stdout, done.stderr


def test_nothing_of_a_service_is_loaded_before_it_is_needed() -> None:
    code = "import sys, airflow_kart.storage as s; s.store_for('s3://b/k'); s.store_for('gs://b/k').upload('gs://b/k'); "
    code += "print([name for name in ('airflow', 'boto3', 'botocore', 'google.cloud.storage', 'requests') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("sparing", [False, True])
def test_a_connection_may_ask_for_fewer_checksums(
    addresses: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, sparing: bool
) -> None:
    """As services want it that speak S3's protocol and know no checksums of parts."""
    extra = {"config_kwargs": {"request_checksum_calculation": "when_required"}} if sparing else {}
    monkeypatch.setenv(f"AIRFLOW_CONN_SPARING_{sparing}".upper(), s3_connection(addresses("s3"), **extra))
    store, data = S3Store(f"sparing_{sparing}".lower()), os.urandom(9 * MB)
    sent: list[str] = []
    for operation in ("CreateMultipartUpload", "UploadPart"):
        store.service._client.meta.events.register(  # type: ignore[attr-defined]
            f"before-send.s3.{operation}", lambda request, **_: sent.append(" ".join(request.headers).lower())
        )
    put(store, f"s3://{BUCKET}/sparing/a", data)
    assert get(store, f"s3://{BUCKET}/sparing/a") == data
    assert len(sent) == 3
    assert all(("checksum" in headers) is not sparing for headers in sent)
