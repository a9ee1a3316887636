"""A process for each preview. Bytes of others can make a decoder crash, hang or fill the memory: that ends this process only.

The process has no credentials and no environment. It asks its parent for blocks of the artifact, as many as the bounds allow.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from typing import IO, BinaryIO, cast

import msgspec

from airflow_kart.audit.record import Record
from airflow_kart.exceptions import KartError
from airflow_kart.plugin.preview.child import BLOCK, LENGTH, MEMORY, MOST_BYTES, NUMBER, RESULT, exactly, send
from airflow_kart.plugin.preview.content import Preview, Request, plain
from airflow_kart.plugin.preview.reading import content_of

_SECONDS = 8
_LONGEST_ANSWER = 4 << 20
_AT_ONCE = threading.BoundedSemaphore(2)
_START = "import sys; sys.path[:] = sys.argv[1:]; from airflow_kart.plugin.preview.child import main; main()"


def preview_of(record: Record) -> Preview:
    """Return the preview of an artifact; the note of one without says why."""
    try:
        artifact, store = record.sidecar.artifact, record.workspace.store_of(record.uri)
        stat = store.stat(record.uri)
        if stat is None or stat.size != artifact.bytes:
            return Preview(
                note="The artifact is not there in the size that its sidecar says." if stat else "The artifact is gone."
            )
        asked = Request(artifact.format, artifact.bytes, artifact.rows, dict(artifact.columns or {}), dict(artifact.options))
        if asked.format.startswith("pickle"):
            return content_of(asked, io.BytesIO())
        with store.open(record.uri) as stream:
            return preview_from(asked, stream)
    except (KartError, OSError) as error:
        return Preview(note=f"The API server cannot read the artifact: {plain(str(error), 1000)}")


def preview_from(asked: Request, stream: BinaryIO) -> Preview:
    """Return the preview of bytes, decoded by another process."""
    if not _AT_ONCE.acquire(timeout=_SECONDS):
        return Preview(note="Too many previews are being made at this moment; load the page again.")
    try:
        command = [sys.executable, "-I", "-c", _START, *sys.path]
        environment = {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "SYSTEMROOT") if name in os.environ}
        with subprocess.Popen(  # noqa: S603 - this interpreter, and a program of ours
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment | kept
        ) as process:
            alarm = threading.Timer(_SECONDS, process.kill)
            alarm.start()
            try:
                return _served(process, asked, stream)
            except (BrokenPipeError, EOFError, msgspec.MsgspecError):
                return Preview(
                    note=f"The artifact could not be decoded within {_SECONDS} s and {MEMORY >> 30} GB of memory."
                )
            finally:
                alarm.cancel()
                process.kill()
    finally:
        _AT_ONCE.release()


def _served(process: subprocess.Popen[bytes], asked: Request, stream: BinaryIO) -> Preview:
    """Give the process the blocks it asks for, and return its answer."""
    to, found = cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)
    send(to, msgspec.json.encode(asked))
    left = MOST_BYTES
    while True:
        (number,) = NUMBER.unpack(exactly(found, NUMBER.size))
        if number == RESULT:
            break
        left -= BLOCK
        stream.seek(min(number * BLOCK, asked.bytes))
        send(to, stream.read(BLOCK) if left >= 0 else None)
    (length,) = LENGTH.unpack(exactly(found, LENGTH.size))
    return msgspec.json.decode(exactly(found, min(length, _LONGEST_ANSWER)), type=Preview)
