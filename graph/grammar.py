"""Relations by the grammar of English sentences: who did what to whom and by whom, what is whose, what is said beside a name.

Works on what a parser found, in the labels of spaCy's English models (nsubj, dobj, agent, pobj, appos, relcl and so on);
it knows no parser. A sentence that denies something gives no relation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from graph import names

MOST_STEPS = 4  # from a word to the one whose subject it shares, or to the name it stands for
_PERSONAL = frozenset(["he", "she", "it", "they", "him", "her", "them"])
_POSSESSIVE = frozenset(["his", "her", "its", "their"])
_RELATIVE = frozenset(["who", "which", "that", "whom"])
_BE = frozenset(["is", "was", "are", "were", "be", "been", "being", "'s"])
_SUBJECTS = ("nsubj", "nsubjpass")


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a text, which starts there. head: the number of the word it hangs on, its own at a root. role: how it hangs on it."""

    text: str
    start: int
    head: int
    role: str


@dataclass(frozen=True, slots=True)
class Said:
    """Two names and the words that relate them, said by the word that stands at `at` in the text."""

    subject: str
    label: str
    object: str
    at: int


Named = Sequence[tuple[str, int, int]]  # (name, start, end): names and where a text writes them


def relations(words: Sequence[Word], named: Named, subject: str) -> list[Said]:
    """What a text says of its names, each once, in order. subject: what it is about, for which "he" and "it" stand; may be empty."""
    sentences = _Grammar(words, named, subject)
    found = [one for at in range(len(words)) for one in (*sentences.by_verb(at), *sentences.by_noun(at))]
    return list(dict.fromkeys(one for one in found if one.subject != one.object))


class _Grammar:
    def __init__(self, words: Sequence[Word], named: Named, subject: str) -> None:
        self._words, self._subject = words, subject
        self._children: list[list[int]] = [[] for _ in words]
        for at, word in enumerate(words):
            if word.head != at:
                self._children[word.head].append(at)
        self._name: dict[int, str] = {}
        self._inside: set[int] = set()
        self._place(named)
        self._kinds = self._kinds_of_subject()

    def _place(self, named: Named) -> None:
        """Each name stands at the word of it that hangs on a word outside."""
        starts = {word.start: at for at, word in enumerate(self._words)}
        for name, start, end in named:
            inside = [starts[n] for n in range(start, end) if n in starts]
            outer = [at for at in inside if self._words[at].head not in inside or self._words[at].head == at]
            if outer:
                self._name.setdefault(outer[0], name)
                self._inside.update(inside)

    def _kinds_of_subject(self) -> frozenset[str]:
        """What the text says that its subject is: after "Nana is a 1880 novel", "the novel" stands for Nana."""
        return frozenset(
            self._words[at].text.lower()
            for at, word in enumerate(self._words)
            if word.role == "attr" and self._subject
            for one in self._of(word.head, *_SUBJECTS)
            if names.key(self._name.get(one, "")) == names.key(self._subject)
        )

    # ------------------------------------------------------------ patterns

    def by_verb(self, at: int) -> Iterator[Said]:
        """What is said of a verb's subjects: its objects, what hangs on its prepositions, what it says they are."""
        verb = self._words[at].text.lower()
        if not self._is_verb(at) or self._of(at, "neg"):
            return
        objects = list(self._objects(at, verb))
        for subject in self._subjects(at) if objects else ():
            for label, name in objects:
                yield Said(subject, label, name, self._words[at].start)

    def _objects(self, at: int, verb: str) -> Iterator[tuple[str, str]]:
        """(label, name) of what a verb is about."""
        verb = " ".join([verb, *(self._words[one].text.lower() for one in self._of(at, "prt"))])
        for one in self._children[at]:
            role = self._words[one].role
            if role in ("dobj", "dative", "oprd"):
                yield from ((verb, name) for name in self._names(one))
                if one not in self._inside:
                    yield from ((f"{verb} {label}", name) for label, name in self._beside(one))
            elif role == "attr":
                yield from ((verb, name) for name in self._names(one))
                yield from self._beside(one)
            elif role in ("prep", "agent"):
                yield from ((f"{verb} {label}" if verb not in _BE else label, name) for label, name in self._after(one))
            elif role == "acomp":
                word = self._words[one].text.lower()
                yield from (
                    (f"{word} {label}", name) for prep in self._of(one, "prep") for label, name in self._after(prep)
                )

    def _beside(self, noun: int, *, role: str = "") -> Iterator[tuple[str, str]]:
        """(label, name) of what hangs on a noun that is no name: "son of" Ermengarde, and "Ermengarde's son"."""
        word = role or self._words[noun].text.lower()
        for prep in self._of(noun, "prep"):
            yield from ((f"{word} {label}", name) for label, name in self._after(prep))
        for owner in self._of(noun, "poss"):
            yield from ((f"{word} of", name) for name in self._owners(owner))

    def by_noun(self, at: int) -> Iterator[Said]:
        """What stands beside a name without a verb: "Leo Fong, director of Nana", "her brother Leo Fong", "the Louvre in Paris"."""
        word = self._words[at]
        if word.role == "appos" and at not in self._name:
            for subject in self._names(word.head, shared=False):
                yield from (Said(subject, label, name, word.start) for label, name in self._beside(at))
        if at not in self._name:
            return
        own = self._name[at]
        if word.role == "appos" and word.head not in self._name:
            yield from (Said(own, label, name, word.start) for label, name in self._beside(word.head))
        for prep in self._of(at, "prep"):
            yield from (Said(own, label, name, word.start) for label, name in self._after(prep))
        role = " ".join(self._words[one].text for one in self._of(at, "compound") if one not in self._inside)
        if role.islower():
            for owner in self._of(at, "poss"):
                yield from (Said(own, f"{role} of", name, word.start) for name in self._owners(owner))

    def _after(self, prep: int) -> Iterator[tuple[str, str]]:
        """(preposition, name) of what follows a preposition; "in the town of Canton" is in Canton."""
        word = self._words[prep].text.lower()
        for one in self._of(prep, "pobj"):
            found = self._names(one)
            if not found:
                found = [name for inner in self._of(one, "prep") if self._words[inner].text.lower() == "of"
                         for last in self._of(inner, "pobj") for name in self._names(last)]  # fmt: skip
            yield from ((word, name) for name in found)
        for one in self._of(prep, "prep"):
            yield from ((f"{word} {label}", name) for label, name in self._after(one))

    # ------------------------------------------------------------ who is meant

    def _is_verb(self, at: int) -> bool:
        """Whether something is its subject, or it says more of a noun or of another verb's subject."""
        return bool(self._of(at, *_SUBJECTS)) or (
            self._words[at].role in ("relcl", "acl", "xcomp", "conj", "advcl") and at not in self._inside
        )

    def _subjects(self, at: int, steps: int = MOST_STEPS) -> list[str]:
        own = self._of(at, *_SUBJECTS)
        if own:
            return [name for one in own for name in self._names(one, steps=steps)]
        head, role = self._words[at].head, self._words[at].role
        if not steps or head == at:
            return []
        if role in ("relcl", "acl"):
            return self._names(head, steps=steps - 1)
        if role in ("conj", "xcomp", "advcl") and self._words[head].role not in ("pobj", "dobj"):
            return self._subjects(head, steps - 1)
        return []

    def _names(self, at: int, *, steps: int = MOST_STEPS, shared: bool = True) -> list[str]:
        """The names that a noun or pronoun stands for, with those that "and" joins to it (shared)."""
        word, lower = self._words[at], self._words[at].text.lower()
        found: list[str] = []
        if at in self._name:
            found = [self._name[at]]
        elif lower in _PERSONAL or (lower in self._kinds and self._is_definite(at)):
            found = [self._subject] if self._subject else []
        elif steps and lower in _RELATIVE:
            found = self._names(self._clause(at), steps=steps - 1) if self._clause(at) != at else []
        elif beside := [self._name[one] for one in self._of(at, "appos") if one in self._name]:
            found = beside
        elif steps and word.role == "attr":  # "X is a film directed by Y": the film is X
            found = self._subjects(word.head, steps - 1)
        elif steps and word.role == "appos":
            found = self._names(word.head, steps=steps - 1, shared=False)
        if shared and found and at in self._name:
            found = [*found, *(name for one in self._of(at, "conj") for name in self._names(one, steps=steps))]
        return found

    def _owners(self, at: int) -> list[str]:
        if self._words[at].text.lower() in _POSSESSIVE:
            return [self._subject] if self._subject else []
        return [self._name[at]] if at in self._name else []

    def _is_definite(self, at: int) -> bool:
        """The noun with nothing before it but "the" or "this"."""
        before = [self._words[one].text.lower() for one in self._children[at] if one < at]
        return before in (["the"], ["this"])

    def _clause(self, at: int) -> int:
        """The noun that a relative pronoun's clause hangs on; the pronoun itself where there is none."""
        one = at
        for _ in range(MOST_STEPS):
            one, role = self._words[one].head, self._words[one].role
            if role == "relcl":
                return one
        return at

    def _of(self, at: int, *roles: str) -> list[int]:
        return [one for one in self._children[at] if self._words[one].role in roles]
