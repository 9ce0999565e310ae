"""The graph page: search an entity, walk its neighbourhood, read the sentence behind each relation, and the communities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import quote

import streamlit as st

from graph import KnowledgeGraph
from rag.errors import RagstoneError, UsageError
from rag.knowledge_base import KnowledgeBase
from ui.web import source
from ui.web.failures import told_task
from ui.web.graph_view import INNER, Edge, Fact, Node, Seen
from ui.web.markup import highlighted, plain
from ui.web.tasks import Task
from ui.web.view import View

KIND = "graph"
POLL_S = 1.0
FACTS = 12  # shown before "more"


def show(view: View) -> None:
    word = view.word
    st.title(word("graph.title"))
    n, _ = view.kb.catalog.counts(view.kb.collection)
    if not n:
        st.info(word("graph.no_documents"), icon=":material/info:")
        return
    if not _building(view):
        return
    if not view.kb.has_graph:
        st.info(word("graph.none"), icon=":material/hub:")
        _build_button(view, word("graph.build"), primary=True)
        return
    kb = _kept(view.kb.collection, repr(view.kb.principal), view.kb)
    seen = Seen(kb.graph, view.kb)
    counts = kb.graph.counts()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(word("graph.counts", entities=counts["entities"], relations=counts["relations"]), width="stretch")
        if not (n_behind := kb.graph.behind()):
            _build_button(view, word("graph.refresh"))
    if n_behind:
        _behind(view, kb.graph, n_behind)
    st.session_state.setdefault("graph-part", "entities")
    part = st.segmented_control(
        word("graph.part"), ["entities", "communities"], key="graph-part", required=True,
        format_func=lambda one: word(f"graph.{one}"), label_visibility="collapsed",
    )  # fmt: skip
    if part == "communities":
        _communities(view, seen)
    else:
        _entities(view, seen)


@st.cache_resource(max_entries=16, show_spinner=False)
def _kept(collection: str, principal: str, _kb: KnowledgeBase) -> KnowledgeBase:
    """The view whose graph stays open: it is read anew only when its file changes."""
    return _kb


# ---------------------------------------------------------------- building


def _build_button(view: View, label: str, *, primary: bool = False) -> None:
    if not view.user.is_admin:
        if primary:
            st.caption(view.word("graph.admins_build"))
        return
    if st.button(label, key="graph-build", type="primary" if primary else "secondary", icon=":material/hub:"):
        start(view)
        st.rerun()


def _behind(view: View, graph: KnowledgeGraph, n: int) -> None:
    """A notice that documents are newer than the graph, with the button that brings it up to date."""
    with st.container(horizontal=True, vertical_alignment="center", key="graph-behind"):
        st.warning(view.word("graph.behind", n=n), icon=":material/update:", width="stretch")
        if graph.method == "triples":  # the file that they came from is not kept
            st.caption(view.word("graph.triples"))
        elif view.user.is_admin and st.button(view.word("graph.refresh"), key="graph-behind-build", type="primary"):
            start(view)
            st.rerun()


def start(view: View) -> Task:
    """Build the graph, or bring it up to date, in the background."""
    kb = view.kb

    def work(task: Task) -> int:
        graph = KnowledgeGraph.build(kb, progress=lambda done, total: task.emit((done, total)))
        return graph.counts()["entities"]

    return view.home.tasks.start(view.user.name, KIND, kb.collection, work)


def _building(view: View) -> bool:
    """Shows a build that runs; whether the page may go on below."""
    task = next((one for one in view.home.tasks.list(view.user.name, KIND) if one.title == view.kb.collection), None)
    if task is None:
        return True
    if task.state == "failed":
        st.error(told_task(view, task))
        return True
    if task.running:
        view.part(_progress, view, task, run_every=POLL_S)
        return False
    return True


def _progress(view: View, task: Task) -> None:
    if not task.running:
        st.rerun()
    done, total = next(reversed(task.since(0)), (0, 0))
    with st.container(border=True):
        st.progress(done / total if total else 0.0, text=view.word("graph.reading", done=done, total=total))
        st.caption(view.word("graph.goes_on"))


# ---------------------------------------------------------------- entities


def _entities(view: View, seen: Seen) -> None:
    word = view.word
    text = st.text_input(
        word("graph.search"), placeholder=word("graph.search_example"), icon=":material/search:", key="graph-search",
        persist_state="session",
    )  # fmt: skip
    found = seen.entities(text)
    if not found:
        st.info(word("graph.not_found", text=plain(text.strip())), icon=":material/search_off:")
        if near := seen.near(text):
            st.caption(word("graph.near"))
            with st.container(horizontal=True, key="graph-near"):
                for name in near:
                    st.button(plain(name), key=f"graph-near-{name}", on_click=_to_entity, args=(name,))
        return
    names = [name for name, _ in found]
    walked = st.session_state.get("graph-entity")
    if (jump := st.session_state.pop("graph-entity-next", None)) is not None:
        st.session_state["graph-entity"] = walked = jump
        st.session_state["graph-asked"] = (view.kb.collection, text)
    if st.session_state.get("graph-asked") != (view.kb.collection, text):  # a new search leads away from where one was
        st.session_state["graph-asked"], walked = (view.kb.collection, text), None
    entity = walked if walked else names[0]
    with st.container(horizontal=True, key="graph-found"):
        for name, n in found[:12]:
            kind: Literal["primary", "secondary"] = "primary" if name == entity else "secondary"
            st.button(f"{plain(name)} · {n}", key=f"graph-go-{name}", type=kind, on_click=_go, args=(name,))
    try:
        _entity(view, seen, entity)
    except UsageError:  # it left the graph in the meantime
        st.session_state.pop("graph-entity", None)
        st.info(word("graph.not_found", text=plain(entity)), icon=":material/search_off:")


def _go(name: str) -> None:
    st.session_state["graph-entity"] = name


def _entity(view: View, seen: Seen, name: str) -> None:
    nodes, edges = seen.neighbourhood(name)
    drawn, told = st.columns([3, 2], gap="large")
    with drawn:
        if edges:
            picked = st.altair_chart(
                _picture(nodes, edges), width="stretch", key=f"graph-picture-{name}", on_select="rerun",
                selection_mode=["node"],
            )  # fmt: skip
            st.caption(view.word("graph.click"))
            chosen = _picked(picked)
            if chosen and chosen != name:
                _go(chosen)
                st.rerun()
        else:
            st.caption(view.word("graph.alone"))
    with told:
        st.subheader(plain(name), anchor=False)
        _facts(view, seen, seen.facts(name))


def _picked(state: Any) -> str:
    """The name of the node that was clicked."""
    points = (state or {}).get("selection", {}).get("node", [])
    return str(points[0].get("name", "")) if points else ""


def _picture(nodes: Sequence[Node], edges: Sequence[Edge]) -> Any:
    """The neighbourhood as an Altair chart; it is drawn on a canvas, so a name is never markup."""
    import altair as alt
    import pandas as pd

    lines = pd.DataFrame(
        [
            {"x": edge.left.x, "y": edge.left.y, "x2": edge.right.x, "y2": edge.right.y, "between": f"{edge.left.name} — {edge.right.name}",
             "relation": edge.label + (f" (+{edge.more})" if edge.more else ""), "sentence": edge.sentence[:300],
             "near": edge.left.is_centre or edge.right.is_centre}
            for edge in edges
        ]
    )  # fmt: skip
    points = pd.DataFrame(
        [
            {"x": node.x, "y": node.y, "label_y": node.y - 0.11, "name": node.name, "shown": _short(node.name), "type": node.type or "–",
             "passages": node.n_chunks, "centre": node.is_centre}
            for node in nodes
        ]
    )  # fmt: skip
    wide = 2.1 if len(nodes) > INNER + 1 else 1.35  # is there an outer ring?
    scale = alt.Scale(domain=[-wide, wide])
    x, y = alt.X("x:Q", axis=None, scale=scale), alt.Y("y:Q", axis=None, scale=scale)
    rules = alt.Chart(lines).mark_rule(strokeWidth=1.5, color="#8a9a94").encode(
        x=x, y=y, x2="x2:Q", y2="y2:Q", opacity=alt.condition("datum.near", alt.value(0.8), alt.value(0.25)),
        tooltip=["between:N", "relation:N", "sentence:N"],
    )  # fmt: skip
    node = alt.selection_point(name="node", fields=["name"], on="click", empty=False)
    circles = alt.Chart(points).mark_circle(opacity=1, cursor="pointer").encode(
        x=x, y=y, size=alt.Size("passages:Q", legend=None, scale=alt.Scale(range=[120, 700])),
        color=alt.condition("datum.centre", alt.value("#c9822b"), alt.value("#2f6f5e")), tooltip=["name:N", "type:N", "passages:Q"],
    ).add_params(node)  # fmt: skip
    # grey is read on white and on black alike
    labels = alt.Chart(points).mark_text(fontSize=12, color="#7b8783", fontWeight=600).encode(x=x, y=alt.Y("label_y:Q", axis=None, scale=scale), text="shown:N")  # fmt: skip
    return (rules + circles + labels).properties(height=520).configure_view(strokeWidth=0)


def _short(name: str) -> str:
    return name if len(name) <= 22 else f"{name[:20]}…"


def _facts(view: View, seen: Seen, facts: Sequence[Fact]) -> None:
    if not facts:
        st.caption(view.word("graph.no_facts"))
        return
    all_of_them = len(facts) <= FACTS or st.toggle(view.word("graph.all_facts", n=len(facts)), key="graph-all")
    with st.container(height=520, border=False, key="graph-facts"):
        for at, fact in enumerate(facts if all_of_them else facts[:FACTS]):
            relation = plain(fact.type or fact.relation) or "…"
            when = f" · {fact.valid}" if fact.valid else ""
            st.markdown(f"**{plain(fact.subject)}** — {relation} → **{plain(fact.object)}**{when}")
            if fact.sentence:
                st.caption(plain(" ".join(fact.sentence.split())))
            if st.button(plain(seen.titles[fact.doc_id]), key=f"graph-source-{at}", type="tertiary", icon=":material/description:", help=view.word("graph.open")):  # fmt: skip
                _source(view, seen, fact)


def _source(view: View, seen: Seen, fact: Fact) -> None:
    """The document that a fact was read from, open at its sentence."""

    @st.dialog(plain(seen.titles[fact.doc_id]), width="large", icon=":material/description:")
    def opened() -> None:
        view.check()
        try:
            text = view.kb.text(fact.doc_id)
        except RagstoneError:
            st.info(view.word("chat.source_gone"))
            return
        at = text.find(fact.sentence) if fact.sentence else -1
        if at < 0:  # the document is another one by now, or nothing but its title says so
            st.markdown(highlighted(fact.sentence, (0, len(fact.sentence))) if fact.sentence else plain(text[: 2 * source.AROUND]))  # fmt: skip
        else:
            shown, spans = source.surroundings(text, [(at, at + len(fact.sentence))])
            st.markdown(highlighted(shown, *spans))
        address = f"documents?doc={quote(fact.doc_id, safe='')}"
        st.link_button(view.word("graph.whole"), address, icon=":material/open_in_new:")

    opened()


# ---------------------------------------------------------------- communities


def _communities(view: View, seen: Seen) -> None:
    word = view.word
    st.caption(word("graph.communities_intro"))
    found = seen.communities()
    text = st.text_input(word("graph.communities_search"), icon=":material/search:", key="graph-communities-search", persist_state="session")  # fmt: skip
    wanted = text.strip().casefold()
    shown = [one for one in found if wanted in _all_text(one).casefold()]
    if not shown:
        st.info(word("graph.no_communities"), icon=":material/search_off:")
    for one in shown:
        with st.container(border=True):
            st.markdown(f"**{plain(one['title'])}**")
            st.caption(word("graph.community", entities=one["n_entities"], passages=one["n_chunks"]))
            for said in one["summary"]:
                doc_id = str(said["chunk_id"]).rpartition("#")[0]
                title = seen.titles.get(doc_id, "")
                st.markdown(f"- {plain(' '.join(said['sentence'].split()))}" + (f" :gray[{plain(title)}]" if title else ""))  # fmt: skip
            with st.container(horizontal=True):
                for name in one["entities"][:8]:
                    st.button(plain(name), key=f"community-{one['community_id']}-{name}", type="tertiary", on_click=_to_entity, args=(name,))  # fmt: skip


def _all_text(community: dict[str, Any]) -> str:
    return " ".join([community["title"], *community["entities"], *(one["sentence"] for one in community["summary"])])


def _to_entity(name: str) -> None:
    st.session_state["graph-part"], st.session_state["graph-search"] = "entities", ""
    st.session_state["graph-asked"] = None
    st.session_state["graph-entity-next"] = name
