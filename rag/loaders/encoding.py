"""From bytes to characters: byte order marks, UTF-8, the East Asian and Windows encodings, and damaged text."""

from __future__ import annotations

import codecs
import re

from rag.errors import DocumentError

SAMPLE = 200_000  # bytes that the detector sees
MAX_BROKEN = 0.05  # share of undecodable bytes above which a text is refused

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CONTROL = re.compile(rb"[\x01-\x08\x0e-\x1a\x1c-\x1f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_HIGH_RUN = re.compile(rb"[\x80-\xff]+")
# Valid UTF-8 of more than one byte, and what else there may be of high bytes.
_UTF8_RUN = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
# Inside a word these Windows-1252 characters mean that the text is in another code page.
_NOT_WESTERN = re.compile(r"[^\W\d_][¹³¿¾¼½£¥º¶±][^\W\d_]|[a-z][³¿¾]\b|\b[¹³¾][a-z]|[ÞþÐð]")
_LATIN_2 = re.compile(r"[^\W\d_][¶±¼¦¬][^\W\d_]?")
_CZECH = re.compile("[øØ]")
_CZECH_TOO = re.compile("[ìÌèÈ]")
# Frequent characters, simplified and traditional: enough to tell GB18030 from Big5 in a short text.
_FREQUENT = frozenset(
    "的一是不了在人有我他这個个们們中来來上大为為和国國地到以说說时時要就出会會可也你对對生能而子那得于於着著下自之年过過发發"
    "后後作里用道行所然家种種事成方多经經么麼去法学學如都同现現当當没沒动動面起看定天分还還进進好小部其些主样樣理心本前开開但因只从從想实實"
    "日军軍者意无無力它与與长長把机機十民第公此已工使情明性知全三又关關点點正业業外将將两兩高间間由问問很最重并物手应應战戰向头頭文体體政美相见見被利什"
    "二等产產新己制身果加西斯月话話合回特代内內信表化老给給世位次度门門任常先海通教儿兒原东東声聲提立及比员員解水名真论論处處走义義各入几幾口认認条條平系"
    "气氣题題活尔爾更别別打女变變四神总總何电電数數安少报報才结結反受目太量再感建务務做接必场場件计計管期市直德资資命山金指克许許统統区區保至队隊形社便空决決治展"
    "字码碼编編标標题題测測试試请請文件档檔内內容网網页頁系统統设設使用户戶"
)


def decode(data: bytes, *, declared: str = "", name: str = "The file") -> tuple[str, list[str]]:
    """The text of `data` with line ends as \\n and without NUL, and warnings for what had to be repaired.

    declared: an encoding that the file claims (an HTML meta tag); believed only if the bytes bear it out.
    Raises: DocumentError E_BINARY (not text), E_ENCODING (too much of it cannot be decoded).
    """
    text, warnings = _decode(data, declared, name)
    if "\0" in text:
        text = _without_nul(text, warnings, name)
    if _SURROGATE.search(text):
        text = _SURROGATE.sub("\ufffd", text)
    return text.replace("\r\n", "\n").replace("\r", "\n"), warnings


def looks_binary(data: bytes) -> bool:
    """Whether the beginning of `data` holds more control bytes than any text has (UTF-16 and UTF-32 are text)."""
    head = data[:8192]
    if any(head.startswith(bom) for bom, _ in _BOMS) or _wide(head):
        return False
    return len(_CONTROL.findall(head)) + head.count(0) > max(2, len(head) * 2 // 25)  # noise has 10 %


def is_wide(head: bytes) -> bool:
    """Whether the text is UTF-16 or UTF-32, with or without a mark."""
    return any(head.startswith(bom) for bom, encoding in _BOMS if encoding != "utf-8") or bool(_wide(head[:8192]))


def _decode(data: bytes, declared: str, name: str) -> tuple[str, list[str]]:
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return _decode_as(data[len(bom) :], encoding, name)
    if encoding := _wide(data[:8192]):
        return _decode_as(data, encoding, name)
    try:
        return data.decode("utf-8"), []
    except UnicodeDecodeError:
        pass
    if looks_binary(data):
        raise DocumentError("E_BINARY", f"{name} is not text: it holds many control bytes. Convert it to text first.")
    if (declared and _known(declared)) and (text := _strict(data, declared)) is not None:
        return text, []
    if _mostly_utf8(data):
        return _decode_as(data, "utf-8", name)
    return _decode_as(data, _detect(data), name)


def _decode_as(data: bytes, encoding: str, name: str) -> tuple[str, list[str]]:
    """Decode, replacing what is broken; refuse when more than MAX_BROKEN of the bytes are."""
    text = _strict(data, encoding)
    if text is not None:
        return text, []
    text = data.decode(encoding, errors="replace")
    n_broken = text.count("\ufffd") - (data.count(b"\xef\xbf\xbd") if encoding == "utf-8" else 0)
    if n_broken > MAX_BROKEN * len(data):
        raise DocumentError(
            "E_ENCODING",
            f"{name}: {n_broken} of {len(data)} bytes cannot be read as {encoding}. Save the file as UTF-8 and import it again.",
        )
    at = text.find("\ufffd")
    return text, [f"{n_broken} bytes are not valid {encoding} and were replaced, the first near character {at}."]


def _strict(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return None


def _known(encoding: str) -> bool:
    """Whether Python has a text codec of that name; UTF-8 was tried before, and UTF-16 without a mark is not believed."""
    try:
        info = codecs.lookup(encoding)
    except (LookupError, ValueError):
        return False
    return getattr(info, "_is_text_encoding", True) and not info.name.startswith("utf")


def _wide(head: bytes) -> str:
    """UTF-16 or UTF-32 without a mark, told by where the zero bytes of its ASCII characters stand."""
    n = len(head) // 4
    if n < 2 or b"\0" not in head:
        return ""
    zeros = [head[i : 4 * n : 4].count(0) / n for i in range(4)]
    if min(zeros[1:]) > 0.9 and zeros[0] < 0.5:
        return "utf-32-le"
    if min(zeros[:3]) > 0.9 and zeros[3] < 0.5:
        return "utf-32-be"
    if min(zeros[1], zeros[3]) > 0.3 and max(zeros[0], zeros[2]) < 0.05:
        return "utf-16-le"
    if min(zeros[0], zeros[2]) > 0.3 and max(zeros[1], zeros[3]) < 0.05:
        return "utf-16-be"
    return ""


def _mostly_utf8(data: bytes) -> bool:
    """Whether most of the high bytes form UTF-8: a damaged UTF-8 text rather than another encoding."""
    sample = data[: 10 * SAMPLE]
    n_high = len(sample) - len(sample.translate(None, bytes(range(128, 256))))
    good = sum(len(match) for match in _UTF8_RUN.findall(sample))
    return good >= 6 and good > 0.6 * n_high


def _detect(data: bytes) -> str:
    sample = _sample(data)
    if chinese := chinese_encoding(sample):
        return chinese
    if _western(sample):
        return "cp1252" if _strict(data, "cp1252") is not None else "latin-1"
    import chardet

    found = str(chardet.detect(sample, encoding_era=chardet.EncodingEra.MODERN_WEB).get("encoding") or "cp1252")
    if found.lower().startswith("utf"):
        return "cp1252"  # UTF-8 and UTF-16 were looked for before, with better evidence
    if found.lower() == "windows-1250" and _LATIN_2.search(sample.decode("cp1250", errors="replace")):
        return "iso-8859-2"
    return {"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc-kr": "cp949", "ascii": "cp1252"}.get(
        found.lower(), found
    )


def _sample(data: bytes) -> bytes:
    """A stretch of the file with high bytes in it, cut at line ends where there are some."""
    first = _HIGH_RUN.search(data)
    start = max(0, first.start() - SAMPLE // 2) if first else 0
    start = data.rfind(b"\n", 0, start) + 1 if start else 0
    end = min(len(data), start + SAMPLE)
    newline = data.rfind(b"\n", start, end)
    return data[start : newline + 1] if end < len(data) and newline > start else data[start:end]


def chinese_encoding(sample: bytes) -> str:
    """gb18030 or big5 when the text, read so, is full of frequent Chinese characters."""
    best, best_share = "", 0.0
    for encoding in ("gb18030", "big5", "cp950"):
        text = sample.decode(encoding, errors="replace")
        high = [char for char in text if char >= "\u2e80" or char == "\ufffd"]
        if len(high) < 4 or text.count("\ufffd") > 0.02 * len(high) + 1:
            continue
        share = sum(char in _FREQUENT for char in high) / len(high)
        if share > max(best_share, 0.18):
            best, best_share = encoding, share
    return best


def _western(sample: bytes) -> bool:
    """Whether the high bytes stand alone between ASCII, as accents in Western words do, and none is out of place."""
    runs = _HIGH_RUN.findall(sample)
    if sum(len(run) for run in runs) > 1.3 * len(runs) + 2:
        return False
    text = sample.decode("cp1252", errors="replace")
    if _NOT_WESTERN.search(text):
        return False
    return not (_CZECH.search(text) and _CZECH_TOO.search(text))


def _without_nul(text: str, warnings: list[str], name: str) -> str:
    n = text.count("\0")
    if n > len(text) // 3:
        raise DocumentError(
            "E_BINARY", f"{name} is not text: {n} of its {len(text)} characters are NUL. Convert it to text first."
        )
    warnings.append(f"{n} NUL characters were removed.")
    return text.replace("\0", "")
