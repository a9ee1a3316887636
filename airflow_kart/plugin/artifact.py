"""The page of an artifact by its unique id, an address to send to a colleague; its preview, and its bytes to download."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, BinaryIO
from urllib.parse import quote

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.models.log import Log
from airflow.utils.session import create_session
from fastapi import APIRouter, Depends, HTTPException, Path, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from airflow_kart.artifacts.sidecar import sidecar_uri
from airflow_kart.audit.catalogue.record import Record
from airflow_kart.audit.catalogue.rows import one_look
from airflow_kart.exceptions import KartError, MissingArtifactError, StorageError
from airflow_kart.plugin.access import Reader, ReaderDep, records_in
from airflow_kart.plugin.actions import own_page
from airflow_kart.plugin.page import base_of, page
from airflow_kart.plugin.peek import is_downloadable, peek_of
from airflow_kart.plugin.preview.reading import JPEG, MOST_OF_IMAGE, PNG
from airflow_kart.plugin.task import MOST_OF_A_SIDECAR, differences, made_of
from airflow_kart.plugin.words import Link, clean

router = APIRouter(prefix="/artifacts/{unique_id}")
UniqueId = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]

_CHUNK = 1 << 18
_IMAGES = {"png": PNG, "jpeg": JPEG}


@router.get("")
def artifact(request: Request, reader: ReaderDep, unique_id: UniqueId, file: str = "") -> HTMLResponse:
    """Return the page of an artifact."""
    base = base_of(request)
    with one_look():
        record, outputs = _found(reader, unique_id, file)
        ways = ({one.unique_id: one for one in ask() if reader.sees(one)} for ask in (record.upstream, record.downstream))
        upstream, downstream = (list(found.values()) for found in ways)
        peek = peek_of(record, reader)
        try:
            made = made_of(record, reader, base)
        except KartError:  # the sidecar of another artifact cannot be read
            made = None
    return page(
        request,
        "artifact.html",
        title=str(record),
        crumbs=[Link("Artifacts", f"{base}/")],
        record=record,
        outputs=outputs,
        upstream=upstream,
        downstream=downstream,
        peek=peek,
        pin=record.pinned,
        may_pin=may_pin(record, reader),
        made=made,
        differences=differences,
        may_read_log=record.dag_id is None or reader.may(record.dag_id, DagAccessEntity.TASK_LOGS),
        here=f"{base}/artifacts/{unique_id}",
    )


@router.post("/pin", dependencies=[Depends(own_page)])
def pin(request: Request, reader: ReaderDep, unique_id: UniqueId, take_away: bool = False) -> RedirectResponse:
    """Pin an artifact, or take its pin away; Airflow's audit log has an entry.

    The pin is written where garbage collection looks for it, which needs no Airflow.
    """
    record, _ = _found(reader, unique_id, "")
    if not may_pin(record, reader):
        raise HTTPException(403, "Airflow's permissions do not let you do this: edit the DAG that made the artifact.")
    homes = (one for one in reader.workspaces() if one.directory == record.place.directory)
    own = replace(record, workspace=next(homes, record.workspace))
    try:
        own.unpin() if take_away else own.pin(by=str(reader.user.get_name()))
    except MissingArtifactError:
        raise HTTPException(404, "The artifact is not there any more.") from None
    except (KartError, OSError) as error:
        words = (
            f"The API server could not write the pin: {error}\nIn Python, where the workspace can be written: record.pin()"
        )
        raise HTTPException(409, words) from error
    with create_session() as session:
        more = {"owner": reader.user.get_name(), "dag_id": record.dag_id, "run_id": record.run_id}
        session.add(Log("kart.unpin" if take_away else "kart.pin", extra=json.dumps({"artifact": record.uri}), **more))
    return RedirectResponse(f"{base_of(request)}/artifacts/{unique_id}", 303)


def may_pin(record: Record, reader: Reader) -> bool:
    """Whether a user may edit the DAG that made an artifact; of one made outside of Airflow, a DAG of the workspace."""
    if record.dag_id is not None:
        return reader.may(record.dag_id, None, "PUT")
    editable = [one for one in reader.dag_ids() if reader.may(one, None, "PUT")]
    return any(record.place.directory == one.directory for one in reader.workspaces(editable))


@router.get("/download")
def download(reader: ReaderDep, unique_id: UniqueId, file: str = "") -> StreamingResponse:
    """Send the bytes as a file, never as a page."""
    record, _ = _found(reader, unique_id, file)
    if not is_downloadable(record):
        raise HTTPException(
            415, "This artifact is too large, or of a format that only Python reads: load it from its address."
        )
    return _Download(record, _opened(record))


@router.get("/image")
def image(reader: ReaderDep, unique_id: UniqueId, file: str = "") -> Response:
    """Send an image for the page to show; no other bytes are sent as an image."""
    record, _ = _found(reader, unique_id, file)
    with _opened(record) as stream:
        data = stream.read(MOST_OF_IMAGE) if record.bytes <= MOST_OF_IMAGE else b""
    if record.row.format not in _IMAGES or not data.startswith(_IMAGES[record.row.format]):
        raise HTTPException(415, "This artifact is no image that can be shown.")
    return Response(data, media_type=f"image/{record.row.format}")


def _found(reader: Reader, unique_id: str, file: str) -> tuple[Record, list[Record]]:
    """Return an artifact of a task, of several by the name of its file, and all of the task.

    Raises:
        HTTPException: the user sees none (404).
        KartError: there is none in the workspaces that answered, and one did not.
    """
    errors = []
    for workspace in reader.workspaces():
        try:
            named = records_in(workspace, unique_id)
            found = [one for one in named if one.unique_id == unique_id and reader.sees(one)]
            found.sort(key=lambda one: one.uri)
            for record in [one for one in found if one.row.name == file] or found[:1]:
                reader.workspace_of(record.uri)  # a link on a disk may lead out of the workspace
                stat = workspace.store_of(record.uri).stat(sidecar_uri(record.uri))
                if stat is not None and stat.size > MOST_OF_A_SIDECAR:
                    raise HTTPException(413, f"The sidecar of this artifact has {stat.size:,} bytes, too many for a page.")
                return record, found
        except MissingArtifactError:
            continue
        except KartError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    raise HTTPException(404, f"No artifact that you may see has the unique id {unique_id}.")


def _opened(record: Record) -> BinaryIO:
    store = record.workspace.store_of(record.uri)
    stat = store.stat(record.uri)
    if stat is None or stat.size != record.bytes:
        raise HTTPException(409, "The artifact is not there in the size that its sidecar says; run its task again.")
    return store.open(record.uri)


class _Download(StreamingResponse):
    """An artifact's bytes, which nothing on the way compresses: the browser knows how many will come.

    Args:
        record: the artifact.
        stream: its bytes; closed at the end, also where the reader has gone away.
    """

    def __init__(self, record: Record, stream: BinaryIO) -> None:
        headers = {
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(clean(record.row.name.rpartition('/')[2]))}",
            "Content-Encoding": "identity",  # GZipMiddleware leaves an answer with an encoding alone
            "Content-Length": str(record.bytes),
        }
        self._stream = stream
        super().__init__(_chunks(stream, record.bytes), media_type="application/octet-stream", headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, as ASGI specifies."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stream.close()


def _chunks(stream: BinaryIO, left: int) -> Iterator[bytes]:
    """Read so many bytes.

    Raises:
        StorageError: there are fewer. The connection breaks, so that a browser takes no part for the whole.
    """
    while left:
        data = stream.read(min(left, _CHUNK))
        if not data:
            raise StorageError(f"the artifact became shorter while it was downloaded: {left:,} bytes are missing")
        left -= len(data)
        yield data
