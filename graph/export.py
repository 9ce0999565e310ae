"""The graph for others: networkx, GraphML, JSON, Cypher, and a page to look at it without a network."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graph import periods
from graph.network import Fact, Network
from graph.picture import page
from graph.predicates import predicate
from graph.store import write_atomically
from rag.errors import UsageError

if TYPE_CHECKING:
    import networkx

FORMATS = ("graphml", "json", "cypher", "html")
SHOWN = 300  # entities in the picture, those with most connections
SHOWN_FACTS = 3  # sentences an edge of the picture shows
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_networkx(network: Network) -> networkx.MultiDiGraph:
    """Nodes `entity:…`, `chunk:…` and `document:…` with kind and name; edges with kind, weight and chunks.

    A relation's key is its label, its type what the label says where that is clear; `chunks` are the chunk ids that say so, `years` those their sentences name, `valid` the
    periods in which they say that it holds. In order of the ids, so that the same graph is written as the same bytes.
    """
    import networkx

    made = networkx.MultiDiGraph()
    entity = [f"entity:{one}" for one in network.entity_ids]
    chunk = [f"chunk:{one}" for one in network.chunk_ids]
    for n, node in enumerate(entity):
        made.add_node(node, kind="entity", name=network.entity_names[n], type=network.types[n],
                      description=" ".join(network.descriptions.get(n, ())))  # fmt: skip
    for doc_id in dict.fromkeys(network.doc_ids):
        made.add_node(f"document:{doc_id}", kind="document", name=doc_id)
    for n, node in enumerate(chunk):
        made.add_node(node, kind="chunk", name=network.chunk_ids[n])
        made.add_edge(f"document:{network.doc_ids[n]}", node, key="holds", kind="holds", weight=1.0)
    for one, place, count in network.mentions.tolist():
        made.add_edge(chunk[place], entity[one], key="mentions", kind="mentions", weight=float(max(count, 1)),
                      chunks=[network.chunk_ids[place]])  # fmt: skip
    for (subject, object_, label), facts in grouped(network.facts).items():
        chunks = list(dict.fromkeys(network.chunk_ids[fact.chunk] for fact in facts))
        years = sorted({year for fact in facts for year in fact.relation.years})
        valid = sorted({periods.shown(fact.relation.valid) for fact in facts if fact.relation.valid})
        made.add_edge(entity[subject], entity[object_], key=f"relation:{label}", kind="relation", label=label, type=predicate(label),
                      weight=float(len(facts)), chunks=chunks, years=years, valid=valid)  # fmt: skip
    for left, right in network.near.tolist():
        made.add_edge(entity[left], entity[right], key="near", kind="near", weight=1.0)
    return made


def grouped(facts: Sequence[Fact]) -> dict[tuple[int, int, str], list[Fact]]:
    """Facts that say the same of the same, in order."""
    found: dict[tuple[int, int, str], list[Fact]] = defaultdict(list)
    for fact in facts:
        found[fact.subject, fact.object, fact.relation.label].append(fact)
    return dict(sorted(found.items()))


def export(
    network: Network, path: Path, format: str, *, sentences: Callable[[Sequence[Fact]], Sequence[str]]
) -> dict[str, Any]:
    """Write the graph. sentences: the texts that facts were read from. Raises UsageError for an unknown format, DiskError."""
    format = format or path.suffix.removeprefix(".").lower()
    if format not in FORMATS:
        raise UsageError(f"Unknown format {format!r}. Known: {', '.join(FORMATS)}; name the file so, or give --format.")
    if format == "html":
        picture = _picture(network, sentences)
        write_atomically(path, page(picture))
        return {"file": str(path), "format": format, "nodes": len(picture["nodes"]), "edges": len(picture["edges"])}
    made = to_networkx(network)
    writers = {"graphml": _graphml, "json": _json, "cypher": _cypher}
    write_atomically(path, writers[format](made))
    return {"file": str(path), "format": format, "nodes": made.number_of_nodes(), "edges": made.number_of_edges()}


def _graphml(made: networkx.MultiDiGraph) -> str:
    """GraphML knows no lists: they are joined by blanks. Characters that XML cannot hold are left out."""
    import networkx

    plain = networkx.MultiDiGraph()
    for node, values in made.nodes(data=True):
        plain.add_node(_xml(node), **{name: _xml(value) for name, value in values.items()})
    for left, right, key, values in made.edges(keys=True, data=True):
        joined = {
            name: " ".join(map(str, value)) if isinstance(value, list) else value for name, value in values.items()
        }
        plain.add_edge(_xml(left), _xml(right), key=_xml(key), **{name: _xml(value) for name, value in joined.items()})
    return "\n".join(networkx.generate_graphml(plain)) + "\n"


def _xml(value: Any) -> Any:
    return _NOT_XML.sub("", value) if isinstance(value, str) else value


def _json(made: networkx.MultiDiGraph) -> str:
    import networkx

    return json.dumps(networkx.node_link_data(made, edges="edges"), ensure_ascii=True, indent=1) + "\n"


def _cypher(made: networkx.MultiDiGraph) -> str:
    """Statements that make the graph in a Cypher database; every value is a quoted literal."""
    lines = []
    for node, values in made.nodes(data=True):
        label = values["kind"].capitalize()
        lines.append(f"MERGE (n:{label} {{id: {_literal(node)}}}) SET n += {_map(values)};")
    for left, right, values in made.edges(data=True):
        kind = values["kind"].upper()
        lines.append(
            f"MATCH (a {{id: {_literal(left)}}}), (b {{id: {_literal(right)}}}) CREATE (a)-[:{kind} {_map(values)}]->(b);"
        )
    return "\n".join(lines) + "\n"


def _map(values: dict[str, Any]) -> str:
    return "{" + ", ".join(f"{name}: {_literal(value)}" for name, value in values.items() if name != "kind") + "}"


def _literal(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_literal(one) for one in value) + "]"
    if isinstance(value, (int, float)):
        return repr(value)
    return json.dumps(str(value), ensure_ascii=True)  # Cypher reads JSON's escapes, quotes and \u among them


def _picture(network: Network, sentences: Callable[[Sequence[Fact]], Sequence[str]]) -> dict[str, Any]:
    """What the page draws: the best connected entities and what is said between them, with the sentences."""
    degree: dict[int, int] = defaultdict(int)
    for fact in network.facts:
        degree[fact.subject] += 1
        degree[fact.object] += 1
    shown = sorted(degree, key=lambda one: (-degree[one], one))[:SHOWN]
    place = {entity: n for n, entity in enumerate(shown)}
    edges = {pair: facts for pair, facts in grouped(network.facts).items() if pair[0] in place and pair[1] in place}
    quoted = [fact for facts in edges.values() for fact in facts[:SHOWN_FACTS]]
    said = dict(zip(map(id, quoted), sentences(quoted), strict=True))
    return {
        "nodes": [{"name": network.entity_names[one], "type": network.types[one], "n": degree[one]} for one in shown],
        "edges": [
            {"from": place[subject], "to": place[object_], "label": label, "n": len(facts),
             "said": [{"chunk": network.chunk_ids[fact.chunk], "text": said[id(fact)]} for fact in facts[:SHOWN_FACTS]]}
            for (subject, object_, label), facts in edges.items()
        ],
        "n_entities": len(network.entity_ids),
    }  # fmt: skip
