"""Office files that are encrypted as a whole: opened with a password and read as what is inside."""

from __future__ import annotations

from io import BytesIO

from rag.errors import DocumentError
from rag.types import ParsedDocument


def load(data: bytes, *, name: str, password: str = "") -> ParsedDocument:
    """Read an encrypted DOCX, XLSX or PPTX. Raises: DocumentError E_ENCRYPTED, E_CORRUPT, and what its loader raises."""
    if not password:
        raise DocumentError(
            "E_ENCRYPTED",
            f"{name} is encrypted and needs a password. Add it to the setting parse.passwords, or save the file without one.",
        )
    from rag.loaders import load_document

    return load_document(_opened(data, name, password), name)


def _opened(data: bytes, name: str, password: str) -> bytes:
    import msoffcrypto
    from msoffcrypto.exceptions import DecryptionError, FileFormatError, InvalidKeyError, ParseError

    inside = BytesIO()
    try:
        locked = msoffcrypto.OfficeFile(BytesIO(data))
        locked.load_key(password=password, verify_password=True)
        locked.decrypt(inside)
    except InvalidKeyError as error:
        raise DocumentError(
            "E_ENCRYPTED",
            f"{name} does not open with the passwords given. Add its password to the setting parse.passwords.",
        ) from error
    # The library answers damage with whatever its code ran into.
    except (DecryptionError, FileFormatError, ParseError, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError,
            ArithmeticError, NotImplementedError, EOFError) as error:  # fmt: skip
        raise DocumentError(
            "E_CORRUPT",
            f"{name} is encrypted and damaged, or in a way that cannot be opened. Save it without a password.",
        ) from error
    return inside.getvalue()
