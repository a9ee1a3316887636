"""Pieces of a workspace: the artifacts of a task, which stay or go together, and what is upstream of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from airflow_kart.audit.catalogue.rows import Place


class Output(NamedTuple):
    """An artifact."""

    place: Place
    name: str
    version: str | None
    """Of the sidecar; ``None`` for a file without a sidecar."""
    bytes: int
    fault: str = ""
    """Why the artifact is of no use."""

    @property
    def path(self) -> str:
        """The path below the directory."""
        return f"{self.place.folder}/{self.name}" if self.place.folder else self.name


@dataclass(slots=True, eq=False)
class Piece:
    """The artifacts of a task, which stay or go together; or a file without a sidecar."""

    task: str
    """The logical name of the class; empty for files of no task."""
    unique_id: str
    own: bool = True
    """Whether the artifacts are in the workspace's own directory; others are only read."""
    outputs: list[Output] = field(default_factory=list)
    made_at: str = ""
    changed_at: float = 0.0
    """When somebody wrote one of the sidecars last, in seconds."""
    required: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """The unique ids of the tasks upstream with the uris of their artifacts; those of tasks that are parameters, whose sidecars
    tell their own parameters, without uris."""
    content_key: str | None = None
    fault: str = ""
    """Why the artifacts are of no use."""
    named: bool = False
    """Whether the names of what may go name one of them."""
    in_use: bool = False
    """Whether a run has made the artifacts lately or is making them, and may still need what they were made from."""
    stays: str = ""
    """Why they stay."""
    left: str = ""
    """Why they could not be removed."""
    gone: bool = False


class Links:
    """What is upstream of pieces.

    A wrapper has no artifact, an adopted artifact has another id than then, and a moved workspace begins all uris anew: of a
    task that no piece is of, the ends of the uris lead to the pieces, and to those whose sidecars cannot be read.

    Args:
        pieces: all there are.
    """

    def __init__(self, pieces: Collection[Piece]) -> None:
        self._by_id: dict[str, list[Piece]] = {}
        for piece in pieces:
            self._by_id.setdefault(piece.unique_id, []).append(piece)
        lost = {output.name for piece in pieces if not piece.unique_id for output in piece.outputs}
        required = (each for piece in pieces for each in piece.required)
        uris = (uri for unique_id, uris in required for uri in uris if unique_id not in self._by_id or _name(uri) in lost)
        self._by_name: dict[str, list[tuple[str, Piece]]] = {_name(uri): [] for uri in uris}
        for piece in pieces:
            for output in piece.outputs:
                if output.name in self._by_name:
                    self._by_name[output.name].append((f"/{output.path}", piece))

    def upstream(self, piece: Piece) -> Iterator[Piece]:
        """Return the pieces that a piece was made from."""
        for unique_id, uris in piece.required:
            yield from self._by_id.get(unique_id, ())
            for uri in uris:
                for path, found in self._by_name.get(_name(uri), ()):
                    if uri.endswith(path) and not (unique_id in self._by_id and found.unique_id):
                        yield found

    def all_upstream(self, pieces: Iterable[Piece]) -> Iterator[tuple[Piece, Piece]]:
        """Return everything upstream of pieces, each once, with a piece that was made from it."""
        left, seen = list(pieces), set[Piece]()
        while left:
            piece = left.pop()
            for one in self.upstream(piece):
                if one not in seen:
                    seen.add(one)
                    left.append(one)
                    yield one, piece


def _name(uri: str) -> str:
    return uri.rpartition("/")[2]
