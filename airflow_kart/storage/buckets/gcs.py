"""Objects in Google Cloud Storage.

A resumable upload must name its condition at its beginning. That is too early: a writer knows the expected version only
when it publishes. So the store sends a large object as hidden objects, its parts, and composes them by one conditional
request. The service compares each part with the MD5 in the request.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hashlib
import json
import posixpath
import re
import uuid
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from airflow_kart.connections import PerProcess
from airflow_kart.storage.base import ANY, UPLOADS, Expected, ObjectStat, Removable
from airflow_kart.storage.buckets.faults import (
    ExpiredFault,
    LostUploadFault,
    MissingFault,
    RefusedFault,
    Retries,
    TransientFault,
)
from airflow_kart.storage.buckets.gcs_client import GCSSession, new_session
from airflow_kart.storage.buckets.metadata import UPLOAD_KEY
from airflow_kart.storage.buckets.service import BucketKey, Head, ListedObject, Page, Piece, Unfinished
from airflow_kart.storage.buckets.store import BucketStore
from airflow_kart.storage.threads import Threads

_COMPOSED_AT_ONCE = 32
_THREADS = 8
_TYPE = "application/octet-stream"
_FIELDS = "name,size,generation,timeCreated"
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
_PART = re.compile(rf"(?P<folder>.*?)(?:^|/){re.escape(UPLOADS)}/(?P<upload>[0-9a-f]{{32}})/(?P<name>.+)/[^/]+")


class GCSStore(BucketStore):
    """Objects by ``gs://bucket/key``, through Airflow's GCSHook.

    Args:
        gcp_conn_id: id of the Airflow connection; by default as ``[kart] gcp_conn_id`` says.
        retries: how often a request is tried again; by default as ``[kart] storage_retries`` says.
    """

    def __init__(self, gcp_conn_id: str | None = None, retries: Retries | None = None) -> None:
        super().__init__(_GCS(gcp_conn_id), retries)
        self.gcp_conn_id = gcp_conn_id

    def __reduce__(self) -> tuple[type[GCSStore], tuple[str | None]]:
        """Pickle the connection's id alone."""
        return GCSStore, (self.gcp_conn_id,)


class _GCS:
    """Google Cloud Storage as a :class:`~airflow_kart.storage.buckets.service.Service`, by its JSON API."""

    metadata_limit = 8 << 10
    copied_at_once = 5 << 40  # an object of any size

    def __init__(self, gcp_conn_id: str | None) -> None:
        self._sessions: PerProcess[GCSSession] = PerProcess(lambda: new_session(gcp_conn_id))

    @property
    def who(self) -> str:
        return self._session.who

    def renew(self, fault: ExpiredFault) -> None:
        if isinstance(fault.client, GCSSession):
            self._sessions.renew(fault.client)

    def head(self, place: BucketKey) -> Head:
        found = self._json("GET", _object(place), place, params={"fields": f"{_FIELDS},metadata"})
        return Head(_stat(found), found.get("metadata", {}).get(UPLOAD_KEY, ""))

    def get(self, place: BucketKey, start: int = 0, stop: int | None = None, version: str | None = None) -> _GCSBody:
        params = {"alt": "media"} if version is None else {"alt": "media", "generation": version}
        headers = {} if stop is None else {"Range": f"bytes={start}-{stop - 1}"}
        session = self._session
        try:
            answer = session.request("GET", f"/download{_object(place)}", place, params=params, headers=headers, stream=True)
        except RefusedFault as fault:
            if start or stop is None or not str(fault).startswith("status 416"):
                raise
            # An empty object has no first byte; it is got without a range.
            answer = session.request("GET", f"/download{_object(place)}", place, params=params, stream=True)
        body = _GCSBody(session, answer)
        if body.start != start:
            body.close()
            raise RefusedFault("the service cannot answer with a part of an object")
        return body

    def read_quickly(self, place: BucketKey) -> None:
        """Let :meth:`get` ask."""

    def put(self, place: BucketKey, data: bytes, expected: Expected, metadata: dict[str, str]) -> str:
        about = {
            "name": place.key,
            "contentType": _TYPE,
            "metadata": metadata,
            "md5Hash": base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode("ascii"),
        }
        boundary = uuid.uuid4().hex
        head = f"--{boundary}\r\nContent-Type: application/json\r\n\r\n{json.dumps(about)}\r\n--{boundary}\r\nContent-Type: {_TYPE}\r\n\r\n"
        body = b"".join((head.encode(), data, f"\r\n--{boundary}--".encode()))
        try:
            made = self._json(
                "POST",
                f"/upload/storage/v1/b/{quote(place.bucket, safe='')}/o",
                place,
                params={"uploadType": "multipart", "fields": "generation", **_condition(expected)},
                headers={"Content-Type": f"multipart/related; boundary={boundary}"},
                data=body,
            )
        except MissingFault as fault:  # to make an object, only its bucket has to be there
            raise _no_bucket(place) from fault
        return str(made["generation"])

    def begin(self, place: BucketKey, metadata: dict[str, str]) -> str:  # noqa: ARG002 - given when it is composed
        return uuid.uuid4().hex

    def put_part(self, place: BucketKey, upload: str, number: int, data: bytes) -> str:
        part = _part(place, upload, number)
        self.put(part, data, ANY, {})
        return part.key

    def copy_part(self, place: BucketKey, upload: str, number: int, source: Piece) -> str:
        """Copy the object as a whole; to another region or class of storage, the service does so bit by bit."""
        part = _part(place, upload, number)
        params = {"ifSourceGenerationMatch": source.version, "fields": "done,rewriteToken"}
        path = f"{_object(source.place)}/rewriteTo{_object(part).removeprefix('/storage/v1')}"
        while not (answer := self._json("POST", path, place, params=params, json={"contentType": _TYPE}))["done"]:
            params["rewriteToken"] = answer["rewriteToken"]
        return part.key

    def arrange(self, place: BucketKey, upload: str, parts: Sequence[str]) -> Sequence[str]:
        """Compose parts of parts until one request takes the rest."""
        level = 0
        while len(parts) > _COMPOSED_AT_ONCE:
            level += 1
            groups = [parts[first : first + _COMPOSED_AT_ONCE] for first in range(0, len(parts), _COMPOSED_AT_ONCE)]
            folder = f"{_hidden(place, upload)}{posixpath.basename(place.key)}"
            keys = [f"{folder}/{level}-{number:05}" for number in range(1, len(groups) + 1)]
            with Threads(_THREADS, "kart-compose") as pool:
                list(pool.map(lambda key, group: self._compose(BucketKey(place.bucket, key), group, ANY, {}), keys, groups))
            parts = keys
        return parts

    def complete(
        self,
        place: BucketKey,
        upload: str,  # noqa: ARG002 - the parts say it
        parts: Sequence[str],
        expected: Expected,
        metadata: dict[str, str],
    ) -> str:
        try:
            return self._compose(place, parts, expected, metadata)
        except MissingFault as fault:
            raise LostUploadFault(str(fault)) from fault

    def clear(self, place: BucketKey, upload: str) -> None:
        self.abandon(place, upload)

    def abandon(self, place: BucketKey, upload: str) -> None:
        prefix, page = BucketKey(place.bucket, _hidden(place, upload)), None
        while True:
            listed = self.list(prefix, page)
            with Threads(_THREADS, "kart-remove") as pool:
                list(pool.map(lambda entry: self.remove(BucketKey(place.bucket, entry.key)), listed.entries))
            if listed.next is None:
                return
            page = listed.next

    def remove(self, place: BucketKey, expected: Removable = ANY) -> None:
        with contextlib.suppress(MissingFault):
            self._session.request("DELETE", _object(place), place, params=_condition(expected))

    def list(self, place: BucketKey, page: Any, *, deep: bool = True, after: str = "") -> Page:
        params = {"prefix": place.key, "maxResults": "1000", "fields": f"items({_FIELDS}),nextPageToken"}
        if after:
            params["startOffset"] = after
        if page is not None:
            params["pageToken"] = page
        if not deep:
            params["delimiter"] = "/"
        try:
            found = self._json("GET", f"/storage/v1/b/{quote(place.bucket, safe='')}/o", place, params=params)
        except MissingFault as fault:
            raise _no_bucket(place) from fault
        return Page([ListedObject(item["name"], _stat(item)) for item in found.get("items", ())], found.get("nextPageToken"))

    def list_unfinished(self, place: BucketKey, page: Any) -> Page:
        asked, last = page or (None, "")
        listed = self.list(place, asked)
        entries = []
        for entry in listed.entries:  # the parts of an upload follow each other
            match = _PART.fullmatch(entry.key)
            if match and match["upload"] != last:
                last = match["upload"]
                entries.append(Unfinished(posixpath.join(match["folder"], match["name"]), last, entry.stat.modified))
        return Page(entries, (listed.next, last) if listed.next is not None else None)

    @property
    def _session(self) -> GCSSession:
        return self._sessions.get()

    def _compose(self, place: BucketKey, keys: Sequence[str], expected: Expected, metadata: dict[str, str]) -> str:
        about = {
            "sourceObjects": [{"name": key} for key in keys],
            "destination": {"contentType": _TYPE, "metadata": metadata},
        }
        params = {"fields": "generation", **_condition(expected)}
        return str(self._json("POST", f"{_object(place)}/compose", place, params=params, json=about)["generation"])

    def _json(self, method: str, path: str, place: BucketKey, **options: Any) -> Any:
        answer = self._session.request(method, path, place, **options)
        try:
            return answer.json()
        except ValueError as error:
            raise TransientFault("the answer could not be understood") from error


class _GCSBody:
    """An answer with an object's bytes as a :class:`~airflow_kart.storage.buckets.body.Body`."""

    def __init__(self, session: GCSSession, answer: Any) -> None:
        self._session = session
        self._answer = answer
        self.version = str(answer.headers["X-Goog-Generation"])
        ranged = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        self.start = int(ranged[1]) if ranged else 0
        self.size = int(ranged[2]) if ranged else int(answer.headers["Content-Length"])

    def read(self, most: int, /) -> bytes:
        with self._session.faults():
            return bytes(self._answer.raw.read1(most))

    def close(self) -> None:
        self._answer.close()


def _no_bucket(place: BucketKey) -> RefusedFault:
    return RefusedFault(f"there is no bucket {place.bucket}; create it, or correct workspace_directory")


def _object(place: BucketKey) -> str:
    return f"/storage/v1/b/{quote(place.bucket, safe='')}/o/{quote(place.key, safe='')}"


def _hidden(place: BucketKey, upload: str) -> str:
    """Return the common beginning of the keys of an upload's parts."""
    return posixpath.join(posixpath.dirname(place.key), UPLOADS, upload, "")


def _part(place: BucketKey, upload: str, number: int) -> BucketKey:
    return BucketKey(place.bucket, f"{_hidden(place, upload)}{posixpath.basename(place.key)}/{number:05}")


def _stat(found: Any) -> ObjectStat:
    seconds, _, fraction = found["timeCreated"].rstrip("Z").partition(".")
    made = dt.datetime.fromisoformat(f"{seconds}.{fraction[:6]:<06}+00:00")
    return ObjectStat(int(found["size"]), made, str(found["generation"]))


def _condition(expected: Expected) -> dict[str, str]:
    return {} if expected is ANY else {"ifGenerationMatch": expected or "0"}
