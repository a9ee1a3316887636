"""Images as PNG and JPEG."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO, ClassVar, cast

from typing_extensions import Self

from airflow_kart.exceptions import ConfigurationError, FormatError
from airflow_kart.formats.base import READING, Writable, require_type, type_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image


def _is_a(obj: object, module: str, name: str) -> bool:
    """Whether an object is of a class, whose library need not be loaded."""
    cls = getattr(sys.modules.get(module), name, None)
    return cls is not None and isinstance(obj, cls)


@dataclass(frozen=True)
class _ImageFormat:
    as_bytes: bool = field(default=False, repr=False, metadata=READING)
    """Whether to load the bytes themselves; :meth:`for_type` sets this field."""

    name = "image"
    _kind: ClassVar[str]
    _signature: ClassVar[bytes]

    def for_type(self, dumped: str) -> Self:
        """Return the format that loads bytes where bytes were dumped."""
        return replace(self, as_bytes=dumped == "builtins.bytes")

    def dump(self, obj: object, stream: Writable) -> None:
        """Write an image."""
        if isinstance(obj, bytes):
            require_type(obj, bytes, self.name, "dump bytes(...)")
            if not obj.startswith(self._signature):
                raise FormatError(f"these bytes are not {self._kind}; {self._advice}")
            stream.write(obj)
            return
        buffer = io.BytesIO()
        if _is_a(obj, "matplotlib.figure", "Figure"):
            self._save_figure(cast("Figure", obj), buffer)
        elif _is_a(obj, "PIL.Image", "Image"):
            try:
                cast("Image", obj).save(buffer, format=self._kind, **self._pillow_options)
            except (OSError, ValueError) as error:
                raise FormatError(
                    f"the {self.name} format cannot write this image: {error}; convert it first, image.convert('RGB')"
                ) from error
        else:
            raise FormatError(f"the {self.name} format cannot write a {type_name(obj)}; {self._advice}")
        stream.write(buffer.getbuffer())

    def load(self, stream: BinaryIO) -> object:
        """Read a whole ``PIL.Image.Image``; or bytes, where bytes were dumped."""
        if self.as_bytes:
            return stream.read()
        try:
            from PIL import Image, UnidentifiedImageError
        except ImportError as error:
            raise ConfigurationError(f"loading a {self.name} needs Pillow: pip install pillow") from error
        try:
            image = Image.open(stream, formats=[self._kind])
            image.load()
        except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, OSError, ValueError) as error:
            raise FormatError(f"the bytes are not a {self._kind} image ({error})") from error
        return image

    @property
    def _advice(self) -> str:
        return f"dump a matplotlib figure, a Pillow image, or {self._kind} bytes"

    @property
    def _pillow_options(self) -> dict[str, int]:
        return {}

    def _save_figure(self, figure: Figure, buffer: io.BytesIO) -> None:
        # No metadata: matplotlib's own holds its version, and equal plots should be equal bytes.
        figure.savefig(buffer, format="png", metadata={"Software": None})


@dataclass(frozen=True)
class PngFormat(_ImageFormat):
    """An image as PNG (W3C PNG specification).

    A matplotlib figure or a Pillow image loads as a Pillow image; Pillow comes with every matplotlib. Bytes that are PNG
    already load as the same bytes.
    """

    name = "png"
    _kind = "PNG"
    _signature = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class JpegFormat(_ImageFormat):
    """An image as JPEG (ISO/IEC 10918-1), which keeps pixels only nearly. Takes and loads the same classes as :class:`PngFormat`.

    Args:
        quality: from 1, the smallest, to 95, the best.
    """

    quality: int = 90

    name = "jpeg"
    _kind = "JPEG"
    _signature = b"\xff\xd8\xff"

    def __post_init__(self) -> None:
        """Check the options."""
        if isinstance(self.quality, bool) or not isinstance(self.quality, int) or not 1 <= self.quality <= 95:
            raise ConfigurationError(f"JpegFormat got quality={self.quality!r}; give a number from 1 to 95")

    @property
    def _pillow_options(self) -> dict[str, int]:
        return {"quality": self.quality}

    def _save_figure(self, figure: Figure, buffer: io.BytesIO) -> None:
        figure.savefig(buffer, format="jpeg", pil_kwargs=self._pillow_options)
