"""Checksums of artifacts, computed beside the writing and the reading of their bytes.

The SHA-256 (FIPS 180-4) names an artifact's bytes for good. Loads verify the bytes by the 128 bits of XXH3 (specified by
its author, xxhash.com): XXH3 keeps up with memory, while SHA-256 would take longer than reading a table.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from typing import TYPE_CHECKING, BinaryIO

import xxhash
from typing_extensions import Buffer, Self

from airflow_kart.storage import Upload
from airflow_kart.streams import HashedStream, WriteOnly

if TYPE_CHECKING:
    from concurrent.futures import Future

    from airflow_kart.storage.threads import Threads

_CHUNK = 1 << 20
_IN_LINE = 128 << 10  # a smaller chunk is hashed before a thread would have taken it
_COPIED = 4 << 20  # copies of larger chunks would take too much memory
_AHEAD = 8  # chunks that wait to be hashed
_PIECE = 256 << 10


class ChecksumStream(WriteOnly):
    """A write-only stream into an upload that counts and hashes the bytes on their way.

    Small chunks are hashed in line. A thread hashes the larger ones, while this thread writes them and makes the next. The
    thread gets copies, since ``write`` returns each chunk to its owner; a chunk too large to copy makes ``write`` wait.
    """

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._hasher: Threads | None = None
        self._hashing: deque[Future[None]] = deque()
        self.restart()

    def restart(self) -> None:
        """Forget all bytes written so far."""
        self._wait()
        if getattr(self, "size", 0):
            self._upload.restart()
        self._sha256 = hashlib.sha256()
        self._xxh3 = xxhash.xxh3_128()
        self.size = 0

    def write(self, data: Buffer, /) -> int:
        """Write and hash bytes."""
        view = memoryview(data)
        if view.nbytes:
            view = view.cast("B")
            if view.nbytes > _COPIED:
                self._hash_later(view)
                try:
                    self._upload.write(view)
                finally:
                    self._wait()
            else:
                self._upload.write(view)
                if view.nbytes < _IN_LINE and not self._hashing:
                    self._sha256.update(view)
                else:
                    self._hash_later(data if type(data) is bytes else bytes(view))
            self._xxh3.update(view)
            self.size += view.nbytes
        return view.nbytes

    def close(self) -> None:
        """End the thread."""
        if self._hasher is not None:
            self._hasher.shutdown(cancel_futures=True)
            self._hasher = None
        super().close()

    @property
    def hexdigest(self) -> str:
        """The SHA-256 of all bytes so far, in hex."""
        self._wait()
        return self._sha256.hexdigest()

    @property
    def xxh3(self) -> str:
        """The XXH3 of all bytes so far, in hex."""
        return self._xxh3.hexdigest()

    def _hash_later(self, data: bytes | memoryview) -> None:
        if self._hasher is None:
            from airflow_kart.storage.threads import Threads

            self._hasher = Threads(1, "kart-sha256")
        self._wait(_AHEAD)
        self._hashing.append(self._hasher.submit(self._sha256.update, data))

    def _wait(self, ahead: int = 0) -> None:
        """Wait until at most ``ahead`` chunks remain to be hashed."""
        while self._hashing and (len(self._hashing) > ahead or self._hashing[0].done()):
            self._hashing.popleft().result()


def sha256_of(stream: BinaryIO) -> str:
    """Return the SHA-256 of a stream, read from its beginning in chunks, or computed by the stream itself."""
    if isinstance(stream, HashedStream) and stream.hash_name == "sha256":
        return stream.hexdigest()
    sha256 = hashlib.sha256()
    while data := stream.read(_CHUNK):
        sha256.update(data)
    return sha256.hexdigest()


class Checksum:
    """The XXH3 of an open stream, computed while the ``with`` block reads the stream too.

    A thread hashes a file; a stream over a network hashes itself; any other stream is read before the block, and rewound.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._hash = xxhash.xxh3_128()
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def _hash_file(self, descriptor: int) -> None:
        try:
            buffer = memoryview(bytearray(_PIECE))  # one buffer, used again and again, stays in the processor's cache
            offset = 0
            while size := os.preadv(descriptor, [buffer], offset):
                self._hash.update(buffer[:size])
                offset += size
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            self._error = error

    def __enter__(self) -> Self:
        """Start hashing."""
        if isinstance(self._stream, HashedStream):
            return self
        try:
            descriptor = self._stream.fileno()
        except OSError:
            while data := self._stream.read(_CHUNK):
                self._hash.update(data)
            self._stream.seek(0)
        else:
            self._thread = threading.Thread(target=self._hash_file, args=(descriptor,), daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        """Wait for the checksum."""
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error

    @property
    def hexdigest(self) -> str:
        """The checksum, after the block, while the stream is open."""
        if isinstance(self._stream, HashedStream):
            return self._stream.hexdigest()
        return self._hash.hexdigest()


def xxh3_of(data: bytes) -> str:
    """Return the XXH3 of bytes, in hex."""
    return xxhash.xxh3_128_hexdigest(data)
