"""Objects in S3, and in services with the protocol of S3 and conditional writes.

botocore adds a checksum to each request, and the service verifies the checksum.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from typing import Any

from airflow_kart.connections import PerProcess
from airflow_kart.storage.base import ANY, Expected, ObjectContent, ObjectStat, Removable
from airflow_kart.storage.buckets.faults import ExpiredFault, LostUploadFault, MissingFault, RefusedFault, Retries
from airflow_kart.storage.buckets.metadata import UPLOAD_KEY
from airflow_kart.storage.buckets.s3_client import faults_of, new_client
from airflow_kart.storage.buckets.s3_quick import QuickReads
from airflow_kart.storage.buckets.service import BucketKey, Head, ListedObject, Page, Piece, Unfinished
from airflow_kart.storage.buckets.store import BucketStore

_WORDLESS = {"400", "403"}
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


class S3Store(BucketStore):
    """Objects by ``s3://bucket/key``, through Airflow's S3Hook.

    Args:
        aws_conn_id: id of the Airflow connection; by default as ``[kart] aws_conn_id`` says.
        retries: how often a request is tried again; by default as ``[kart] storage_retries`` says.
    """

    def __init__(self, aws_conn_id: str | None = None, retries: Retries | None = None) -> None:
        super().__init__(_S3(aws_conn_id), retries)
        self.aws_conn_id = aws_conn_id

    def __reduce__(self) -> tuple[type[S3Store], tuple[str | None]]:
        """Pickle the connection's id alone."""
        return S3Store, (self.aws_conn_id,)


class _S3:
    """S3 as a :class:`~airflow_kart.storage.buckets.service.Service`."""

    metadata_limit = 2 << 10
    copied_at_once = 256 << 20  # a request may copy 5 GiB, and takes no longer than a client waits for smaller parts

    def __init__(self, aws_conn_id: str | None) -> None:
        self._clients: PerProcess[tuple[Any, str, QuickReads]] = PerProcess(lambda: new_client(aws_conn_id))

    @property
    def who(self) -> str:
        return self._clients.get()[1]

    def renew(self, fault: ExpiredFault) -> None:
        held = self._clients.get()
        if held[0] is fault.client:
            self._clients.renew(held)

    def head(self, place: BucketKey) -> Head:
        client = self._client
        with faults_of(client, place):
            try:
                answer = client.head_object(Bucket=place.bucket, Key=place.key)
            except client.exceptions.ClientError as error:
                if error.response["Error"]["Code"] in _WORDLESS:
                    # An answer to HEAD cannot say why, so that expired credentials look like others; one to GET says it.
                    client.get_object(Bucket=place.bucket, Key=place.key, Range="bytes=0-0")["Body"].close()
                raise
        stat = ObjectStat(answer["ContentLength"], answer["LastModified"], answer["ETag"])
        return Head(stat, answer["Metadata"].get(UPLOAD_KEY, ""))

    def get(self, place: BucketKey, start: int = 0, stop: int | None = None, version: str | None = None) -> _S3Body:
        client, _, quick = self._clients.get()
        options: dict[str, Any] = {"IfMatch": version} if version is not None else {}
        if stop is not None:
            options["Range"] = f"bytes={start}-{stop - 1}"
        with faults_of(client, place):
            try:
                found = None if options else quick.get(place)
                answer = found or client.get_object(Bucket=place.bucket, Key=place.key, **options)
            except client.exceptions.ClientError as error:
                if start or error.response["Error"]["Code"] not in ("InvalidRange", "416"):
                    raise
                # An empty object has no first byte; it is got without a range.
                answer = client.get_object(Bucket=place.bucket, Key=place.key)
        body = _S3Body(client, place, answer)
        if body.start != start:
            body.close()
            raise RefusedFault("the service cannot answer with a part of an object")
        return body

    def read_quickly(self, place: BucketKey) -> ObjectContent | None:
        return self._clients.get()[2].read(place)

    def put(self, place: BucketKey, data: bytes, expected: Expected, metadata: dict[str, str]) -> str:
        client = self._client
        with faults_of(client, place):
            answer = client.put_object(
                Bucket=place.bucket, Key=place.key, Body=data, Metadata=metadata, **_condition(expected)
            )
        return str(answer["ETag"])

    def begin(self, place: BucketKey, metadata: dict[str, str]) -> str:
        client = self._client
        with faults_of(client, place):
            answer = client.create_multipart_upload(
                Bucket=place.bucket, Key=place.key, Metadata=metadata, **_checksum_of_parts(client)
            )
        return str(answer["UploadId"])

    def put_part(self, place: BucketKey, upload: str, number: int, data: bytes) -> dict[str, Any]:
        client = self._client
        with faults_of(client, place):
            answer = client.upload_part(
                Bucket=place.bucket,
                Key=place.key,
                UploadId=upload,
                PartNumber=number,
                Body=data,
                **_checksum_of_parts(client),
            )
        return _part(number, answer)

    def copy_part(self, place: BucketKey, upload: str, number: int, source: Piece) -> dict[str, Any]:
        client = self._client
        with faults_of(client, place):
            answer = client.upload_part_copy(
                Bucket=place.bucket,
                Key=place.key,
                UploadId=upload,
                PartNumber=number,
                CopySource={"Bucket": source.place.bucket, "Key": source.place.key},
                CopySourceIfMatch=source.version,
                CopySourceRange=f"bytes={source.span.start}-{source.span.stop - 1}",
            )
        return _part(number, answer["CopyPartResult"])

    def arrange(self, place: BucketKey, upload: str, parts: Sequence[Any]) -> Sequence[Any]:  # noqa: ARG002 - the protocol's
        return parts

    def complete(
        self,
        place: BucketKey,
        upload: str,
        parts: Sequence[Any],
        expected: Expected,
        metadata: dict[str, str],  # noqa: ARG002 - given when the upload was begun
    ) -> str:
        client = self._client
        with faults_of(client, place):
            answer = client.complete_multipart_upload(
                Bucket=place.bucket, Key=place.key, UploadId=upload, MultipartUpload={"Parts": parts}, **_condition(expected)
            )
        return str(answer["ETag"])

    def clear(self, place: BucketKey, upload: str) -> None:
        """Do nothing: completing has used the parts up."""

    def abandon(self, place: BucketKey, upload: str) -> None:
        client = self._client
        try:
            with faults_of(client, place):
                client.abort_multipart_upload(Bucket=place.bucket, Key=place.key, UploadId=upload)
        except (LostUploadFault, MissingFault):
            pass

    def remove(self, place: BucketKey, expected: Removable = ANY) -> None:
        client = self._client
        with contextlib.suppress(MissingFault), faults_of(client, place):
            client.delete_object(Bucket=place.bucket, Key=place.key, **_condition(expected))

    def list(self, place: BucketKey, page: Any, *, deep: bool = True, after: str = "") -> Page:
        client = self._client
        options = {} if page is None else {"ContinuationToken": page}
        if after:
            options["StartAfter"] = after
        if not deep:
            options["Delimiter"] = "/"
        with faults_of(client, place):
            answer = client.list_objects_v2(Bucket=place.bucket, Prefix=place.key, **options)
        entries = [
            ListedObject(found["Key"], ObjectStat(found["Size"], found["LastModified"], found["ETag"]))
            for found in answer.get("Contents", ())
        ]
        return Page(entries, answer["NextContinuationToken"] if answer["IsTruncated"] else None)

    def list_unfinished(self, place: BucketKey, page: Any) -> Page:
        client = self._client
        options = {} if page is None else {"KeyMarker": page[0], "UploadIdMarker": page[1]}
        with faults_of(client, place):
            answer = client.list_multipart_uploads(Bucket=place.bucket, Prefix=place.key, **options)
        entries = [Unfinished(found["Key"], found["UploadId"], found["Initiated"]) for found in answer.get("Uploads", ())]
        more = answer.get("IsTruncated")
        return Page(entries, (answer["NextKeyMarker"], answer["NextUploadIdMarker"]) if more else None)

    @property
    def _client(self) -> Any:
        return self._clients.get()[0]


class _S3Body:
    """An answer of GetObject as a :class:`~airflow_kart.storage.buckets.body.Body`."""

    def __init__(self, client: Any, place: BucketKey, answer: Any) -> None:
        self._client = client
        self._place = place
        self._body = answer["Body"]
        self.version = str(answer["ETag"])
        ranged = _RANGE.fullmatch(answer.get("ContentRange", ""))
        self.start = int(ranged[1]) if ranged else 0
        self.size = int(ranged[2]) if ranged else int(answer["ContentLength"])
        # Entering the body gives the connection's own stream, which hands out what has come without waiting for more.
        self._stream = self._body.__enter__()

    def read(self, most: int, /) -> bytes:
        with faults_of(self._client, self._place):
            return bytes(self._stream.read1(most))

    def close(self) -> None:
        self._body.close()


def _checksum_of_parts(client: Any) -> dict[str, str]:
    """Return the checksum for the parts of an upload, which a service wants to hear when the upload begins.

    There is none where the connection's ``config_kwargs`` ask for required checksums only, as some services need.
    """
    wanted = getattr(client.meta.config, "request_checksum_calculation", None) == "when_supported"
    return {"ChecksumAlgorithm": "CRC32"} if wanted else {}


def _part(number: int, answer: Any) -> dict[str, Any]:
    """Return a part as the service wants to hear of it when the upload is completed, its checksums among the rest."""
    sums = {name: value for name, value in answer.items() if name.startswith("Checksum") and name != "ChecksumType"}
    return {"PartNumber": number, "ETag": answer["ETag"], **sums}


def _condition(expected: Expected) -> dict[str, str]:
    if expected is ANY:
        return {}
    return {"IfNoneMatch": "*"} if expected is None else {"IfMatch": str(expected)}
