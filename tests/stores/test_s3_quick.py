"""The quick ways of S3's store answer as botocore's own do."""

from __future__ import annotations

from typing import Any

import pytest
from harness.bucket_kind import BUCKET, Kind
from harness.store_conformance import put

from airflow_kart.storage.base import ObjectStat
from airflow_kart.storage.buckets.s3_quick import read_listing
from airflow_kart.storage.buckets.service import bucket_key_of

NAMES = ["a", "a b", "a+b", "a%2Fb", "ä&<é>", 'q"q', "d/e", "d//e", "x" * 200, "~!*'()", "日本"]

pytestmark = pytest.mark.parametrize("kind", ["s3"], indirect=True)


def plain_client(store: Any) -> Any:
    """Return a client of the store's connection that knows no quick ways."""
    client = type(store)(store.aws_conn_id).service._clients.get()[0]
    client.meta.events.unregister("before-parse.s3.ListObjectsV2", read_listing)
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


LISTING = (
    "<ListBucketResult><IsTruncated>{more}</IsTruncated><Contents><Key>a</Key><LastModified>{time}</LastModified>"
    "<ETag>e</ETag><Size>{size}</Size></Contents></ListBucketResult>"
)
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
    read_listing(answer, found)
    assert (answer["body"], found) == (body, {})
    answer = {"status_code": 200, "body": LISTING.format(**GOOD).encode()}
    read_listing(answer, found)
    assert [entry["Size"] for entry in found["Contents"]] == [3], "the same answer without the oddness is read"


def test_only_the_first_read_takes_the_long_way(kind: Kind) -> None:
    store: Any = kind.store()
    for name in NAMES:
        put(store, f"{kind.base}/{name}", name.encode())
    asked: list[str] = []
    store.service._client.meta.events.register("before-call.s3.GetObject", lambda params, **_: asked.append(params["url"]))
    for name in NAMES:
        found, stat = store.read(f"{kind.base}/{name}"), store.stat(f"{kind.base}/{name}")
        assert (found.data, found.version) == (name.encode(), stat.version)
    assert store.read(f"{kind.base}/missing") is None
    assert len(asked) == 1


def test_a_range_is_no_pattern_for_whole_objects(kind: Kind) -> None:
    store: Any = kind.store()
    put(store, f"{kind.base}/a", b"abc")
    store.service.get(bucket_key_of(f"{kind.base}/a"), 1, 2).close()
    store.service.get(bucket_key_of(f"{kind.base}/a"), version=store.stat(f"{kind.base}/a").version).close()
    assert [store.read(f"{kind.base}/a").data for _ in range(2)] == [b"abc", b"abc"]
