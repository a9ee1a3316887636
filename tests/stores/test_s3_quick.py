"""The quick ways of S3's store answer as botocore's own do."""

from __future__ import annotations

import os
import signal
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from harness.bucket_kind import BUCKET, Kind
from harness.store_conformance import put

from airflow_kart.storage.base import ANY, ObjectStat
from airflow_kart.storage.buckets import s3_fast
from airflow_kart.storage.buckets.s3_quick import BEFORE_PARSE, read_listing
from airflow_kart.storage.buckets.service import bucket_key_of

NAMES = ["a", "a b", "a+b", "a%2Fb", "ä&<é>", 'q"q', "d/e", "d//e", "x" * 200, "~!*'()", "日本"]

pytestmark = pytest.mark.parametrize("kind", ["s3"], indirect=True)


needs_obstore = pytest.mark.skipif(sys.version_info < (3, 11), reason="there is no obstore for Python 3.10")


@pytest.fixture(params=["without obstore", pytest.param("with obstore", marks=needs_obstore)])
def fast(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both ways to read small objects: obstore takes no requests in a process that is not its own."""
    monkeypatch.setattr(s3_fast, "_user", {} if request.param == "with obstore" else {"pid": 1})
    return bool(request.param == "with obstore")


def plain_client(store: Any) -> Any:
    """Return a client of the store's connection that knows no quick ways."""
    client = type(store)(store.aws_conn_id).service._clients.get()[0]
    client.meta.events.unregister(BEFORE_PARSE, read_listing)
    return client


def test_a_listing_is_as_botocore_reads_it(kind: Kind) -> None:
    store: Any = kind.store()
    for name in NAMES:
        put(store, f"{kind.base}/{name}", name.encode())
    prefix = bucket_key_of(f"{kind.base}/")
    for deep in (True, False):
        options = {} if deep else {"Delimiter": "/"}
        listed = plain_client(store).list_objects_v2(Bucket=BUCKET, Prefix=prefix.key, **options)["Contents"]
        page = store.service.list(prefix, None, deep=deep)
        assert page.next is None
        assert {entry.key: entry.stat for entry in page.entries} == {
            found["Key"]: ObjectStat(found["Size"], found["LastModified"], found["ETag"]) for found in listed
        }
        assert len(listed) == len(NAMES) if deep else len(listed) < len(NAMES)
    assert store.service.list(bucket_key_of(f"{kind.base}/nothing/"), None).entries == []


@pytest.mark.parametrize("size", [1, 3, 11])
def test_pages_follow_each_other(kind: Kind, size: int) -> None:
    store: Any = kind.store()
    for name in NAMES:
        put(store, f"{kind.base}/{name}", b"x")
    store.service._client.meta.events.register(
        "before-parameter-build.s3.ListObjectsV2", lambda params, **_: params.update(MaxKeys=size)
    )
    assert sorted(store.list(f"{kind.base}/")) == sorted(f"{kind.base}/{name}" for name in NAMES)


@pytest.mark.parametrize("order", ["by key", "without order"])
@pytest.mark.parametrize("every", [1, 2, 7])
def test_many_objects_are_looked_up_by_pages_at_once(kind: Kind, every: int, order: str) -> None:
    """The pages of a folder have 30 objects, of which all are asked for, every second or every seventh."""
    store: Any = kind.store()
    there = [f"{kind.base}/{number:03}" for number in range(300)]
    for uri in there:
        store.service.put(bucket_key_of(uri), uri.encode(), ANY, {})
    asked: list[str] = []
    events = store.service._client.meta.events
    events.register("before-parameter-build.s3.ListObjectsV2", lambda params, **_: params.update(MaxKeys=30))
    events.register("before-call.s3.ListObjectsV2", lambda params, **_: asked.append(params["url"]))
    if order == "without order":
        events.register("after-call.s3.ListObjectsV2", lambda parsed, **_: parsed["Contents"].reverse())
    wanted = there[::every] + [f"{uri}-missing" for uri in there[::every]]
    found = store.stat_by_listing(wanted)
    assert {uri: stat and stat.size for uri, stat in found.items()} == {
        uri: len(uri.encode()) if uri in there else None for uri in found
    }
    if every == 7 or order == "without order":  # a page names fewer than twenty of them, or nobody knows which it leaves out
        assert len(asked) == 1
        return
    assert set(found) == set(wanted)
    assert len(asked) <= 20


@pytest.mark.parametrize("first", [20, 21, 29])
def test_a_first_page_unlike_the_others_costs_few_pages(kind: Kind, first: int) -> None:
    """Other objects lie among the first ones; a page has 30."""
    store: Any = kind.store()
    others = [f"{kind.base}/000-{number:02}" for number in range(30 - first)]
    there = [f"{kind.base}/{number:03}" for number in range(300)]
    for uri in others + there:
        store.service.put(bucket_key_of(uri), b"x", ANY, {})
    asked: list[str] = []
    events = store.service._client.meta.events
    events.register("before-parameter-build.s3.ListObjectsV2", lambda params, **_: params.update(MaxKeys=30))
    events.register("before-call.s3.ListObjectsV2", lambda params, **_: asked.append(params["url"]))
    found = store.stat_by_listing(there)
    assert all(stat and stat.size == 1 for stat in found.values())
    assert set(found) == set(there)
    assert len(asked) <= 20


LISTING = (
    "<ListBucketResult><IsTruncated>{more}</IsTruncated><Contents><Key>a</Key><LastModified>{time}</LastModified>"
    "<ETag>e</ETag><Size>{size}</Size></Contents></ListBucketResult>"
)
LIST = SimpleNamespace(name="ListObjectsV2")
GOOD = {"more": "false", "time": "2026-01-02T03:04:05.000Z", "size": "3"}


@pytest.mark.parametrize(
    ("status", "changes"),
    [
        (500, {}),
        (200, {"size": ""}),
        (200, {"time": "Fri, 02 Jan 2026 03:04:05 GMT"}),
        (200, {"more": "true"}),
        (200, {"size": "<"}),
    ],
)
def test_an_odd_listing_is_left_to_botocore(kind: Kind, status: int, changes: dict[str, str]) -> None:
    body, found = LISTING.format(**{**GOOD, **changes}).encode(), dict[str, Any]()
    answer = {"status_code": status, "body": body}
    read_listing(LIST, answer, found)
    assert (answer["body"], found) == (body, {})
    answer = {"status_code": 200, "body": LISTING.format(**GOOD).encode()}
    read_listing(LIST, answer, found)
    assert [entry["Size"] for entry in found["Contents"]] == [3], "the same answer without the oddness is read"


def test_botocore_searches_no_listing_for_errors_a_second_time(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    store: Any = kind.store()
    put(store, f"{kind.base}/one", b"1")
    searched: list[int] = []

    def search(_: int, body: bytes) -> bool:
        searched.append(len(body))
        return False

    monkeypatch.setattr("botocore.handlers._looks_like_special_case_error", search)
    assert len(store.service.list(bucket_key_of(f"{kind.base}/"), None).entries) == 1
    assert max(searched) < 50


def requests_of(store: Any) -> list[str]:
    """Return the list of the GetObject requests that botocore makes from now on: ``called`` in full, or ``signed`` alone."""
    seen: list[str] = []
    events = store.service._client.meta.events
    events.register("before-call.s3.GetObject", lambda **_: seen.append("called"))
    events.register("before-sign.s3.GetObject", lambda **_: seen.append("signed"))
    return seen


def test_only_the_first_read_takes_the_long_way(kind: Kind, fast: bool) -> None:
    store: Any = kind.store()
    for name in NAMES:
        put(store, f"{kind.base}/{name}", name.encode())
    seen = requests_of(store)
    for name in NAMES:
        found, stat = store.read(f"{kind.base}/{name}"), store.stat(f"{kind.base}/{name}")
        assert (found.data, found.version) == (name.encode(), stat.version)
    assert store.read(f"{kind.base}/missing") is None
    assert seen.count("called") == 1
    by_botocore = 2 if fast else 1 + len(NAMES)  # obstore leaves d//e to the client
    assert seen.count("signed") == by_botocore


@needs_obstore
def test_a_child_of_a_process_that_used_obstore_reads_without(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_fast, "_user", {})
    store: Any = kind.store()
    put(store, f"{kind.base}/a", b"abc")
    assert [store.read(f"{kind.base}/a").data for _ in range(3)] == [b"abc"] * 3
    if not (child := os.fork()):
        signal.alarm(60)
        os._exit(0 if [store.read(f"{kind.base}/a").data for _ in range(3)] == [b"abc"] * 3 else 1)
    assert os.waitpid(child, 0)[1] == 0


@needs_obstore
@pytest.mark.parametrize("obstacle", ["a proxy", "other certificates", "another signature", "a server in trouble"])
def test_what_obstore_cannot_do_the_client_does(kind: Kind, monkeypatch: pytest.MonkeyPatch, obstacle: str) -> None:
    monkeypatch.setattr(s3_fast, "_user", {})
    store: Any = kind.store()
    put(store, f"{kind.base}/a", b"abc")
    client = store.service._client
    if obstacle == "a proxy":
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    elif obstacle == "other certificates":
        monkeypatch.setattr(client._endpoint.http_session, "_verify", "/of/our/own.pem")
        assert not s3_fast._is_plain(client, "https://bucket/")
        monkeypatch.setattr(s3_fast, "_is_plain", lambda *_: False)
    elif obstacle == "another signature":
        monkeypatch.setattr(client.meta.config, "signature_version", "s3")
    else:
        monkeypatch.setattr(s3_fast.FastReads, "_new_store", lambda *_: _store_in_trouble())
    seen = requests_of(store)
    assert [store.read(f"{kind.base}/a").data for _ in range(3)] == [b"abc"] * 3
    assert seen.count("signed") == 3


def _store_in_trouble() -> Any:
    from obstore.store import S3Store

    options: Any = {"allow_http": True}
    return S3Store("bucket", endpoint="http://127.0.0.1:1", client_options=options, retry_config={"max_retries": 0})


@needs_obstore
def test_new_credentials_reach_obstore(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore renews some credentials by itself; each read asks for the current ones."""
    from botocore.credentials import Credentials

    monkeypatch.setattr(s3_fast, "_user", {})
    store: Any = kind.store()
    put(store, f"{kind.base}/a", b"abc")
    for _ in range(2):
        store.read(f"{kind.base}/a")
    fast: s3_fast.FastReads = store.service._clients.get()[2]._patterns[BUCKET][3]
    before = fast._made
    store.service._client._request_signer._credentials = Credentials("another", "secret", "token")
    seen = requests_of(store)
    assert store.read(f"{kind.base}/a").data == b"abc"
    assert seen == []
    assert (before[0].token, fast._made[0].token) == (None, "token")


def test_a_range_is_no_pattern_for_whole_objects(kind: Kind) -> None:
    store: Any = kind.store()
    put(store, f"{kind.base}/a", b"abc")
    store.service.get(bucket_key_of(f"{kind.base}/a"), 1, 2).close()
    store.service.get(bucket_key_of(f"{kind.base}/a"), version=store.stat(f"{kind.base}/a").version).close()
    assert [store.read(f"{kind.base}/a").data for _ in range(2)] == [b"abc", b"abc"]
