"""Names in English and Chinese text, and which of them another text does not hold. Pure functions.

Without a dictionary of names the look-up is careful: what may be a common word is a name only where the other text has
another name in its place.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import accumulate, product

from rag.numerals import MONTHS
from rag.text import is_han, is_stop_word, language, sentences, tagged

_TITLE = re.compile(r"《([^》]{1,60})》")
_NAME_PART = re.compile(r"[^\W_]+(?:[.&][^\W_]+)*")
_CAPITAL = re.compile(
    r"(?<![^\W_])[A-Z][^\W_]*(?:[-.&'’][^\W_]+)*(?:(?:(?<=\b[A-Z])\.)?\s+(?:(?:of|de|von|van|da|der|the)\s+)?[A-Z][^\W_]*(?:[-.&'’][^\W_]+)*)*"
)
_LATIN_IN_HAN = re.compile(r"[A-Za-z][A-Za-z0-9]+(?:[-. ][A-Za-z0-9]+)*")
_NEVER_NAMES = (
    "the a an this that these those it its he she they his her their there here we you i in on at by for from of to "
    "as and or but if when while where what who whom which why how after before during since until although though "
    "because so thus therefore however moreover also yes no not according both each all some many most one two three "
    "four five six seven eight nine ten first second third another other such with without under over between among "
    "is are was were be been do does did has have had can could may might must shall should will would passage "
    "passages answer question document documents only then than once today overall additionally furthermore finally "
    "instead celsius fahrenheit"
)
_NO_NAMES = frozenset(_NEVER_NAMES.split())
_ENDINGS = ("s", "n", "an", "ian", "ese", "ish", "y")  # India, Indian; German, Germany
_RANKS = "mr mrs ms dr doctor prof professor sir dame president chancellor senator minister king queen prince princess pope saint st"
_TITLES = frozenset(_RANKS.split())
_BEHIND_NAMES = "jr sr inc corp corporation ltd co company llc plc"
_SUFFIXES = frozenset(_BEHIND_NAMES.split())
_IRREGULAR = (
    "french:france dutch:netherlands spanish:spain british:britain swiss:switzerland greek:greece danish:denmark polish:poland "
    "swedish:sweden turkish:turkey welsh:wales irish:ireland finnish:finland english:england scottish:scotland"
)
_ADJECTIVES = dict(pair.split(":") for pair in _IRREGULAR.split())
_COUNTRIES = {country: adjective for adjective, country in _ADJECTIVES.items()}
_NEAR = 4  # words within which the parts of a name stand together
_DOTTED = re.compile("([\u4e00-\u9fff]{2})[·・•‧]([\u4e00-\u9fff])([\u4e00-\u9fff]?)")
_TAGS = frozenset({"nr", "nrt", "nrfg", "ns"})  # of jieba: people and places
_BEFORE_PLACES = frozenset(["在", "于", "到", "从", "自", "来自", "位于", "前往", "出生于", "生于", "设在"])
_BEFORE_PEOPLE = frozenset(["由", "叫", "名叫", "名为", "作者"])
_DONE = "于 所著 所写 著 撰写 创作 发明 发现 设计 创立 创建 创办 创制 建造 出生 生于 逝世 获得"
_BEHIND_PEOPLE = frozenset(_DONE.split())
_OUR_COUNTRY = re.compile("我国|国内|全国|中华|中")
_SURNAMES = frozenset(
    "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦尤许何吕施张孔曹严魏陶姜戚谢邹喻苏潘葛范彭郎鲁韦马苗凤俞任袁柳鲍唐费岑薛雷贺倪汤滕殷罗"
    "毕郝傅齐康余元卜顾孟黄穆萧尹姚邵汪祁毛狄贝臧计戴宋茅庞熊纪舒屈项祝董梁杜阮蓝闵季贾江颜郭梅盛林钟徐邱骆夏蔡田"
    "樊胡凌霍虞柯卢莫房缪解丁邓洪崔吉龚程邢裴陆荣翁荀甄曲靳段焦侯班仰仇甘厉祖武符刘景詹龙叶黎白赖卓乔翟谭申聂易廖"
)
_SPELLING = (  # characters that foreign names are spelled with, and few words hold three of in a row
    "阿艾奥巴贝伯迪厄尔菲弗戈赫霍吉贾柯克库奎拉莱兰勒黎莉卢鲁伦罗洛玛迈曼蒙莫姆穆娜妮纽诺帕潘佩珀普奇乔琴萨塞桑瑟莎舍什斯索塔泰坦汤特托瓦韦维沃乌伊尤扎詹兹"
    "佐亚尼马卡德顿森"
)
_SPELLED = re.compile(f"[{_SPELLING}]{{3,}}")
_MUCH_ALIKE = 0.5  # share of a sentence that stands in the quote in order, for the rest to be compared place by place
_LONGEST_NAME = 8  # characters
_COMMON_ENDINGS = ("tion", "sion", "ing", "ment", "ness", "ity", "ance", "ence", "ism", "ly", "s", "ed", "ist", "ure")


def names(sentence: str) -> set[str]:
    """Names in a sentence: 《titles》, Latin words in Chinese text, capitalised words in English text.

    A sentence's first word is a name only when it is part of a longer one, or written in capitals or with digits.
    """
    found = {match.group(1) for match in _TITLE.finditer(sentence)}
    if language(sentence) == "zh":
        return found | {match.group() for match in _LATIN_IN_HAN.finditer(sentence)}
    starts = {start for start, _ in sentences(sentence)}
    for match in _CAPITAL.finditer(sentence):
        parts = [part for part in match.group().split() if re.split(r"['’.]", part.lower())[0] not in _NO_NAMES]
        at_start = any(start <= match.start() <= start + 2 for start in starts)
        if not parts or (at_start and len(parts) == 1 and parts[0] == match.group() and not _is_code(parts[0])):
            continue
        kept = " ".join(part for part in parts if part.lower() not in MONTHS)
        if kept:
            found.add(kept.removesuffix("'s").removesuffix("’s"))
    return found


def missing_names(sentence: str, text: str, question: str = "") -> set[str]:
    """Names of a sentence with a word that stands neither in `text` nor in the question, or whose words belong to others.

    Between two languages the names of one cannot be looked up in the other, except those in Latin letters.
    """
    known = f"{text}\n{question}"
    other = language(sentence) != language(text)
    in_han = language(sentence) == "zh"
    missing = set(_missing_in_han(sentence, known)) if in_han and not other else set()
    missing |= {f"{first} I" for first in _FIRST.findall(sentence) if _is_later(first, known)}
    for name in names(sentence):
        if is_han(name[0]):
            if not other and _squeezed(name) not in _squeezed(known):
                missing.add(name)
        elif (not other or in_han) and not _is_held(name, known):
            missing.add(name)
    return missing


_FIRST = re.compile(r"\b([A-Z]\w+) I\b")


def _is_later(name: str, known: str) -> bool:
    """Whether a text has another one of that name, as World War II, and not the first: "I" is mostly a pronoun."""
    return bool(re.search(rf"\b{name}\s+[IVX]+\b", known)) and not re.search(rf"\b{name}\s+I\b", known)


def other_name(sentence: str, quote: str, text: str, question: str = "") -> str:
    """A name of a sentence that stands in the place of another one in the quote, and nowhere in `text`; or ""."""
    if language(sentence) != language(quote):
        return ""
    known = _squeezed(f"{text}\n{question}")
    if language(sentence) == "en":
        return _other_subject(sentence, quote, text, known)
    words = tagged(_unspaced(sentence))
    ends = [0, *accumulate(len(word) for word, _, _ in words)]
    for start, end, mine, theirs in replaced(sentence, quote):
        if mine in known or not (start in ends and end in ends) or not _may_name(theirs):
            continue
        named = words[ends.index(start) : ends.index(end)]
        if all(tag in _TAGS for _, tag, _ in named) and (named[0][2] or mine[0] in _SURNAMES):
            return mine
    return ""


def replaced(sentence: str, quote: str) -> Iterator[tuple[int, int, str, str]]:
    """Stretches of two Chinese sentences that are alike but for them, also with the same characters beside them.

    Each with where it stands in the sentence without its white space, and what stands there in the quote.
    """
    mine, theirs = (_unspaced(text)[:400] for text in (sentence, quote))
    matcher = SequenceMatcher(None, mine, theirs, autojunk=False)
    if not mine or sum(block.size for block in matcher.get_matching_blocks()) < _MUCH_ALIKE * len(mine):
        return
    for kind, start, end, start_there, end_there in matcher.get_opcodes():
        if kind != "replace" or max(end - start, end_there - start_there) > _LONGEST_NAME:
            continue
        for before, behind in product(range(3), range(3)):
            one = mine[max(0, start - before) : end + behind]
            two = theirs[max(0, start_there - before) : end_there + behind]
            if one[:before] == two[:before] and (not behind or one[-behind:] == two[-behind:]):
                yield max(0, start - before), min(len(mine), end + behind), one, two


def _unspaced(text: str) -> str:
    return re.sub(r"\s", "", text)


# ---------------------------------------------------------------- Chinese


def _missing_in_han(sentence: str, known: str) -> Iterator[str]:
    """Names that a dot joins, and the dictionary's names of people and places where a sentence names who or where."""
    squeezed = _squeezed(known)
    for match in _DOTTED.finditer(sentence):
        first, second = match[1], match[2] + match[3]
        one_letter = len(second) < 2 or (f"·{match[2]}" in known and not _may_name(second))
        if (first not in squeezed and f"{first[1]}·" not in known) or (second not in squeezed and not one_letter):
            yield f"{first}·{second}"
    for match in _SPELLED.finditer(sentence):
        run = match.group()
        n_held = sum(run[at : at + 2] in squeezed for at in range(len(run) - 1))
        if n_held < len(run) / 3:
            yield run
    words = tagged(sentence)
    for at, (word, _, _) in enumerate(words):
        ours = word == "中国" and _OUR_COUNTRY.search(known)
        if len(word) > 1 and word.rstrip("省市县区州国") not in squeezed and not ours and _names_someone(words, at):
            yield word


def _names_someone(words: Sequence[tuple[str, str, bool]], at: int) -> bool:
    """Whether a tagged word stands where a person or a place is named, and is one to jieba's dictionary, or has a surname."""
    word, tag, in_dictionary = words[at]
    before, behind = words[at - 1][0] if at else "", words[at + 1][0] if at + 1 < len(words) else ""
    if tag == "ns":
        return in_dictionary and before in _BEFORE_PLACES
    if tag not in _TAGS or not (before in _BEFORE_PEOPLE or behind in _BEHIND_PEOPLE):
        return False
    has_surname = word[0] in _SURNAMES and len(word) <= 3
    return in_dictionary or (has_surname and before in _BEFORE_PEOPLE and behind in _BEHIND_PEOPLE)


def _may_name(piece: str) -> bool:
    """Whether a stretch of Chinese is nothing but a name, as far as can be told: by jieba, or by its surname."""
    return 2 <= len(piece) <= _LONGEST_NAME and all(map(is_han, piece)) and _are_names(tagged(piece))


def _are_names(words: Sequence[tuple[str, str, bool]]) -> bool:
    piece = "".join(word for word, _, _ in words)
    if len(piece) < 2:
        return False
    by_surname = piece[0] in _SURNAMES and len(piece) <= 4 and len(words) > 1
    return by_surname or all(tag in _TAGS for _, tag, _ in words)


# ---------------------------------------------------------------- English


def _is_held(name: str, known: str) -> bool:
    held = _name_words(known)
    parts = _essential(_NAME_PART.findall(_plain(name)), known)
    whole = all(_stands_in(part, held) for part in parts)
    if not whole:
        return _squeezed(name) in _squeezed(known) or _as_initials(name, known)
    spoken = [part for part in name.split() if not parts or _plain(part.strip(".")) in parts]
    return len(spoken) < 2 or _together(spoken[-2], spoken[-1], known)


def _essential(parts: list[str], known: str) -> list[str]:
    """The parts of a name without titles, what companies and sons are called behind it, and initials where the text has none."""
    kept = parts[next((at for at, part in enumerate(parts) if part not in _TITLES), 0) :]
    kept = kept[:-1] if len(kept) > 1 and kept[-1] in _SUFFIXES else kept
    inner = kept[1:-1]
    if inner and not re.search(rf"\b{re.escape(kept[0])}\s+[A-Z]\b", known, re.IGNORECASE):
        inner = [part for part in inner if len(part) > 1]
    if len(kept) > 1 and len(kept[0]) == 1 and re.search(rf"\b{kept[0]}\w+\s+(?:\w+\.?\s+){{0,2}}{re.escape(kept[-1])}\b", known, re.IGNORECASE):  # fmt: skip
        return [*inner, kept[-1]]
    return [kept[0], *inner, *kept[1:][-1:]] if kept else parts


def _stands_in(part: str, held: frozenset[str]) -> bool:
    if part in held or _ADJECTIVES.get(part) in held or _COUNTRIES.get(part) in held:
        return True
    shorter = {part[: -len(ending)] for ending in _ENDINGS if part.endswith(ending) and len(part) > len(ending) + 3}
    longer = {part + ending for ending in _ENDINGS} if len(part) > 3 else {f"{part}s"}
    return bool((shorter | longer | {part.removesuffix("s")}) & held)


def _as_initials(name: str, known: str) -> bool:
    """Whether U.S. stands in a text as United States, or the reverse."""
    letters = re.sub(r"[^A-Za-z]", "", name)
    if letters.isupper() and 2 <= len(letters) <= 6 and " " not in name:
        return any(letters in _initials(match.group()) for match in _CAPITAL.finditer(known))
    initials = _initials(name)
    return len(initials) > 1 and any(
        initials == re.sub(r"\W", "", match.group()) for match in re.finditer(r"\b[A-Z](?:\.?[A-Z])+\b", known)
    )


def _initials(name: str) -> str:
    return "".join(part[0] for part in name.split() if part[0].isupper() and part.lower() not in _NO_NAMES)


def _together(first: str, last: str, known: str) -> bool:
    """Whether two parts of a name stand near each other somewhere, or no others stand beside them instead.

    John Smith is not in "John Brown wrote it. Mary Smith sold it."
    """
    words = [match.group() for match in _NAME_PART.finditer(known)]
    at_first = [at for at, word in enumerate(words) if word == first]
    at_last = [at for at, word in enumerate(words) if word == last]
    if not at_first or not at_last or any(abs(one - two) <= _NEAR for one in at_first for two in at_last):
        return True
    behind = all(words[at + 1 : at + 2] and _is_capital(words[at + 1]) for at in at_first)
    before = all(at > 0 and _is_capital(words[at - 1]) for at in at_last)
    return not (behind and before)


def _is_capital(word: str) -> bool:
    return word[0].isupper() and word.lower() not in _NO_NAMES


def _other_subject(sentence: str, quote: str, text: str, known: str) -> str:
    """The first word of a sentence when the quote has another name before the same next word: "Newton published"."""
    words, there = ([match.group() for match in _NAME_PART.finditer(text)] for text in (sentence, quote))
    if len(words) < 3 or _squeezed(words[0]) in known or not _is_capital(words[0]):
        return ""
    if is_stop_word(words[0].lower()) or words[0].lower() in _TITLES or words[0].lower().endswith(_COMMON_ENDINGS):
        return ""
    if sum(word in there for word in words[1:]) < _MUCH_ALIKE * (len(words) - 1):
        return ""
    subjects = [there[at - 1] for at, word in enumerate(there[:-1]) if at and [word, there[at + 1]] == words[1:3]]
    named = [one for one in subjects if _is_capital(one) and not one.lower().endswith(_COMMON_ENDINGS)]
    return words[0] if named and not any(re.search(rf"\b{re.escape(one.lower())}\b", text) for one in named) else ""


def _is_code(word: str) -> bool:
    return len(word) > 1 and any(char.isupper() or char.isdigit() for char in word[1:])


@lru_cache(maxsize=200)
def _plain(text: str) -> str:
    """Lower-cased and without accents: São is sao."""
    apart = unicodedata.normalize("NFKD", text)
    return unicodedata.normalize("NFKC", "".join(char for char in apart if not unicodedata.combining(char))).lower()


@lru_cache(maxsize=200)
def _squeezed(text: str) -> str:
    """Letters and digits only."""
    return re.sub(r"\W", "", _plain(text))


@lru_cache(maxsize=200)
def _name_words(text: str) -> frozenset[str]:
    """Every word that a name may be made of, lower-cased, whole and cut at hyphens and apostrophes."""
    return frozenset(_NAME_PART.findall(_plain(text)))
