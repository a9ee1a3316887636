"""An S3 service on loopback: moto, in a process of its own.

moto looks at a condition and acts afterwards, with other requests in between, and knows no ``If-Match`` when a multipart
upload is completed. Its requests are therefore taken one by one here, and that condition is looked at first; the rest
is moto's own.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
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
from urllib.parse import parse_qs

from harness.loopback import free_port

__all__ = ["make_bucket", "s3_connection", "s3_server"]


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """Start a service; give its address."""
    port = free_port()
    with tempfile.TemporaryFile() as log:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "MOTO_S3_DEFAULT_MAX_KEYS": "1000"}
        command = [sys.executable, "-m", "harness.s3_server", str(port)]
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(address, server)
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


def _wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{address}/moto-api/", timeout=5).close()
            return
        if server.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"the S3 service did not start (exit code {server.returncode})")
        time.sleep(0.1)


class _OneByOne:
    """A WSGI application that answers one request at a time, each with its body at hand."""

    def __init__(self, application: Any, tag_of: Any) -> None:
        self._application = application
        self._tag_of = tag_of
        self._turn = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        chunked = environ.get("wsgi.input_terminated") and not environ.get("CONTENT_LENGTH")
        body = environ["wsgi.input"].read() if chunked else environ["wsgi.input"].read(length)
        if len(body) < length:  # whoever sent it broke off; a service does nothing then
            start_response("400 Bad Request", [("Content-Length", "0")])
            return []
        environ["wsgi.input"] = io.BytesIO(body)
        with self._turn:
            if self._in_the_way(environ):
                error = b"<Error><Code>PreconditionFailed</Code><Message>If-Match</Message></Error>"
                start_response(
                    "412 Precondition Failed", [("Content-Type", "text/xml"), ("Content-Length", str(len(error)))]
                )
                return [error]
            return list(self._application(environ, start_response))

    def _in_the_way(self, environ: dict[str, Any]) -> bool:
        """Whether an upload is to be completed on a condition that does not hold."""
        expected = environ.get("HTTP_IF_MATCH")
        query = parse_qs(environ.get("QUERY_STRING", ""))
        if expected is None or environ["REQUEST_METHOD"] != "POST" or "uploadId" not in query:
            return False
        _, bucket, key = environ["PATH_INFO"].split("/", 2)
        return self._tag_of(bucket, key) != expected.strip('"')


def _serve(port: int) -> None:
    from moto.core.base_backend import BackendDict  # noqa: F401 - moto wants its core loaded first
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from moto.s3.models import s3_backends
    from werkzeug.serving import WSGIRequestHandler, run_simple

    class Handler(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_request(self, *_: Any) -> None:
            pass

    def tag_of(bucket: str, key: str) -> str | None:
        backend = s3_backends["123456789012"]["aws"]
        found = backend.get_object(bucket, key)
        return found.etag.strip('"') if found is not None else None

    application = _OneByOne(DomainDispatcherApplication(create_backend_app), tag_of)
    run_simple("127.0.0.1", port, application, threaded=True, request_handler=Handler)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
