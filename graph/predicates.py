"""Typed relations: what the words between two names say of them, where the pattern is clear: "born in", "son of", 创制.

By rules alone, from the words themselves, so a graph that is there has them, too. Unclear words give none.
"""

from __future__ import annotations

import re
from functools import lru_cache

from graph.chinese import tagged_words
from rag.text import is_han

_PREPOSITION = r"(?:by|in|at|to|from|with|on|as|near|for|into|under|against|after)"
_ARTICLE = r"(?:\s+(?:the|a|an|his|her|its|their|nearby))?"
_IRREGULAR = (
    "born|written|known|built|made|held|won|sung|drawn|taught|fought|led|met|begun|given|taken|chosen|shot|sold|bought|"
    "bred|grown|found|set|spoken|become|became|wrote|built|beat|left|lies|lay|stood|stands|rose|rises|flows|borders|"
    "became|plays|lives|works|died"
)
_VERB = rf"(?:[a-z]{{2,}}ed|{_IRREGULAR})"
_NOUN = (
    "son|daughter|child|wife|husband|widow|father|mother|brother|sister|spouse|cousin|uncle|nephew|grandson|grandfather|"
    "capital|member|part|president|king|queen|emperor|prince|princess|duke|bishop|founder|author|writer|director|producer|"
    "editor|leader|mayor|governor|student|pupil|teacher|professor|head|chairman|captain|seat|owner|subsidiary|tributary|"
    "suburb|district|city|town|village|county|province|state|river|island|mountain|county seat|native|citizen|adaptation|"
    "sequel|album|song|novel|film|book|successor|predecessor"
)
_OF = r"(?:\s+the\s+(?:[a-z]+\s+){1,2}of)?"  # born in the town of
_PASSIVE = re.compile(rf"\b({_VERB})\s+({_PREPOSITION}){_OF}{_ARTICLE}$")
_ROLE = re.compile(rf"\b({_NOUN})\s+(of|in|by|on){_ARTICLE}$")
_ACTIVE = re.compile(rf"^(?:(?:he|she|it|they|who|which|and|also|later|then|first)\s+)*({_VERB}){_ARTICLE}$")
_NOT_VERBS = frozenset(
    ["need", "seed", "feed", "speed", "breed", "indeed", "hundred", "sacred", "united", "used", "based"]
)
_DATED = re.compile(r"\s+(?:in|on)\s+(?:[a-z]+\s+)?(?:\d{1,2},?\s+)?\d{4}(?=\s+(?:by|at|in|to|as)\b)")
MOST_HAN = 24


@lru_cache(maxsize=50_000)
def predicate(label: str) -> str:
    """The type of a relation by its words: a verb with its preposition, a role; in Chinese the only verb. Empty: not clear."""
    if any(map(is_han, label)):
        return _chinese(label)
    words = _DATED.sub("", label.casefold().strip())
    if match := _PASSIVE.search(words):
        verb, preposition = match.group(1), match.group(2)
        return "" if verb in _NOT_VERBS else f"{verb} {preposition}"
    if match := _ROLE.search(words):
        return f"{match.group(1)} {match.group(2)}"
    if match := _ACTIVE.match(words):
        return "" if match.group(1) in _NOT_VERBS else match.group(1)
    return ""


def _chinese(label: str) -> str:
    """The only verb among the words, without what dates and places it; "是" alone says too little."""
    if len(label) > MOST_HAN or any(char in label for char in "，。；：！？、"):
        return ""
    words = tagged_words(label)
    verbs = [word for word, tag in words if tag.startswith("v") and word not in ("是", "有", "为", "曾")]
    if len(verbs) != 1:
        return ""
    at = next(n for n, (word, _) in enumerate(words) if word == verbs[0])
    after = words[at + 1][0] if at + 1 < len(words) else ""
    return verbs[0] + after if after == "于" else verbs[0]
