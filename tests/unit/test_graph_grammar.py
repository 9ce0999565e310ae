"""Relations by the grammar of a sentence, on parses that are written out here."""

from __future__ import annotations

import pytest

from graph import grammar, rules
from graph.grammar import Word


def parsed(told: str) -> tuple[str, list[Word]]:
    """A text and its words from "word/role>head …"; heads are words' numbers, a root has none."""
    words: list[Word] = []
    text = ""
    for at, part in enumerate(told.split()):
        word, _, hangs = part.rpartition("/")
        role, _, head = hangs.partition(">")
        text += " " if text and word not in (".", ",", "'s") else ""
        words.append(Word(word, len(text), int(head) if head else at, role))
        text += word
    return text, words


SENTENCES = {
    "active": ("Ada/nsubj>1 wrote/ROOT Nana/dobj>1 ./punct>1", [("Ada", "wrote", "Nana")]),
    "passive": (
        "Nana/nsubjpass>3 was/auxpass>3 first/advmod>3 directed/ROOT by/agent>3 Fong/pobj>4 and/cc>5 Kong/conj>5 in/prep>3 Canton/pobj>8 ./punct>3",
        [("Nana", "directed by", "Fong"), ("Nana", "directed by", "Kong"), ("Nana", "directed in", "Canton")],
    ),
    "copula": (
        "Ada/nsubj>1 is/ROOT the/det>3 sister/attr>1 of/prep>3 Ben/pobj>4 ./punct>1",
        [("Ada", "sister of", "Ben")],
    ),
    "what a noun is": (
        "Nana/nsubj>1 is/ROOT a/det>3 film/attr>1 directed/acl>3 by/agent>4 Fong/pobj>5 ./punct>1",
        [("Nana", "directed by", "Fong")],
    ),
    "relative clause": (
        "Ada/nsubj>7 ,/punct>0 who/nsubj>3 founded/relcl>0 Ragna/dobj>3 ,/punct>0 later/advmod>7 left/ROOT Canton/dobj>7 ./punct>7",
        [("Ada", "founded", "Ragna"), ("Ada", "left", "Canton")],
    ),
    "apposition": (
        "Fong/nsubj>6 ,/punct>0 director/appos>0 of/prep>2 Nana/pobj>3 ,/punct>0 died/ROOT in/prep>6 Canton/pobj>7 ./punct>6",
        [("Fong", "director of", "Nana"), ("Fong", "died in", "Canton")],
    ),
    "whose": (
        "Ada/poss>2 's/case>0 husband/nsubj>5 ,/punct>2 Ben/appos>2 died/ROOT ./punct>5",
        [("Ben", "husband of", "Ada")],
    ),
    "the town of": (
        "Ada/nsubjpass>2 was/auxpass>2 born/ROOT in/prep>2 the/det>5 town/pobj>3 of/prep>5 Canton/pobj>6 ./punct>2",
        [("Ada", "born in", "Canton")],
    ),
    "verbs that share a subject": (
        "Ada/nsubj>1 left/ROOT Canton/dobj>1 and/cc>1 joined/conj>1 Ragna/dobj>4 ./punct>1",
        [("Ada", "left", "Canton"), ("Ada", "joined", "Ragna")],
    ),
    "a pronoun": ("She/nsubj>1 joined/ROOT Ragna/dobj>1 ./punct>1", [("Nobody Else", "joined", "Ragna")]),
    "denied": ("Ada/nsubj>3 did/aux>3 not/neg>3 join/ROOT Ragna/dobj>3 ./punct>3", []),
    "of itself": ("Ada/nsubj>1 praised/ROOT Ada/dobj>1 ./punct>1", []),
}


@pytest.mark.parametrize("told", SENTENCES)
def test_relations(told: str) -> None:
    text, words = parsed(SENTENCES[told][0])
    named = [(word.text, word.start, word.start + len(word.text)) for word in words if word.text in ("Ada", "Nana", "Ben", "Fong", "Kong", "Canton", "Ragna")]  # fmt: skip
    found = grammar.relations(words, named, "Nobody Else")
    assert [(one.subject, one.label, one.object) for one in found] == SENTENCES[told][1]
    assert all(text[one.at :] for one in found)


def test_what_the_text_says_its_subject_is_stands_for_it() -> None:
    _, words = parsed(
        "Nana/nsubj>1 is/ROOT a/det>3 novel/attr>1 ./punct>1 The/det>6 novel/nsubjpass>8 was/auxpass>8 read/ROOT in/prep>8 Canton/pobj>9 ./punct>8"
    )
    named = [("Nana", words[0].start, words[0].start + 4), ("Canton", words[10].start, words[10].start + 6)]
    assert [(one.subject, one.label, one.object) for one in grammar.relations(words, named, "Nana")] == [("Nana", "read in", "Canton")]  # fmt: skip
    assert grammar.relations(words, named, "") == []


def test_grammar_stands_in_place_of_the_words_between() -> None:
    text, words = parsed(
        "Ada/compound>1 Stone/nsubjpass>5 was/auxpass>5 ,/punct>5 luckily/advmod>5 hired/ROOT by/agent>5 Leo/compound>8 Fong/pobj>6 ./punct>5"
    )
    by_rules = rules.extract(text, title="Ada Stone")
    assert [(one.subject, one.label, one.object) for one in by_rules.relations] == [("Ada Stone", "was, luckily hired by", "Leo Fong")]  # fmt: skip
    by_grammar = rules.extract(text, title="Ada Stone", words=words)
    (one,) = by_grammar.relations
    assert (one.subject, one.label, one.object) == ("Ada Stone", "hired by", "Leo Fong")
    assert text[one.start : one.end] == text
