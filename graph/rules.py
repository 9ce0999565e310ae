"""Names and relations by rules alone: capitalised phrases, quoted titles, headings, links, Chinese names by their tags.

Works without any model, in English and other languages that capitalise names, and in Chinese. What a chunk gives
depends on that chunk alone, so a graph can be updated chunk by chunk.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from graph import grammar, names
from graph.chinese import Tagged, Tagger, jieba_names
from graph.grammar import Word
from graph.periods import period
from graph.types import Extraction, Mention, Relation
from rag import text as texts

MAX_LABEL = 60  # characters between two names that can name their relation
MAX_NAMES = 12  # of one sentence that are related; in longer lists everything would be with everything
_MAX_PARTS = 4  # of a phrase that is joined by "and", "in" and the like


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_TOKEN = re.compile(r"(?:[^\W\d_]\.){1,6}(?=[\s,;:)'’]|$)|[^\W_]+(?:[-'’&][^\W_]+)*")
_LINK = re.compile(r"\[([^\[\]\n]{2,120})\]\([^()\s]*\)")
_QUOTED = re.compile(
    r"《([^《》\n]{1,60})》|「([^「」\n]{2,40})」|『([^『』\n]{2,40})』|“([^“”\n]{2,80})”|``\s*([^`'\n]{2,80}?)\s*''"
    r"|(?<!\w)\"\s?([A-Z][^\"\n]{1,80}?)\"(?!\w)"
)
_YEAR = re.compile(r"(?<![\d.,])(1[0-9]{3}|20[0-9]{2})(?![\d]|[.,]\d)")
_MARKS = re.compile(r"[*_`#|]+")
_WORDS = re.compile(r"\s+")
_INSIDE = _set("of de la le du des del della di da do dos das von van der den ter zu zum al el ibn bin ben y e &")
_JOINS = _set("and in for on at the to with a an from by or is be not as into und et en für")
_BEFORE_DOT = _set("st dr mr mrs ms jr sr prof gen lt col sgt capt rev hon mt ft no vs")
# Words that stand capitalised without being names: at the start of a sentence, in dates, as headings.
_NEVER = _set(
    "i i'm he she it they we you his her hers its their theirs our ours your my me him them us this that these those there here the a an "
    "who whom whose which what when where why how if in on at by for from of to with without within into onto upon over "
    "under between among during before after since until while although though however therefore thus hence moreover "
    "furthermore nevertheless nonetheless meanwhile additionally also and or but nor so yet as than then both either "
    "neither each every all any some many most much more few several other another such same no not none only even "
    "just still once again later earlier soon now today is are was were be been being has have had do does did can "
    "could may might must shall should will would because unlike like due despite according along including included "
    "following based born died directed written produced starring released founded located first second third fourth last "
    "next early late old new one two three four five six seven eight nine ten january february march april may june july "
    "august september october november december monday tuesday wednesday thursday friday saturday sunday mr mrs ms "
    "dr ad bc ce bce am pm eg ie etc vs see note figure table chapter section page part example examples "
    "overview introduction summary contents references notes history other further about through throughout across against "
    "around above below near off out up down well very too often usually generally typically currently originally "
    "initially finally eventually recently previously subsequently perhaps maybe indeed instead rather"
)
_PRONOUN = re.compile(
    r"\W*(?:He|She|It|They|His|Her|Its|Their|This|The|In|On|At|From|After|Before|During|Born|As|With|Since|By|When)\b"
    r"|\W*(?:他|她|它|其|该|此|这|本)"
)


@dataclass(frozen=True, slots=True)
class _Found:
    """A name in a text. weak: it counts only where something else names the same, such as a title."""

    name: str
    start: int
    end: int
    type: str = ""
    weak: bool = False


def extract(
    text: str,
    context: str = "",
    *,
    title: str = "",
    tag_chinese: Tagger | None = None,
    typed: Tagged = (),
    words: Sequence[Word] = (),
) -> Extraction:
    """The names and relations of a chunk.

    context: the title and headings that it stands under, a line each. title: the document's; both name what it is about.
    tag_chinese: finds names in a Chinese sentence; left out, jieba's tags do. typed: names that something else found in
    the text: they give theirs a type, and those that the rules passed over are added. words: the text's words, parsed:
    what grammar says of two names stands in place of the words between them.
    """
    problems: list[tuple[str, str]] = []
    about = subjects(title, context, problems)
    tagger = tag_chinese or jieba_names
    spans = texts.sentences(text)
    found = [
        _completed(_typed(_names(text, start, end, tagger), text, start, end, typed), about) for start, end in spans
    ]
    found = [_titles(here, text, start, end, about) for (start, end), here in zip(spans, found, strict=True)]
    found = _as_elsewhere(found, text)
    found = _whole_names(found, about)
    mentions: list[Mention] = []
    relations: list[Relation] = []
    said = _said(words, found, about)
    for (start, end), here in zip(spans, found, strict=True):
        for one in here:
            if names.is_name(one.name):
                kind = "candidate" if one.weak else one.type
                mentions.append(Mention(name=one.name, start=one.start, end=one.end, type=kind))
            elif not one.weak and len(one.name) > names.MAX_NAME:
                problems.append(("bad_name", one.name[:80]))
        strong = [one for one in here if not one.weak and names.is_name(one.name)]
        parsed = [one for one in said if start <= one.at < end]
        relate = relating(text, start, end)
        relations += [relate(subject=one.subject, label=one.label, object=one.object) for one in parsed]
        relations += _unsaid(_relations(text, start, end, strong, about, relate), parsed)
    aliases = tuple(_aliases(text, about))
    return Extraction(
        about=about, mentions=tuple(mentions), relations=tuple(relations), aliases=aliases, problems=tuple(problems)
    )


def subjects(title: str, context: str, problems: list[tuple[str, str]]) -> tuple[str, ...]:
    """The document's title, then its headings, without numbering; each name once."""
    about: dict[str, str] = {}
    for line in (title, *context.split("\n")):
        for part in line.split(" > "):
            name = names.clean(_MARKS.sub(" ", re.sub(r"^\W*\d+(?:\.\d+)*[.)]?\s+(?=\D)", "", part)))
            if not name:
                continue
            if names.is_name(name):
                about.setdefault(names.key(name), name)
            else:
                problems.append(("bad_name", name[:80]))
    return tuple(about.values())


def question_names(text: str, tag_chinese: Tagger | None = None) -> list[str]:
    """The names that a question holds, as it writes them; what only may be a name comes last."""
    found = _names(text, 0, len(text), tag_chinese or jieba_names)
    ordered = sorted(found, key=lambda one: (one.weak, one.start))
    return list(dict.fromkeys(one.name for one in ordered if names.is_name(one.name)))


def years(text: str) -> tuple[int, ...]:
    """The years that a text names, each once."""
    return tuple(dict.fromkeys(int(year) for year in _YEAR.findall(text)))


def is_common(word: str) -> bool:
    """Whether a word is capitalised for other reasons than being a name: a pronoun, a month, a question word."""
    lower = word.lower()
    return (lower in _NEVER and not _is_acronym(word)) or lower in _JOINS or lower in _INSIDE


# ---------------------------------------------------------------- names


def _names(text: str, start: int, end: int, tagger: Tagger) -> list[_Found]:
    """Every name of a sentence, in order; names inside quotes and links are taken whole."""
    found: list[_Found] = []
    taken: list[tuple[int, int]] = []
    for pattern, kind in ((_LINK, ""), (_QUOTED, "work")):
        for match in pattern.finditer(text, start, end):
            group = next(n for n, value in enumerate(match.groups(), start=1) if value is not None)
            name = names.clean(match.group(group))
            short = len(name.split()) <= 10 and len(name) <= 80
            if not name or not short or any(low < match.end() and match.start() < high for low, high in taken):
                continue
            found.append(
                _Found(name, match.start(group), match.end(group), kind, weak=_is_plain(name, link=pattern is _LINK))
            )
            taken.append((match.start(), match.end()))
    sentence = text[start:end]
    if not sentence.isascii() and any(texts.is_han(char) for char in sentence):
        for kind, low, high in tagger(sentence):
            if not any(a < start + high and start + low < b for a, b in taken):
                found.append(_Found(sentence[low:high], start + low, start + high, kind))
    found += _capitalised(text, start, end, taken)
    return sorted(found, key=lambda one: (one.start, -one.end))


def _is_plain(name: str, *, link: bool) -> bool:
    """A phrase in lower case is a name only if something else says so; a link may start with an article."""
    capital = any(char.isupper() for char in name) if link else name[0].isupper()
    return not (capital or texts.is_han(name[0]) or name[0].isdigit())


def _capitalised(text: str, start: int, end: int, taken: Sequence[tuple[int, int]]) -> Iterator[_Found]:
    """Runs of capitalised words: each run a name, and runs that "and" or "in" joins candidates for one."""
    run: list[tuple[int, int]] = []  # (start, end) of the parts that small words join
    last_end, joined_by, opening = -1, "", True
    for match in _TOKEN.finditer(text, start, end):
        low, high = match.span()
        if any(a <= low < b for a, b in taken):
            yield from _emit(text, run, opening)
            run, last_end, opening = [], -1, False
            continue
        word = match.group()
        gap = text[last_end:low] if last_end >= 0 else ""
        touching = last_end >= 0 and (gap in (" ", "\n", "") or (gap == ". " and _is_short(text, last_end)))
        lower = word.lower()
        capital = word[0].isupper() and (len(word) > 1 or lower not in ("i", "a")) or _is_code(word)
        if capital and not (lower in _NEVER and not _is_acronym(word) and not (run and touching and not joined_by)):
            if run and touching and joined_by in ("", "inside"):
                run[-1] = (run[-1][0], high)
            elif run and touching:
                run.append((low, high))
            else:
                yield from _emit(text, run, opening)
                opening = not run and not text[start:low].strip(" \"'“(*_#>-\n")
                run = [(low, high)]
            joined_by, last_end = "", high
        elif run and touching and lower in _INSIDE and joined_by in ("", "inside"):
            joined_by, last_end = "inside", high
        elif run and touching and (lower in _JOINS or (lower in _INSIDE)):
            joined_by, last_end = ("inside" if joined_by == "inside" and lower == "the" else "join"), high
        elif run and touching and word.isdigit() and len(word) < 4 and joined_by == "":
            run[-1], last_end = (run[-1][0], high), high  # Apollo 11
        else:
            yield from _emit(text, run, opening)
            run, last_end, joined_by = [], -1, ""
    yield from _emit(text, run, opening)


def _is_short(text: str, end: int) -> bool:
    """Whether the word that ends here is an abbreviation or an initial, whose full stop ends nothing."""
    word = re.search(r"[^\W_]+$", text[max(0, end - 12) : end])
    return word is not None and (len(word.group()) == 1 or word.group().lower() in _BEFORE_DOT)


def _is_acronym(word: str) -> bool:
    """WHO and US are names, who and us are not."""
    return len(word) > 1 and word.isupper() and word.isalpha()


def _is_code(word: str) -> bool:
    """iPhone, x86-64, GPT4: a capital or a digit inside a word makes it a name."""
    return len(word) > 2 and not word.isdigit() and any(char.isupper() for char in word[1:])


def _emit(text: str, run: Sequence[tuple[int, int]], opening: bool) -> Iterator[_Found]:
    for n, (low, high) in enumerate(run):
        name = names.clean(text[low:high])
        lone = n == 0 and opening and " " not in name and name.isalpha() and not name.isupper()
        if name and not name.isdigit():
            yield _Found(name, low, high, weak=lone)
    for first in range(len(run)):
        for last in range(first + 1, min(len(run), first + _MAX_PARTS)):
            low, high = run[first][0], run[last][1]
            yield _Found(names.clean(text[low:high]), low, high, weak=True)


def _typed(found: list[_Found], text: str, start: int, end: int, typed: Tagged) -> list[_Found]:
    """The names of a sentence with the types of those that stand in the same place, and with the others of its own."""
    here = [(kind, low, high) for kind, low, high in typed if start <= low and high <= end]
    if not here:
        return found
    kinds = {names.key(text[low:high]): kind for kind, low, high in here}
    out = [replace(one, type=one.type or kinds.get(names.key(one.name), ""), weak=one.weak and names.key(one.name) not in kinds) for one in found]  # fmt: skip
    for kind, low, high in here:
        if not any(one.start < high and low < one.end for one in found if not one.weak):
            out.append(_Found(names.clean(text[low:high]), low, high, kind))
    return sorted(out, key=lambda one: (one.start, -one.end))


def _completed(found: list[_Found], about: Sequence[str]) -> list[_Found]:
    """Names in a sentence that are what the document is about are sure, also at its beginning."""
    keys = {names.key(name) for name in about}
    return [replace(one, weak=False) if one.weak and names.key(one.name) in keys else one for one in found]


def _titles(found: list[_Found], text: str, start: int, end: int, about: Sequence[str]) -> list[_Found]:
    """With the Chinese names of what the document is about taken whole: words are not divided there, and a tagger may cut one."""
    plain = sorted({names.without_brackets(name)[0] for name in about}, key=lambda name: (-len(name), name))
    for name in plain:
        if len(name) < 2 or not texts.is_han(name[0]) or not texts.is_han(name[-1]):
            continue
        at = text.find(name, start, end)
        while at >= 0:
            low, high = at, at + len(name)
            if not any(one.start <= low and high <= one.end for one in found):
                found = [one for one in found if not (one.start < high and low < one.end)] + [_Found(name, low, high)]
            at = text.find(name, high, end)
    return sorted(found, key=lambda one: (one.start, -one.end))


def _as_elsewhere(found: list[list[_Found]], text: str) -> list[list[_Found]]:
    """A Chinese name that a tagger cut (祁门红) is taken as whole as the same characters are elsewhere in the text (祁门红茶)."""
    longer: dict[str, dict[str, str]] = {}  # its first two characters → name → type
    for one in (one for here in found for one in here if len(one.name) > 2 and texts.is_han(one.name[0])):
        longer.setdefault(one.name[:2], {}).setdefault(one.name, one.type)

    def whole(one: _Found) -> _Found:
        names_here = longer.get(text[one.start : one.start + 2], {})
        name = max((name for name in names_here if text.startswith(name, one.start)), key=len, default="")
        longer_now = len(name) > one.end - one.start
        return replace(one, name=name, end=one.start + len(name), type=names_here[name]) if longer_now else one

    return [[whole(one) for one in here] for here in found]


def _whole_names(found: list[list[_Found]], about: Sequence[str]) -> list[list[_Found]]:
    """A lone family or first name stands for the only longer name in the chunk that ends or begins with it."""
    longer: dict[str, set[str]] = {}
    written: dict[str, str] = {}
    everything = [
        *(names.without_brackets(name)[0] for name in about),
        *(one.name for here in found for one in here if not one.weak),
    ]
    for name in everything:
        parts = names.key(name).split()
        if 2 <= len(parts) <= 4 and not name.isascii() | name.isalpha() or 2 <= len(parts) <= 4:
            written.setdefault(" ".join(parts), name)
            for part in (parts[0], parts[-1]):
                longer.setdefault(part, set()).add(" ".join(parts))
    known = {names.key(name) for name in about}

    def whole(one: _Found) -> _Found:
        own = names.key(one.name)
        candidates = longer.get(own, set()) if own not in known and " " not in own else set()
        if len(candidates) != 1:
            return one
        return replace(one, name=written[next(iter(candidates))], weak=False)

    return [[whole(one) for one in here] for here in found]


# ---------------------------------------------------------------- relations


def relating(text: str, start: int, end: int) -> Callable[..., Relation]:
    """Makes relations that the sentence text[start:end] states, with the years it names and when it says that they hold."""
    sentence = text[start:end]
    named = years(sentence)
    return partial(Relation, start=start, end=end, years=named, valid=period(sentence) if named else None)


def _relations(
    text: str, start: int, end: int, found: Sequence[_Found], about: Sequence[str], relate: Callable[..., Relation]
) -> Iterator[Relation]:
    """What a sentence says of its names: the first, or what the document is about, with each of the others.

    The words between two names are the relation's label. A sentence that starts with a pronoun speaks of the document's
    subject, which is how encyclopedias and manuals are written.
    """
    distinct: dict[str, _Found] = {}
    for one in found:
        distinct.setdefault(names.key(one.name), one)
    here = list(distinct.values())[:MAX_NAMES]
    subject = about[0] if about else ""
    if not here:
        return
    own = names.key(subject)
    if not subject or (own != names.key(here[0].name) and not _PRONOUN.match(text, start, end)):
        if own and own not in distinct:
            for one in here:
                yield relate(subject=subject, label="", object=one.name)
        subject, since, rest = here[0].name, here[0].end, here[1:]
    else:
        since, rest = (here[0].end, here[1:]) if names.key(here[0].name) == own else (start, here)
    for one in rest:
        if names.key(one.name) != names.key(subject):
            label = _label(text[since : one.start])
            yield relate(subject=subject, label=label, object=one.name)
    for left, right in zip(here, here[1:], strict=False):
        between = text[left.end : right.start]
        if len(between) <= MAX_LABEL and names.key(left.name) != names.key(subject):
            yield relate(subject=left.name, label=_label(between), object=right.name)


def _said(words: Sequence[Word], found: Sequence[Sequence[_Found]], about: Sequence[str]) -> list[grammar.Said]:
    """What grammar says of the names that are sure."""
    if not words:
        return []
    named = [(one.name, one.start, one.end) for here in found for one in here if not one.weak and names.is_name(one.name)]  # fmt: skip
    return [
        one
        for one in grammar.relations(words, named, about[0] if about else "")
        if names.key(one.subject) != names.key(one.object)
    ]


def _unsaid(near: Iterable[Relation], parsed: Sequence[grammar.Said]) -> Iterator[Relation]:
    """What stands near each other and grammar does not relate. Words that it relates to another name label nothing here."""
    pairs = {_pair(one.subject, one.object) for one in parsed}
    objects = {names.key(one.object) for one in parsed}
    for one in near:
        if _pair(one.subject, one.object) not in pairs:
            yield replace(one, label="") if names.key(one.object) in objects else one


def _pair(left: str, right: str) -> frozenset[str]:
    return frozenset((names.key(left), names.key(right)))


def _label(between: str) -> str:
    """The words between two names, at most the last few of them."""
    plain = _WORDS.sub(" ", _MARKS.sub(" ", between)).strip(" ,.;:()（），。；：、-–—\"'“”")
    if len(plain) <= MAX_LABEL:
        return plain
    cut = plain[-MAX_LABEL:]
    return cut.partition(" ")[2] or cut


_ALIAS = re.compile(
    r"([A-Z][\w.'’-]*(?:\s+(?:of|the|for|and|de)\s+|\s+|-)(?:[A-Z][\w.'’-]*(?:\s+(?:of|the|for|and|de)\s+|\s+|-)?){1,6}?)\(\s*([A-Z][A-Za-z.&-]{1,9})\s*[),]"
)
_ALSO = re.compile(
    r"(?:also known as|a\.k\.a\.|formerly known as|又称|亦称|简称|又名|也叫|英文名?[:：])\s*[“\"「《]?((?:[A-Z][\w.'’-]*\s?){1,5}|[\u4e00-\u9fff]{2,12})"
)
_FOREIGN = re.compile(r"([\u4e00-\u9fff·]{2,16})\s*[(（]\s*(?:英[语文][:：]?\s*)?([A-Z][A-Za-z .'&-]{1,60})[)）,，]")


def _spelt(name: str, short: str) -> str:
    """The end of a name whose capitals spell an abbreviation: "The World Health Organization", WHO. Empty if none does."""
    words = re.split(r"(?<=[\s-])", name)
    for first in range(len(words)):
        if "".join(word[0] for word in words[first:] if word[:1].isupper()) == short:
            return "".join(words[first:])
    return ""


def _aliases(text: str, about: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Other names that the text states: an abbreviation in brackets, "also known as", a Chinese name with its English one."""
    for match in _ALIAS.finditer(text):
        name, short = names.clean(match.group(1)), match.group(2).replace(".", "")
        if short.isupper() and (full := _spelt(name, short)):
            yield full, short
    for match in _ALSO.finditer(text, 0, 600) if about else ():
        other, name = names.clean(match.group(1)), _owner(text, match.start(), about)
        if name and names.is_name(other) and names.key(other) != names.key(name):
            yield name, other
    for name in about:
        plain, inside = names.without_brackets(name)
        if inside and names.is_name(plain):
            yield name, plain
    for match in _FOREIGN.finditer(text):
        if (name := _last_name(match.group(1))) and names.is_name(match.group(2).strip()):
            yield name, names.clean(match.group(2))


def _owner(text: str, at: int, about: Sequence[str]) -> str:
    """Whose other name follows: the Chinese name right before, else what the text is about, if its sentence speaks of that."""
    if name := _last_name(text[max(0, at - 16) : at]):
        return name
    start = next((low for low, high in texts.sentences(text[: at + 1]) if low <= at < high), 0)
    named = [name for name in about if names.without_brackets(name)[0] in text[start:at]]
    return named[-1] if named else about[0] if start == 0 and len(about) == 1 else ""


def _last_name(text: str) -> str:
    """The Chinese name that a text ends with, or nothing."""
    return next((text[low:high] for _, low, high in jieba_names(text) if high == len(text)), "") if text and texts.is_han(text[-1]) else ""  # fmt: skip
