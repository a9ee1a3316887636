"""An S3 service on loopback: moto, in a process of its own.

moto looks at a condition and acts afterwards, with other requests in between; when a multipart upload is completed it
knows no ``If-Match``, and fails where there is no such upload; of the source of a copy it knows no condition; it says of every upload that it was begun in 2010; and it
copies all of an object, twice, for each range of it.
Its requests are therefore taken one by one here, and those things are seen to; the rest is moto's own.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from harness.loopback import free_port, wait_for_answer

__all__ = ["make_bucket", "objects_in", "s3_connection", "s3_server"]


@contextlib.contextmanager
def s3_server(*, latency: float = 0.0) -> Iterator[str]:
    """Start a service that waits for ``latency`` seconds before each answer; give its address."""
    port = free_port()
    with tempfile.TemporaryFile() as log:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "MOTO_S3_DEFAULT_MAX_KEYS": "1000"}
        command = [sys.executable, "-m", "harness.s3_server", str(port), str(latency)]
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for_answer(f"{address}/moto-api/", server, 60)
            yield address
        finally:
            server.kill()
            server.wait(30)


def s3_connection(address: str, **extra: Any) -> str:
    """Return an Airflow connection to a service, as the value of an environment variable."""
    given = {"endpoint_url": address, "region_name": "us-east-1", **extra}
    return json.dumps({"conn_type": "aws", "login": "test", "password": "not-a-secret", "extra": given})


def make_bucket(address: str, name: str) -> None:
    """Make a bucket, if it is not there."""
    urllib.request.urlopen(urllib.request.Request(f"{address}/{name}", method="PUT"), timeout=30).close()


def objects_in(address: str, bucket: str) -> Iterator[tuple[str, dict[str, str], bytes]]:
    """Return all objects of a bucket: key, metadata, content."""
    import boto3

    client = boto3.client(
        "s3", endpoint_url=address, aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1"
    )
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for listed in page.get("Contents", []):
            found = client.get_object(Bucket=bucket, Key=listed["Key"])
            yield listed["Key"], found["Metadata"], found["Body"].read()


_UPLOAD = re.compile(rb"<UploadId>(.+?)</UploadId>")
_NEVER = b"2010-11-10T20:48:33.000Z"


class _OneByOne:
    """A WSGI application that answers one request at a time, each with its body at hand."""

    def __init__(self, application: Any, buckets: Any, latency: float) -> None:
        self._application = application
        self._buckets = buckets
        self._latency = latency
        self._turn = threading.Lock()
        self._begun: dict[bytes, bytes] = {}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length)
        if len(body) < length:  # whoever sent it broke off; a service does nothing then
            start_response("400 Bad Request", [("Content-Length", "0")])
            return []
        environ["wsgi.input"] = io.BytesIO(body)
        time.sleep(self._latency)
        with self._turn:
            status, code = self._refusal(environ)
            if not status:
                return self._as_begun(environ, b"".join(self._application(environ, start_response)))
        error = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
        start_response(status, [("Content-Type", "text/xml"), ("Content-Length", str(len(error)))])
        return [error]

    def _as_begun(self, environ: dict[str, Any], answer: bytes) -> list[bytes]:
        """Note when an upload is begun, and say so where uploads are listed; the answer keeps its length."""
        query = environ.get("QUERY_STRING", "")
        if "uploads" in parse_qs(query, keep_blank_values=True):
            for found in _UPLOAD.finditer(answer):
                upload = found[1]
                now = dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z").encode()
                begun = self._begun.setdefault(upload, now)
                answer = answer[: found.end()] + answer[found.end() :].replace(_NEVER, begun, 1)
        return [answer]

    def _refusal(self, environ: dict[str, Any]) -> tuple[str, str]:
        """Return the status and code of an error where an upload is to be completed or copied to that cannot be, else nothing."""
        copied = environ.get("HTTP_X_AMZ_COPY_SOURCE")
        if copied is not None:
            _, name, key = f"/{unquote(copied).lstrip('/')}".split("/", 2)
            source = self._buckets()[name].keys.get(key)
            wanted = environ.get("HTTP_X_AMZ_COPY_SOURCE_IF_MATCH")
            if source is not None and wanted is not None and source.etag.strip('"') != wanted.strip('"'):
                return "412 Precondition Failed", "PreconditionFailed"
        upload = parse_qs(environ.get("QUERY_STRING", "")).get("uploadId")
        if environ["REQUEST_METHOD"] != "POST" or not upload:
            return "", ""
        _, name, key = environ["PATH_INFO"].split("/", 2)
        bucket = self._buckets()[name]
        found = bucket.keys.get(key)
        if found is not None and found.multipart and found.multipart.id == upload[0]:
            return "", ""
        if upload[0] not in bucket.multiparts:
            return "404 Not Found", "NoSuchUpload"
        expected = environ.get("HTTP_IF_MATCH")
        if expected is not None and (found is None or found.etag.strip('"') != expected.strip('"')):
            return "412 Precondition Failed", "PreconditionFailed"
        return "", ""


def _keep_last_read(key: Any) -> None:
    """Let the class of moto's objects keep the bytes of the one that was read last, for the next range of it."""
    read, write = key.value.fget, key.value.fset
    last: list[Any] = [None, b""]

    def kept(self: Any) -> bytes:
        if last[0] is not self:
            last[:] = [self, read(self)]
        return bytes(last[1])

    def replaced(self: Any, value: Any) -> None:
        last[:] = [None, b""]
        write(self, value)

    key.value = property(kept, replaced)


def _serve(port: int, latency: float) -> None:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from moto.s3.models import FakeKey, s3_backends
    from werkzeug.serving import WSGIRequestHandler, run_simple

    _keep_last_read(FakeKey)

    class Handler(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_request(self, *_: Any) -> None:
            pass

    application = _OneByOne(
        DomainDispatcherApplication(create_backend_app), lambda: s3_backends["123456789012"]["aws"].buckets, latency
    )
    run_simple("127.0.0.1", port, application, threaded=True, request_handler=Handler)


if __name__ == "__main__":
    _serve(int(sys.argv[1]), float(sys.argv[2]))
