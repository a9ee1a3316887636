"""Reading: the bytes of an artifact, verified and decoded: the whole, part by part, or some columns of a table."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

from airflow_kart.artifacts.checksum import Checksum, sha256_of, xxh3_of
from airflow_kart.artifacts.sidecar import ArtifactRecord, Sidecar
from airflow_kart.exceptions import CorruptArtifactError, FormatError, MissingArtifactError, ObjectChangedError
from airflow_kart.formats import Format, ReadsInParts, VerifiesColumns, describe, reader_for, trusts_bytes, with_options
from airflow_kart.formats.table_kind import kind_of_type_name
from airflow_kart.formats.tables.selection import load_columns, places_of
from airflow_kart.storage import Store
from airflow_kart.streams import HashedStream

_SMALL = 8 << 20
_PIECE = 4 << 20


class Decoded(NamedTuple):
    """The bytes of an artifact, decoded or not."""

    value: object
    sha256: str | None
    """The checksum of the bytes, in hex; ``None`` where the object changed in the midst of reading."""
    error: Exception | None = None
    """Why the bytes could not be decoded."""


class Reading(NamedTuple):
    """Reads one artifact.

    Args:
        uri: the artifact.
        format: decodes the bytes, with the options that the sidecar records.
        store: keeps the artifact.
    """

    uri: str
    format: Format
    store: Store

    def whole(self, sidecar: Sidecar, columns: Sequence[str] | None = None) -> Decoded:
        """Read and decode all of the bytes.

        The bytes are verified before decoding; those of a large artifact during it, where the format's decoder is safe with
        any bytes, from the same open file. The caller compares the returned checksum with the sidecar's.

        Args:
            sidecar: records how the artifact was written.
            columns: the columns of a table to return, by default all.

        Raises:
            MissingArtifactError: the artifact is gone.
        """
        try:
            return self._whole(sidecar, columns)
        except ObjectChangedError:
            return Decoded(None, None)

    def _whole(self, sidecar: Sidecar, columns: Sequence[str] | None) -> Decoded:
        record, reader = sidecar.artifact, self._reader(sidecar)
        if record.bytes > _SMALL:
            with self._open() as stream:
                if trusts_bytes(reader):
                    return self._verified(stream, sidecar, columns)
                with Checksum(stream) as checksum:
                    found, error = _decoded(reader, stream, columns)
                return Decoded(found, _sha256(stream, checksum, record), error)
        data = self._small()
        sha256 = record.sha256 if xxh3_of(data) == record.xxh3 else hashlib.sha256(data).hexdigest()
        if sha256 not in sidecar.accepted_checksums:
            return Decoded(None, sha256)
        found, error = _decoded(reader, io.BytesIO(data), columns)
        return Decoded(found, sha256, error)

    def _verified(self, stream: BinaryIO, sidecar: Sidecar, columns: Sequence[str] | None) -> Decoded:
        """Verify all of the bytes, and then decode the very same bytes; those of a network go through a temporary file."""
        record = sidecar.artifact
        with _in_a_file(stream) as (file, xxh3):
            sha256 = record.sha256 if xxh3 == record.xxh3 else sha256_of(file)
            if sha256 not in sidecar.accepted_checksums:
                return Decoded(None, sha256)
            file.seek(0)
            found, error = _decoded(self._reader(sidecar), file, columns)
            return Decoded(found, sha256, error)

    @contextmanager
    def parts(self, sidecar: Sidecar) -> Iterator[tuple[str, Iterator[object]]]:
        """Read all of the bytes once; yield their SHA-256, and an iterator that decodes part after part."""
        with self._open() as stream:
            with Checksum(stream) as checksum:
                pass
            sha256 = _sha256(stream, checksum, sidecar.artifact)
            stream.seek(0)
            yield sha256, _parts(self._reader(sidecar), stream)

    def unverified(self, columns: Sequence[str] | None = None) -> Decoded:
        """Read and decode an artifact that has no sidecar."""
        with self._open() as stream:
            if isinstance(stream, HashedStream):
                stream.hash_with("sha256")
            found, error = _decoded(self.format, stream, columns)
            stream.seek(0)
            return Decoded(found, sha256_of(stream), error)

    @contextmanager
    def unverified_parts(self) -> Iterator[tuple[str, Iterator[object]]]:
        """Read an artifact that has no sidecar, as :meth:`parts` does."""
        with self._open() as stream:
            sha256 = sha256_of(stream)
            stream.seek(0)
            yield sha256, _parts(self.format, stream)

    def require_columns(self, record: ArtifactRecord, columns: Sequence[str]) -> None:
        """Refuse columns that the artifact cannot have, without reading the artifact.

        Raises:
            FormatError: the sidecar does not name these columns.
        """
        dumped = kind_of_type_name(record.type)
        if record.columns is None and dumped is None:
            raise FormatError(
                f"could not load columns of {self.uri}: it is a {record.type} and no table; leave columns= out", uri=self.uri
            )
        if record.columns is not None and getattr(self.format, "kind", dumped) in (dumped, None):
            try:
                places_of(list(record.columns), columns)
            except FormatError as error:
                raise FormatError(f"could not load {self.uri}: {error}", uri=self.uri) from None

    def columns_alone(self, sidecar: Sidecar, columns: Sequence[str]) -> Decoded | None:
        """Read columns and little else; return ``None`` where only reading the whole can verify them.

        The format verifies the columns by checksums of its own parts. The caller must read the sidecar again and find the
        same, or the columns may be another artifact's.
        """
        record, reader = sidecar.artifact, self._reader(sidecar)
        if (
            record.bytes <= _SMALL
            or sidecar.replaces is not None
            or not isinstance(reader, VerifiesColumns)
            or not reader.verifies_columns(record.type)
            or not self.store.steady_reads  # one of its streams may read several versions
        ):
            return None
        try:
            with self._open() as stream:
                if stream.seek(0, os.SEEK_END) != record.bytes:
                    return None
                stream.seek(0)
                found = reader.load_columns(stream, columns)
        except (FormatError, MissingArtifactError, ObjectChangedError):  # reading the whole tells the reason
            return None
        return Decoded(found, record.sha256) if _agrees(found, record) else None

    def _small(self) -> bytes:
        """Read a small artifact in one request, where the store's streams would not be steadier."""
        if not self.store.steady_reads:
            with self._open() as stream:
                return stream.read()
        content = self.store.read(self.uri)
        if content is None:
            raise self._gone()
        return content.data

    def _open(self) -> BinaryIO:
        try:
            return self.store.open(self.uri)
        except FileNotFoundError as error:
            raise self._gone() from error

    def _gone(self) -> MissingArtifactError:
        return MissingArtifactError(f"the artifact {self.uri} is gone; run the task that makes it", uri=self.uri)

    def _reader(self, sidecar: Sidecar) -> Format:
        """Return the format with the recorded options, for the recorded type.

        Raises:
            CorruptArtifactError: the format does not take such options.
        """
        record = sidecar.artifact
        try:
            return reader_for(with_options(self.format, record.options), record.type, record.columns)
        except Exception as error:
            raise CorruptArtifactError(
                f"the sidecar of {self.uri} says to read with options that the format {record.format} does not take: {error}; "
                "run the task that makes the artifact again (kart_rerun)",
                uri=self.uri,
            ) from error


@contextmanager
def _in_a_file(stream: BinaryIO) -> Iterator[tuple[BinaryIO, str]]:
    """Yield a file, or memory, with the bytes of a stream, rewound, and their XXH3."""
    if not isinstance(stream, io.BytesIO) and not _is_file(stream):
        with tempfile.NamedTemporaryFile(prefix="kart-", delete=False) as copy, open(copy.name, "rb") as file:
            os.unlink(copy.name)  # the bytes stay until both are closed, also in a process that is killed
            shutil.copyfileobj(stream, copy, _PIECE)
            copy.flush()
            with Checksum(file) as checksum:
                pass
            yield file, checksum.hexdigest
        return
    with Checksum(stream) as checksum:
        pass
    stream.seek(0)
    yield stream, checksum.hexdigest


def _is_file(stream: BinaryIO) -> bool:
    try:
        return not isinstance(stream, HashedStream) and stream.fileno() >= 0
    except (OSError, AttributeError):
        return False


def _decoded(reader: Format, stream: BinaryIO, columns: Sequence[str] | None) -> tuple[object, Exception | None]:
    try:
        return reader.load(stream) if columns is None else load_columns(reader, stream, columns), None
    except ObjectChangedError:
        raise
    except Exception as error:  # noqa: BLE001 - the checksum decides later whether bytes or reader are to blame
        return None, error


def _sha256(stream: BinaryIO, checksum: Checksum, record: ArtifactRecord) -> str:
    """Return the SHA-256 of an artifact: the recorded one where the faster checksum agrees, else computed."""
    if checksum.hexdigest == record.xxh3:
        return record.sha256
    stream.seek(0)
    return sha256_of(stream)


def _parts(reader: Format, stream: BinaryIO) -> Iterator[object]:
    return reader.load_parts(stream) if isinstance(reader, ReadsInParts) else iter([reader.load(stream)])


def _agrees(found: object, record: ArtifactRecord) -> bool:
    """Whether columns have the recorded number of rows, and within the same library the recorded types."""
    described = describe(found)
    columns = described.columns or {}
    alike = described.type != record.type or all((record.columns or {}).get(name) == columns[name] for name in columns)
    return described.rows == record.rows and alike
