"""Images as PNG."""

from __future__ import annotations

import io
import sys
from typing import Any, BinaryIO

from airflow_kart.exceptions import ConfigurationError, FormatError
from airflow_kart.formats.base import Writable, type_name

__all__ = ["PngFormat"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class PngFormat:
    """An image as PNG (W3C PNG specification).

    Takes a matplotlib figure, a Pillow image, or bytes that are PNG already; loads a Pillow image where Pillow is
    installed, which every matplotlib brings.
    """

    name = "png"

    def dump(self, obj: Any, stream: Writable) -> None:
        """Write an image."""
        figure: Any = getattr(sys.modules.get("matplotlib.figure"), "Figure", None)
        image: Any = getattr(sys.modules.get("PIL.Image"), "Image", None)
        if isinstance(obj, bytes):
            if not obj.startswith(_SIGNATURE):
                raise FormatError("these bytes are not PNG; dump a matplotlib figure, a Pillow image, or PNG bytes")
            stream.write(obj)
            return
        buffer = io.BytesIO()
        if figure is not None and isinstance(obj, figure):
            # No metadata: matplotlib's own holds its version, and equal plots should be equal bytes.
            obj.savefig(buffer, format="png", metadata={"Software": None})
        elif image is not None and isinstance(obj, image):
            _save(obj, buffer)
        else:
            raise FormatError(
                f"the png format cannot write a {type_name(obj)}; dump a matplotlib figure, a Pillow image, or PNG bytes"
            )
        stream.write(buffer.getbuffer())

    def load(self, stream: BinaryIO) -> Any:
        """Read a ``PIL.Image.Image``, whole."""
        try:
            from PIL import Image, UnidentifiedImageError
        except ImportError as error:
            raise ConfigurationError("loading a png needs Pillow: pip install pillow") from error
        try:
            image = Image.open(stream, formats=["PNG"])
            image.load()
        except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, OSError, ValueError) as error:
            raise FormatError(f"the bytes are not a PNG image ({error})") from error
        return image


def _save(image: Any, buffer: io.BytesIO) -> None:
    try:
        image.save(buffer, format="PNG")
    except (OSError, ValueError) as error:
        raise FormatError(
            f"the png format cannot write this image: {error}; convert it first, image.convert('RGB')"
        ) from error
