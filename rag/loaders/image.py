"""Pictures: their text by OCR. PNG, JPEG, TIFF with its pages, WEBP, BMP, the first picture of a GIF."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

from rag.errors import DocumentError
from rag.loaders import layout
from rag.loaders.ocr import Reader, advice
from rag.types import ParsedDocument

MAX_PIXELS = 100_000_000
MAX_SIDE = 4000  # larger ones are shrunk; text that is legible then is found


def load(data: bytes, *, name: str, password: str = "", ocr: Reader | None = None) -> ParsedDocument:
    """Read a picture.

    Raises: DocumentError E_NO_TEXT_LAYER (OCR is off or not installed), E_NO_TEXT, E_TOO_LARGE, E_CORRUPT.
    """
    if ocr is None:
        raise DocumentError("E_NO_TEXT_LAYER", f"{name} is a picture. {advice()}.")
    import PIL
    from PIL import Image

    try:
        with Image.open(BytesIO(data)) as opened:
            n_pages = getattr(opened, "n_frames", 1) if opened.format == "TIFF" else 1
            pages = []
            for page in range(min(n_pages, ocr.max_pages)):
                if n_pages > 1:
                    opened.seek(page)
                if opened.width * opened.height > MAX_PIXELS:
                    raise Image.DecompressionBombError
                pages.append(ocr.lines(_pixels(opened), page + 1))
    except Image.DecompressionBombError as error:
        raise DocumentError(
            "E_TOO_LARGE",
            f"{name} has more than {MAX_PIXELS // 1_000_000} million pixels. Shrink the picture and import it.",
        ) from error
    except PIL.UnidentifiedImageError as error:
        raise DocumentError("E_CORRUPT", f"{name} is no picture that can be opened. Save it as PNG or JPEG.") from error
    # Pillow answers damage with whatever its decoder ran into.
    except (OSError, ValueError, SyntaxError, EOFError, KeyError, IndexError, TypeError, OverflowError, ArithmeticError,
            struct.error) as error:  # fmt: skip
        raise DocumentError("E_CORRUPT", f"{name} is damaged: it cannot be drawn. Save the picture again.") from error
    if not any(pages):
        raise DocumentError("E_NO_TEXT", f"{name} holds no text that OCR can read.")
    warnings = ["The text was read by OCR."]
    if n_pages > len(pages):
        warnings.append(f"Only {len(pages)} of {n_pages} pages were read: parse.ocr_pages is the limit.")
    return layout.document(pages, type="image", warnings=warnings, metadata={"ocr": True})


def _pixels(image: Any) -> Any:
    """The picture as an array (height, width, 3), blue first; turned as its camera says, on white where it is clear."""
    import numpy
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if max(image.size) > MAX_SIDE:
        image = image.copy()
        image.thumbnail((MAX_SIDE, MAX_SIDE))
    if image.mode in ("I;16", "I;16B", "I"):
        image = Image.fromarray((numpy.asarray(image).astype("float64") / 257).clip(0, 255).astype("uint8"))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return numpy.ascontiguousarray(numpy.asarray(image.convert("RGB"))[:, :, ::-1])
