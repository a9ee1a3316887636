"""Reading: the bytes of an artifact, verified and decoded; as a whole, part by part, or some columns of a table."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from airflow_kart.artifacts.checksum import Checksum, sha256_of, xxh3_of
from airflow_kart.artifacts.sidecar import ArtifactRecord, Sidecar
from airflow_kart.exceptions import FormatError, MissingArtifactError, ObjectChangedError
from airflow_kart.formats import Format, ReadsInParts, VerifiesColumns, describe, reader_for, with_options
from airflow_kart.formats.table_kind import kind_of_type_name
from airflow_kart.formats.tables.selection import load_columns, places_of
from airflow_kart.storage import Store
from airflow_kart.streams import HashedStream

__all__ = ["Read", "Reading"]

_SMALL = 8 << 20


@dataclass(frozen=True)
class Read:
    """What was read."""

    found: Any
    sha256: str
    """The checksum of the bytes, in hex."""
    error: Exception | None = None
    """What went wrong in decoding them, where that did."""


@dataclass(frozen=True)
class Reading:
    """Reads one artifact.

    Args:
        uri: where it is.
        format: how it is read, but for what its sidecar says of that.
        store: keeps it.
    """

    uri: str
    format: Format
    store: Store

    def whole(self, sidecar: Sidecar, columns: Sequence[str] | None = None) -> Read:
        """Read all of the bytes.

        A small artifact is verified before it is decoded, a large one meanwhile, from the same open file.

        Args:
            sidecar: says how it was written. Whether the bytes are those it names is told by the checksum that is returned.
            columns: those of a table to return, by default all.

        Raises:
            MissingArtifactError: it is gone.
            ObjectChangedError: it was replaced meanwhile.
        """
        record, reader = sidecar.artifact, self._reader(sidecar)
        with self._open() as stream:
            if record.bytes > _SMALL:
                with Checksum(stream) as checksum:
                    found, error = _decoded(reader, stream, columns)
                return Read(found, _sha256(stream, checksum, record), error)
            data = stream.read()
        sha256 = record.sha256 if xxh3_of(data) == record.xxh3 else hashlib.sha256(data).hexdigest()
        if sha256 not in sidecar.accepted_checksums:
            return Read(None, sha256)
        found, error = _decoded(reader, io.BytesIO(data), columns)
        return Read(found, sha256, error)

    @contextmanager
    def parts(self, sidecar: Sidecar) -> Iterator[tuple[str, Iterator[Any]]]:
        """Read all of the bytes once for their SHA-256, and give that with the parts, which are read as they are asked for."""
        with self._open() as stream:
            with Checksum(stream) as checksum:
                pass
            sha256 = _sha256(stream, checksum, sidecar.artifact)
            stream.seek(0)
            yield sha256, _parts(self._reader(sidecar), stream)

    def unverified(self, columns: Sequence[str] | None = None) -> Read:
        """Read what has no sidecar."""
        with self._open() as stream:
            if isinstance(stream, HashedStream):
                stream.hash_with("sha256")
            found, error = _decoded(self.format, stream, columns)
            stream.seek(0)
            return Read(found, sha256_of(stream), error)

    @contextmanager
    def unverified_parts(self) -> Iterator[tuple[str, Iterator[Any]]]:
        """Read what has no sidecar, as :meth:`parts`."""
        with self._open() as stream:
            sha256 = sha256_of(stream)
            stream.seek(0)
            yield sha256, _parts(self.format, stream)

    def require_columns(self, record: ArtifactRecord, columns: Sequence[str]) -> None:
        """Refuse columns that cannot be there, without reading the artifact.

        Raises:
            FormatError: the sidecar names no such columns.
        """
        dumped = kind_of_type_name(record.type)
        if record.columns is None and dumped is None:
            raise FormatError(
                f"could not load columns of {self.uri}: it is a {record.type} and no table; leave columns= out"
            )
        if record.columns is not None and getattr(self.format, "kind", dumped) in (dumped, None):
            try:
                places_of(list(record.columns), columns)
            except FormatError as error:
                raise FormatError(f"could not load {self.uri}: {error}") from None

    def columns_alone(self, sidecar: Sidecar, columns: Sequence[str]) -> Read | None:
        """Read columns and little else; ``None`` where it is not certain that they are right, and all has to be read.

        What is read is verified by the checksums that the format has for its parts. Whether it is of the sidecar's artifact
        is for the caller to ask: the sidecar must be the same afterwards.
        """
        record, reader = sidecar.artifact, self._reader(sidecar)
        if (
            record.bytes <= _SMALL
            or sidecar.replaces is not None
            or not isinstance(reader, VerifiesColumns)
            or not reader.verifies_columns(record.type)
            or not self.store.steady_reads
        ):
            return None
        try:
            with self._open() as stream:
                if stream.seek(0, os.SEEK_END) != record.bytes:
                    return None
                stream.seek(0)
                found = reader.load_columns(stream, columns)
        except (FormatError, MissingArtifactError, ObjectChangedError):  # reading all of it tells what is wrong
            return None
        return Read(found, record.sha256) if _agrees(found, record) else None

    def _open(self) -> BinaryIO:
        try:
            return self.store.open(self.uri)
        except FileNotFoundError as error:
            raise MissingArtifactError(f"the artifact {self.uri} is gone; run the task that makes it") from error

    def _reader(self, sidecar: Sidecar) -> Format:
        """Return the format with the options the artifact was written with, for what was dumped."""
        return reader_for(
            with_options(self.format, sidecar.artifact.options), sidecar.artifact.type, sidecar.artifact.columns
        )


def _decoded(reader: Format, stream: BinaryIO, columns: Sequence[str] | None) -> tuple[Any, Exception | None]:
    try:
        return reader.load(stream) if columns is None else load_columns(reader, stream, columns), None
    except ObjectChangedError:
        raise
    except Exception as error:  # noqa: BLE001 - kept until the checksum says whether the bytes or the reader are to blame
        return None, error


def _sha256(stream: BinaryIO, checksum: Checksum, record: ArtifactRecord) -> str:
    """Return the SHA-256 of an artifact: its record's, where the faster checksum is the record's."""
    if checksum.hexdigest == record.xxh3:
        return record.sha256
    stream.seek(0)
    return sha256_of(stream)


def _parts(reader: Format, stream: BinaryIO) -> Iterator[Any]:
    return reader.load_parts(stream) if isinstance(reader, ReadsInParts) else iter([reader.load(stream)])


def _agrees(found: Any, record: ArtifactRecord) -> bool:
    """Whether columns are such as a sidecar says: as many rows, and of the same types where the library is the same."""
    described = describe(found)
    columns = described.columns or {}
    alike = described.type != record.type or all((record.columns or {}).get(name) == columns[name] for name in columns)
    return described.rows == record.rows and alike
