"""Names of systems: `hybrid`, `bm25(depth=50)`, `hybrid+mmr@0.5+rerank`, `dense(chunk.size=256,chunk.overlap=0)`.

    MODE(KEY=VALUE,…)+SWITCH@VALUE+…

MODE is how the knowledge base is searched. A KEY is any setting, `chunk.size`; a setting of [search] may leave its
section out, `depth`; a table is written as JSON, `weights={"dense": 2}`. A SWITCH is a step of the pipeline; all that are
not named are off, whatever the settings say.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rag.errors import SettingsError, UsageError
from rag.prompts import MOST_ITEMS
from rag.settings import MODES, RETRIEVERS

# What a switch passes to the search. A value behind @ takes the place of the default; None: it takes no value.
_SWITCHES: dict[str, tuple[str, Any]] = {
    "mmr": ("mmr", 0.7),
    "rerank": ("rerank", None),
    "rewrite": ("rewrite", None),
    "multi-query": ("multi_query", 3),
    "hyde": ("hyde", 1),
    "decompose": ("decompose", None),
    "step-back": ("step_back", None),
    "translate": ("translate", None),
    "auto-filter": ("auto_filter", None),
}
_OFF: dict[str, Any] = {"mmr": 1.0, "rerank": False, "rewrite": False, "multi_query": 0, "hyde": 0, "decompose": False, "step_back": False,
                        "translate": False, "auto_filter": False}  # fmt: skip
BUILT_IN = ("bm25", "dense", "hybrid", *(f"hybrid+{name}" for name in _SWITCHES), "graph", "hybrid+graph", "auto")
BESIDE = RETRIEVERS
_INDEXED = ("chunk", "embedding", "enrich", "parse", "ingest")  # sections that change what is in the index
_QUOTED = r'"(?:[^"\\]|\\.)*"'  # in the JSON of a table: a comma, bracket or blank in it is its own
_TABLE = rf'\{{(?:{_QUOTED}|[^{{}}"])*\}}'
_BRACKETS = rf'\((?:{_QUOTED}|[^()"])*\)'
_SYSTEM = re.compile(rf"(?P<mode>[a-z0-9-]+)(?P<settings>{_BRACKETS})?(?P<switches>(?:\+[^+()]+)*)")
# What a system says of itself elsewhere, so that as a setting it would be passed over in silence.
_ELSEWHERE = {"search.mode": "Write the mode before the brackets", "search.top_k": "All systems are asked for as many, see --depth"} | {
    f"{'search' if option == 'mmr' else 'understand'}.{option}": f"Write +{name}" for name, (option, _) in _SWITCHES.items() if option != "rerank"
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One way to search. options: of `KnowledgeBase.search`; settings: dotted keys that differ from the user's."""

    name: str
    options: Mapping[str, Any]
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def index_key(self) -> str:
        """Equal for systems that can search one index; "" when the settings touch nothing that is in it."""
        changed = sorted((key, value) for key, value in self.settings.items() if key.split(".")[0] in _INDEXED)
        return hashlib.sha256(repr(changed).encode()).hexdigest()[:8] if changed else ""

    @property
    def most_hits(self) -> int | None:
        """How many hits there are at most: a search never returns fewer than are asked for because of its depth."""
        return int(self.settings["search.depth"]) if "search.depth" in self.settings else None


def split_names(text: str) -> list[str]:
    """The names in `A,B(depth=5,fusion=rrf),C`: commas inside brackets separate settings."""
    return [name.strip() for name in re.findall(rf"(?:{_QUOTED}|{_BRACKETS}|[^,])+", text) if name.strip()]


def parse_systems(names: Sequence[str]) -> dict[str, System]:
    """name -> system, in order. Raises: UsageError for a name that cannot be, or that is there twice."""
    systems = [parse_system(name) for name in names]
    repeated = [name for name, n in Counter(system.name for system in systems).items() if n > 1]
    if repeated:
        raise UsageError(f"System {repeated[0]!r} is named more than once. Name each system once.")
    return {system.name: system for system in systems}


def parse_system(text: str) -> System:
    """Raises: UsageError, naming the nearest switch or setting, when the name cannot be a system."""
    name = re.sub(rf"({_QUOTED})|\s+", lambda match: match[1] or "", text)
    match = _SYSTEM.fullmatch(name)
    if match is None or match["mode"] not in MODES:
        raise UsageError(f"System {text!r} cannot be run by this version. It runs: {', '.join(BUILT_IN)}, and settings in brackets: hybrid(depth=50).")  # fmt: skip
    options: dict[str, Any] = {**_OFF, "mode": match["mode"]}
    for switch in match["switches"].split("+")[1:]:
        if switch in BESIDE:  # a retriever beside those of the mode
            options["mode"] += f"+{switch}"
            continue
        option, value = _switch(text, switch)
        options[option] = value
    settings = parse_settings(text, (match["settings"] or "()")[1:-1])
    if found := settings.keys() & _ELSEWHERE.keys():
        key = min(found)
        raise UsageError(f"System {text!r}: {key} cannot stand in the brackets. {_ELSEWHERE[key]}.")
    return System(name=name, options=options, settings=settings)


def _switch(system: str, text: str) -> tuple[str, Any]:
    name, at, given = text.partition("@")
    if name not in _SWITCHES:
        near = difflib.get_close_matches(name, _SWITCHES, n=1)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise UsageError(f"System {system!r}: there is no switch {name!r}. {hint}It runs: {', '.join(BUILT_IN)}.")
    option, default = _SWITCHES[name]
    if not at:
        return option, True if default is None else default
    if default is None:
        raise UsageError(f"System {system!r}: {name} takes no value. Write +{name}.")
    most = 1 if option == "mmr" else MOST_ITEMS
    try:
        value = type(default)(given)
    except ValueError:
        value = -1
    if not 0 <= value <= most:
        wanted = "a number from 0 to 1" if option == "mmr" else f"a whole number from 0 to {most}"
        raise UsageError(f"System {system!r}: {name}@{given} wants {wanted}, such as {name}@{default}.")
    return option, value


def parse_settings(system: str, text: str) -> dict[str, str]:
    """Dotted keys and values of `KEY=VALUE,…`. system: whose, for messages. Raises: UsageError for what is no setting."""
    from rag.settings import Settings

    found: dict[str, str] = {}
    for pair in re.findall(rf"(?:{_QUOTED}|{_TABLE}|[^,])+", text):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals:
            raise UsageError(f"System {system!r}: wanted KEY=VALUE in the brackets, such as depth=50, not {pair!r}.")
        found[key if "." in key else f"search.{key}"] = value
    try:
        Settings().with_values(**{key.replace(".", "__"): value for key, value in found.items()})
    except SettingsError as error:
        raise UsageError(f"System {system!r}: {error}") from error
    return found
