"""A bucket that is far away, and never busy: S3's look-ups over the files of a directory, each answered after a pause.

moto answers some three hundred requests a second, and so measures itself. This service costs a twentieth of a millisecond a
request: it keeps all answers at hand, and knows GET, HEAD, PUT and ListObjectsV2 of one bucket, neither signatures nor
conditions.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

from harness.loopback import free_port, wait_for_answer

__all__ = ["far_bucket"]

_PAGE = 1000
_TIME = "2026-01-02T03:04:05.000Z"
_DATE = "Fri, 02 Jan 2026 03:04:05 GMT"


@contextlib.contextmanager
def far_bucket(directory: Path, latency: float) -> Iterator[str]:
    """Start a service with the files of a directory; give its address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    server = subprocess.Popen([sys.executable, __file__, str(port), str(latency), str(directory)])
    try:
        wait_for_answer(f"{address}/kart?list-type=2&prefix=none", server, 120)
        yield address
    finally:
        server.kill()
        server.wait(30)


class _Bucket:
    """The objects, with the answers to look-ups of them."""

    def __init__(self, directory: Path) -> None:
        self.answers: dict[str, tuple[bytes, bytes]] = {}
        self.entries: dict[str, str] = {}
        for file in directory.rglob("*"):
            if file.is_file():
                self.put(file.relative_to(directory).as_posix(), file.read_bytes())
        self.keys = sorted(self.entries, key=str.encode)

    def put(self, key: str, data: bytes) -> None:
        etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
        facts = (
            f'ETag: "{etag}"\r\nLast-Modified: {_DATE}\r\nContent-Type: binary/octet-stream\r\nContent-Length: {len(data)}'
        )
        self.answers[key] = f"HTTP/1.1 200 OK\r\n{facts}\r\n\r\n".encode(), data
        self.entries[key] = (
            f"<Contents><Key>{escape(key)}</Key><LastModified>{_TIME}</LastModified><ETag>&#34;{etag}&#34;</ETag>"
            f"<ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>"
            f"<Size>{len(data)}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        )

    def answer(self, method: str, target: str, body: bytes) -> bytes:
        path, _, query = target.partition("?")
        _, _, key = unquote(path).lstrip("/").partition("/")
        if method == "PUT":
            self.put(key, body)
            self.keys = sorted(self.entries, key=str.encode)
            return b'HTTP/1.1 200 OK\r\nETag: "new"\r\nContent-Length: 0\r\n\r\n'
        if not key:
            return _with_body("200 OK", self.page(parse_qs(query)))
        if key not in self.answers:
            found = _with_body("404 Not Found", "<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>")
            return found if method == "GET" else found.partition(b"<Error>")[0]
        head, data = self.answers[key]
        return head + data if method == "GET" else head

    def page(self, query: dict[str, list[str]]) -> str:
        asked = {name: values[0] for name, values in query.items()}
        prefix = asked.get("prefix", "")
        after = asked.get("continuation-token", asked.get("start-after", ""))
        first = bisect.bisect_left(self.keys, prefix.encode(), key=str.encode)
        if after:
            first = max(first, bisect.bisect_right(self.keys, after.encode(), key=str.encode))
        found: list[str] = []
        more = False
        for key in self.keys[first:]:
            if not key.startswith(prefix):
                break
            if asked.get("delimiter") and asked["delimiter"] in key[len(prefix) :]:
                continue
            if len(found) == _PAGE:
                more = True
                break
            found.append(key)
        token = f"<NextContinuationToken>{escape(found[-1])}</NextContinuationToken>" if more else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>kart</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(found)}</KeyCount><MaxKeys>{_PAGE}</MaxKeys>"
            f"<EncodingType>url</EncodingType><IsTruncated>{str(more).lower()}</IsTruncated>{token}"
            f"{''.join(self.entries[key] for key in found)}</ListBucketResult>"
        )


def _with_body(status: str, text: str) -> bytes:
    body = text.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class _Connection(asyncio.Protocol):
    """A kept connection of a client."""

    def __init__(self, bucket: _Bucket, latency: float) -> None:
        self._bucket = bucket
        self._latency = latency
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, ended, rest = self._got.partition(b"\r\n\r\n")
        if not ended:
            return
        line, *fields = head.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        if headers.get("expect") and not rest:
            self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if len(rest) < int(headers.get("content-length", 0)):
            return
        self._got = b""
        method, target, _ = line.split(" ")
        asyncio.get_running_loop().call_later(self._latency, self._write, self._bucket.answer(method, target, rest))

    def _write(self, answer: bytes) -> None:
        assert isinstance(self._transport, asyncio.WriteTransport)
        if not self._transport.is_closing():
            self._transport.write(answer)


async def _serve(port: int, latency: float, directory: Path) -> None:
    bucket = _Bucket(directory)
    server = await asyncio.get_running_loop().create_server(
        lambda: _Connection(bucket, latency), "127.0.0.1", port, backlog=1024
    )
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])))
