"""A process for each preview. Bytes of others can make a decoder crash, hang or fill the memory: that ends this process only.

The process is given neither credentials nor environment, and runs as the API server's user. It asks its parent for blocks of the
artifact, as many as the bounds allow.
"""

from __future__ import annotations

import io
import json
import os
import queue
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import IO, BinaryIO, cast

import msgspec

from airflow_kart.audit.catalogue.record import Record
from airflow_kart.exceptions import KartError
from airflow_kart.plugin.preview.child import BLOCK, MEMORY, MOST_BYTES, NONE, exactly, received, send
from airflow_kart.plugin.preview.content import Preview, Request, plain
from airflow_kart.plugin.preview.reading import content_of

_SECONDS = 8
_LONGEST_ANSWER = 4 << 20
_AT_ONCE = threading.BoundedSemaphore(2)
"""Others wait, each with a thread of the API server; there are no more than pages at once."""
_SPARE: queue.Queue[subprocess.Popen[bytes]] = queue.Queue(1)
"""The process for the next preview: it has imported Arrow meanwhile, which takes ten times as long as most previews."""
_ONE_SPARE = threading.Lock()
_TOO_MANY = Preview(note="Too many previews are being made at this moment; load the page again.")
_START = "import sys; sys.path[:] = sys.argv[1:]; from airflow_kart.plugin.preview.child import main; main()"


def preview_of(record: Record) -> Preview:
    """Return the preview of an artifact; the note of one without says why."""
    try:
        artifact, store = record.sidecar.artifact, record.workspace.store_of(record.uri)
        stat = store.stat(record.uri)
        if stat is None or stat.size != artifact.bytes:
            gone = "in the size that its sidecar says" if stat else "any more"
            return Preview(note=f"The artifact is not there {gone}.")
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
        return _TOO_MANY
    try:
        return _decoded(asked, stream)
    finally:
        _AT_ONCE.release()


def _started() -> subprocess.Popen[bytes]:
    environment = {name: os.environ.get(name, "") for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")}
    environment |= {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-I", "-c", _START, *filter(None, sys.path)]
    return subprocess.Popen(  # noqa: S603 - this interpreter, with a program of ours
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )


def _spare() -> subprocess.Popen[bytes]:
    """Return the process that waits for a request, or a new one where none does, or waited for too long."""
    with suppress(queue.Empty):
        process = _SPARE.get_nowait()
        if process.poll() is None:
            return process
        process.communicate()
    return _started()


def _decoded(asked: Request, stream: BinaryIO) -> Preview:
    ends = time.monotonic() + _SECONDS
    for start in (_spare, _started):
        try:
            with start() as process:
                alarm = threading.Timer(_SECONDS, process.kill)
                alarm.start()
                try:
                    return _served(cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout), asked, stream)
                finally:
                    alarm.cancel()
                    process.kill()
                    with _ONE_SPARE, suppress(OSError):
                        if _SPARE.empty():
                            _SPARE.put(_started())
        except (BrokenPipeError, EOFError, msgspec.MsgspecError):
            if stream.tell() or time.monotonic() >= ends:  # else a spare process had died before it read anything
                break
    return Preview(note=f"The artifact could not be decoded within {_SECONDS} s and {MEMORY >> 20} MB of memory.")


def _served(to: IO[bytes], source: IO[bytes], asked: Request, stream: BinaryIO) -> Preview:
    """Give the process the blocks it asks for, and return its answer."""
    request, left = json.dumps(vars(asked)).encode(), MOST_BYTES
    send(to, len(request), request)
    while (number := received(source)) != NONE:
        stream.seek(min(number * BLOCK, asked.bytes))
        left -= len(data := stream.read(BLOCK) if left > 0 else b"")
        send(to, len(data) if data else NONE, data)
    return msgspec.json.decode(exactly(source, min(received(source), _LONGEST_ANSWER)), type=Preview)
