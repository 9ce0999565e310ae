"""HTML: the main content as Markdown. Lexbor parses; scripts, navigation and hidden text are left out.

Of the parsers compared, only Lexbor gave text for 50,000 nested tags at browser speed (lxml and trafilatura return
nothing, html.parser is ten times slower). All of them take quadratic time for one tag with 200,000 attributes, so
tags of absurd length lose their attributes before parsing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rag.loaders.builder import TextBuilder, fence, pipe_table, quoted
from rag.loaders.encoding import decode
from rag.types import ParsedDocument

MAX_DEPTH = 150  # deeper content is read as running text
MAX_TAG = 8_192
MAX_SPAN = 1_000
TRUNK_SHARE = 0.8  # of the running text is in the trunk
KEPT_SHARE = 0.3  # of the trunk's text must be left when its frame is taken away

_META_CHARSET = re.compile(
    rb"""<(?:meta[^>]{0,500}?charset|\?xml[^>]{0,200}?encoding)\s*=\s*["']?\s*([A-Za-z0-9_.:-]{2,40})""", re.IGNORECASE
)
_LONG_TAG = re.compile(rf"(<[a-zA-Z][a-zA-Z0-9:-]{{0,40}})[\s/][^<>]{{{MAX_TAG},}}>")
_BLANKS = re.compile(r"[ \t\n\r\f\u00a0]+")
_BREAK = "\0"  # stands for <br> while blanks are collapsed; decode() left no NUL in the text


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_NEVER = _set(
    "script style noscript template iframe frame object embed applet svg canvas audio video map nav button select option "
    "optgroup datalist input textarea progress meter dialog head link meta base annotation annotation-xml rt rp"
)
_BLOCK = _set(
    "address article aside body center dd details dir div dl dt fieldset figcaption figure footer form header hgroup hr html "
    "legend li main menu p search section summary table tbody td tfoot th thead tr ul ol pre blockquote caption "
    "h1 h2 h3 h4 h5 h6"
)
_TRUNK = _set("div section article main center form table tbody tr td body")
_TITLE_TAGS = _set("h2 h3 h4 h5 h6 p div span strong b dt")
_FRAMED = _set("div section ul ol aside span p table form li figcaption small footer a td")
_HEADINGS = {"h1": 1, "h2": 2, "h3": 3, "h4": 4, "h5": 5, "h6": 6}
_CHROME_ROLES = _set("navigation banner contentinfo search menu menubar toolbar dialog alertdialog tablist")
_CHROME_WORDS = _set(
    "nav navbar navigation navbox menu menus submenu sidebar sidebars breadcrumb breadcrumbs footer colophon cookie cookies "
    "consent gdpr popup modal overlay social share sharing sharedaddy shares addtoany related recommended recommendations "
    "comments comment respond disqus advert advertisement ads ad adsbygoogle sponsor sponsored promo newsletter subscribe "
    "signup pagination pager skip dropdown widget widgets login toolbar masthead topbar jp trending popular byline-share "
    "editsection catlinks printfooter noprint taglist tags metadata-links interlanguage"
)
# The same in compound names, and as Chinese pages write them.
_CHROME_NAMES = re.compile(
    r"(?:related|recommend(?:ed)?|recent|popular|latest|hot|more|most|next|prev(?:ious)?|other)[-_]?(?:in[-_]?)?"
    r"(?:posts?|articles?|stories|news|comments?|read|viewed|popular|links?|videos?|topics?|categories)(?![a-z])"
    r"|(?:author|about)[-_]?(?:box|bio|card|info|author)(?![a-z])|comment(?:s|list|form|area|wrap)|kommentar|sidebar|side[-_]?(?:column|col)|right[-_]?(?:column|side|block|bar)"
    r"|tag[-_]?(?:cloud|list|s)(?![a-z])|share[-_]?(?:bar|box|buttons?|links?|this)|social[-_]?(?:media|bar|links?|share|icons?)|cookie[-_]?(?:banner|bar|notice|consent)"
    r"|news[-_]?letter|call[-_]?to[-_]?action|(?<![a-z])cta(?![a-z])|back[-_]?(?:link|button|to)|(?:image|photo|picture|foto|bild)[-_]?(?:credit|source|copyright)|copyright"
    r"|read[-_]?more|wp-calendar|calendar[-_]?wrap|rss[-_]?(?:widget|feed)|print[-_]?(?:link|button|only)"
    r"|tuijian|xiangguan|pinglun|daohang|fenxiang|guanggao|remen|shangyipian|xiayipian|banquan"
)
_LAYOUT = re.compile(r"(?:has|with|no|without|show)[-_]?(?:left|right|both)?[-_]?sidebars?")  # of what has a sidebar
# What stands over lists of links to elsewhere. It goes when nothing but such links follows.
_CHROME_TITLES = re.compile(
    r"(?i)(?:(?:\d+ )?(?:"
    r"related(?: \w+)?|(?:you|readers) (?:may|might|could|will) also .{2,40}|read (?:more|next|also)|also read|more (?:from|on|in|about|stories|articles|news|posts)\b.{0,60}"
    r"|recommended(?: .{2,40})?|(?:most|popular|recent|latest|trending|featured)(?: (?:read|popular|viewed|posts?|articles?|comments?|news|stories|videos?|now))+"
    r"|share(?: (?:this|on|via)\b.{0,40})?|leave (?:a|your) (?:reply|comment).{0,30}|(?:post a )?comments?(?: \(\d+\))?|tags?|categor(?:y|ies)|about the author|follow us\b.{0,40}|sign up\b.{0,60}|subscribe\b.{0,60}|advertisement"
    r"|mehr zum thema.{0,40}|(?:das|dies) könnte (?:sie|dich|euch) .{0,40}|(?:ähnliche|weitere|verwandte|aktuelle|neueste|beliebte) (?:artikel|beiträge|meldungen|nachrichten|themen|links)\b.{0,30}|lesen sie auch.{0,60}"
    r"|kommentare?(?: \(\d+\))?|(?:hinterlasse|schreibe?n?) .{0,20}kommentar.{0,20}|kommentar (?:verfassen|schreiben|hinterlassen)|artikel teilen|teilen|schlagwörter|zurück(?: zur? .{2,30})?|über den autor"
    r"|temas relacionados|(?:noticias|artículos|notas) relacionad[ao]s|te puede interesar|comentarios|compartir|etiquetas"
    r"|(?:articles?|sujets?) (?:similaires?|liés)|à lire aussi|(?:sur|dans) le même .{2,30}|commentaires?|partager|articoli correlati|leggi anche|condividi|commenti"
    r"|(?:热门|相关|推荐|最新|熱門|相關|推薦|精彩|今日|更多)[\u4e00-\u9fff]{0,6}|猜你喜欢|延伸[阅閱][读讀]|网友评论|我要评论|发表评论|评论|評論|留言|分享[到至]?|上一[篇页頁].{0,60}|下一[篇页頁].{0,60}|标签|標籤|[关關][于於]作者|返回.{0,6}"
    r"))\s*[:：!…»>]*"
)
_CREDIT = re.compile(
    r"(?i)(?:[(\[]?(?:photos?|foto|fotos|bild|bilder|bildquelle|image|images|picture|credit|quelle|source|copyright|grafik|©|\(c\)|图片?|圖片?|图源|摄影|来源|來源))"
    r"(?: (?:by|von|de|credit|courtesy))?\s*[:：©/].{0,100}"
)
_CONTENT = re.compile(
    r"(?i)\b(?:entry|post|article|story|page|main|node|blog)[-_]?(?:content|body|text|entry)\b|\barticlebody\b|\bmw-parser-output\b"
)
_INTRO = re.compile(r"(?i)(?:\b|[-_])(?:teaser|intro|lead|excerpt|summary|standfirst|abstract|dek|subline)(?:\b|[-_])")
_HIDDEN_STYLE = re.compile(r"(?i)display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0(?:\D|$)")


@dataclass(slots=True, eq=False)
class _Node:
    """An element, or a text when `tag` is empty."""

    tag: str
    text: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[_Node] = field(default_factory=list)
    n_text: int = 0
    n_link: int = 0
    n_nodes: int = 1
    n_good: int = 0  # characters of running text: long enough, and not mostly links
    tags: set[str] = field(default_factory=set)  # the structural tags below


def load(data: bytes, *, name: str, password: str = "") -> ParsedDocument:
    """Read a web page's main text. The title is the page's <title>, else its first heading.

    Raises: DocumentError E_BINARY, E_ENCODING.
    """
    return _load(data, name, whole=False)


def load_whole(data: bytes, *, name: str) -> ParsedDocument:
    """Read a page that has no frame around its text, such as a chapter of a book: nothing that is visible is left out."""
    return _load(data, name, whole=True)


def _load(data: bytes, name: str, *, whole: bool) -> ParsedDocument:
    from selectolax.lexbor import LexborHTMLParser

    declared = _META_CHARSET.search(data[:8192])
    text, warnings = decode(data, declared=declared.group(1).decode("ascii") if declared else "", name=name)
    parsed = LexborHTMLParser(_LONG_TAG.sub(r"\1>", text))
    title_node = parsed.css_first("title")
    title = " ".join((title_node.text() if title_node else "").split())[:300]
    if parsed.body is None:
        return TextBuilder().document(type="html", title=title, warnings=warnings)
    body, n_hidden = _visible_tree(parsed.body)
    if n_hidden:
        warnings.append(f"Text that the page hides was left out ({n_hidden} places).")
    outer, root = (body, body) if whole else _main(body)
    writer = _write(outer, root, strict=not whole)
    too_little = writer.n_chars < min(200, root.n_text)
    if not whole and (too_little or writer.n_chars < KEPT_SHARE * (root.n_text - writer.n_framed)):
        writer = _write(outer, root, strict=False)  # a front page, say: its links are its content
    if not writer.builder.blocks and body.n_text:
        writer.builder.add("paragraph", _inline(body))
    metadata = _metadata(parsed)
    return writer.builder.document(
        type="html", title=title or _inline(_first(body, "h1")), metadata=metadata, warnings=warnings
    )


def _write(outer: _Node, root: _Node, *, strict: bool) -> _Writer:
    writer = _Writer(total=max(root.n_text, 1), strict=strict)
    for node in _before(outer, root):
        writer.builder.add("heading" if node.tag == "h1" else "paragraph", _inline(node), level=1)
    writer.flow(root, 0)
    writer.flush()
    return writer


# ---------------------------------------------------------------- tree


def _visible_tree(body: Any) -> tuple[_Node, int]:
    """The tree of what a reader sees, and how many places are hidden from him.

    Some pages hide nearly everything until a script has run, or put it into <noscript>: then hidden is what is meant.
    """
    hidden: list[str] = []
    tree = _tree(body, hidden, _NEVER)
    if tree.n_text < 1000 and (hidden or body.css_first("noscript") is not None):
        full = _tree(body, None, _NEVER - {"noscript"})
        if full.n_text > 1000 and tree.n_text < 0.2 * full.n_text:
            return full, 0
    return tree, len(hidden)


def _tree(body: Any, hidden: list[str] | None, never: frozenset[str]) -> _Node:
    """Our own tree of what can be read, without recursion: pages nest as deeply as they like.

    hidden: collects what the page hides, which is left out; None to keep it.
    """
    root = _Node(tag="body")
    stack: list[tuple[Any, _Node]] = [(body.child, root)]
    while stack:
        node, parent = stack.pop()
        while node is not None:
            following = node.next
            tag = node.tag
            if tag == "-text":
                if content := node.text_content:
                    parent.children.append(_Node(tag="", text=content))
            elif tag and tag[0] not in "-!?" and tag not in never:
                attributes = {key: value or "" for key, value in node.attributes.items() if key in _KEPT_ATTRIBUTES}
                if hidden is not None and _is_hidden(attributes):
                    hidden.append(tag)
                else:
                    element = _Node(tag=tag, attributes=attributes)
                    parent.children.append(element)
                    if node.child is not None:
                        stack.append((following, parent))
                        node, parent = node.child, element
                        continue
            node = following
    _measure(root)
    return root


_KEPT_ATTRIBUTES = _set("class id role style hidden aria-hidden rowspan colspan start itemprop")


def _is_hidden(attributes: dict[str, str]) -> bool:
    return "hidden" in attributes or ("style" in attributes and bool(_HIDDEN_STYLE.search(attributes["style"])))


def _measure(root: _Node) -> None:
    """Fill in how much text and link text stands below each node, children before parents."""
    order = [root]
    for node in order:
        order.extend(node.children)
    for node in reversed(order):
        if not node.tag:
            node.n_text = len(node.text.strip())
            continue
        for child in node.children:
            node.n_text += child.n_text
            node.n_link += child.n_text if child.tag == "a" else child.n_link
            node.tags |= child.tags
            node.n_good += child.n_good
            node.n_nodes += child.n_nodes
            if child.tag in _STRUCTURAL:
                node.tags.add(child.tag)
        if node.tag in _RUNNING and not node.n_good and _is_running(node):
            node.n_good = node.n_text


def _is_running(node: _Node) -> bool:
    if node.tag in ("pre", "td", "dd", "li"):
        return node.n_text > 25 and node.n_link < 0.3 * node.n_text
    return node.n_text > 80 and node.n_link < 0.5 * node.n_text


_RUNNING = _set("p pre td li dd blockquote div section article main center")
_STRUCTURAL = frozenset(
    ("h1", "h2", "h3", "h4", "h5", "h6", "table", "th", "pre", "p", "div", "ul", "ol", "main", "article", "br")
)


def _main(body: _Node) -> tuple[_Node, _Node]:
    """The article, and the element in it that holds its text; both are the body where nothing says more."""
    candidates: list[_Node] = []
    articles: list[_Node] = []
    for node in _walk(body):
        attributes = node.attributes
        if node.tag == "main" or attributes.get("role") == "main":
            candidates.append(node)
        elif node.tag == "article":
            articles.append(node)
    for node in candidates:
        if node.n_text >= 0.25 * body.n_text or (node.n_text > 500 and len(candidates) == 1):
            body = node
            break
    large = [node for node in articles if node.n_text >= 0.5 * body.n_text]
    article = large[0] if large else body
    if body.tag == "body":
        body = article
    inner = _trunk(article)
    for node in _walk(inner):
        if node is not inner and node.n_text >= 0.5 * inner.n_text and _CONTENT.search(_names(node)):
            inner = node
    return body, inner


def _trunk(body: _Node) -> _Node:
    """The innermost element that holds nearly all running text: what lies beside it is the page's frame."""
    node = body
    while True:
        heir = max((child for child in node.children if child.tag), key=lambda child: child.n_good, default=None)
        if heir is None or heir.tag not in _TRUNK or heir.n_good < TRUNK_SHARE * body.n_good or heir.n_good < 400:
            return node
        node = heir


def _before(outer: _Node, root: _Node) -> Iterator[_Node]:
    """The headline and the introduction that stand before the text of an article, outside of its element."""
    stack = [outer]
    after_headline = False
    while stack:
        node = stack.pop()
        if node is root:
            return
        if node.tag == "h1":
            after_headline = True
            yield node
        elif node.tag == "aside" or _is_named_frame(node):
            continue
        elif (0 < node.n_text < 2000 and node.n_link < 0.2 * node.n_text and _INTRO.search(_names(node))) or (
            after_headline and node.tag == "p" and node.n_good
        ):
            yield node
        else:
            stack.extend(reversed(node.children))


def _is_named_frame(node: _Node) -> bool:
    """Whether an element's name says that it belongs to the page's frame."""
    names = _frame_names(node)
    return node.tag in _FRAMED and len(names) > 2 and bool(_CHROME_NAMES.search(_LAYOUT.sub("", names)))


def _names(node: _Node) -> str:
    return f"{node.attributes.get('class', '')} {node.attributes.get('id', '')} {node.attributes.get('itemprop', '')}"


def _frame_names(node: _Node) -> str:
    """Names for comparing with those of frames. A section's id is made of its title, which may well be `Comments`."""
    classes = node.attributes.get("class", "").lower()
    if classes in ("section", "") and (node.tag == "section" or classes):
        return classes
    return f"{classes} {node.attributes.get('id', '').lower()}"


def _walk(root: _Node) -> Iterator[_Node]:
    """Elements below a node in the order of the page."""
    stack = [root]
    while stack:
        node = stack.pop()
        if node.tag:
            yield node
            stack.extend(reversed(node.children))


def _first(root: _Node | None, tag: str) -> _Node | None:
    return (
        next((node for node in _walk(root) if node.tag == tag), None) if root is not None and tag in root.tags else None
    )


_META_KEYS = {
    "description": "description", "og:description": "description", "author": "author", "article:author": "author", "dc.creator": "author",
    "dcterms.creator": "author", "parsely-author": "author", "keywords": "keywords", "article:published_time": "published",
    "datepublished": "published", "date": "published", "dc.date": "published", "dcterms.date": "published", "dcterms.created": "published",
    "dc.date.issued": "published", "parsely-pub-date": "published", "publishdate": "published", "pubdate": "published",
}  # fmt: skip
_ISO_DATE = re.compile(r"((?:1[89]|20)\d\d-[01]\d-[0-3]\d)(?:[T ][0-9:.]{4,15}(?:Z|[+-]\d\d:?\d\d)?)?\s*$")


def _metadata(parsed: Any) -> dict[str, str]:
    """What the page says of itself: description, author, keywords, published (a date), language, canonical (a URL)."""
    found: dict[str, str] = {}

    def note(key: str, value: str) -> None:
        value = " ".join(value.split())[:500]
        if key == "published":
            date = _ISO_DATE.match(value)
            value = date.group(1) if date else ""
        if key == "author" and "://" in value:
            return  # a link to a profile
        if value:
            found.setdefault(key, value)

    for node in parsed.css("meta[content]")[:300]:
        attributes = node.attributes
        name = (attributes.get("name") or attributes.get("property") or attributes.get("itemprop") or "").lower()
        if name in _META_KEYS:
            note(_META_KEYS[name], attributes.get("content") or "")
    for node in parsed.css('script[type="application/ld+json"]')[:5]:
        for key, value in _linked_data(node.text()[:200_000]):
            note(key, value)
    if time := parsed.css_first(
        "article time[datetime], main time[datetime], time[pubdate], time[itemprop=datePublished]"
    ):
        note("published", time.attributes.get("datetime") or "")
    root = parsed.css_first("html")
    language = (root.attributes.get("lang") or root.attributes.get("xml:lang") or "") if root else ""
    if re.fullmatch(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8}){0,3}", language):
        note("language", language.replace("_", "-"))
    for node in parsed.css("link[rel][href]")[:100]:
        href = node.attributes.get("href") or ""
        if "canonical" in (node.attributes.get("rel") or "").lower().split() and re.match(r"https?://", href):
            note("canonical", href)
    return found


def _linked_data(text: str) -> Iterator[tuple[str, str]]:
    """Author and date in a page's JSON-LD."""
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        return
    graph = tree.get("@graph") if isinstance(tree, dict) and isinstance(tree.get("@graph"), list) else tree
    for item in (graph if isinstance(graph, list) else [graph])[:50]:
        if not isinstance(item, dict):
            continue
        if isinstance(date := item.get("datePublished"), str):
            yield "published", date
        authors = item.get("author")
        names = [
            one.get("name") if isinstance(one, dict) else one
            for one in (authors if isinstance(authors, list) else [authors])
        ]
        yield "author", ", ".join(one for one in names[:10] if isinstance(one, str))


# ---------------------------------------------------------------- text


def _inline(node: _Node | None) -> str:
    """The text of a node as one run; `<br>` and the ends of inner blocks become line ends."""
    if node is None:
        return ""
    parts: list[str] = []
    stack: list[_Node | str] = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            parts.append(item)
        elif not item.tag:
            parts.append(item.text)
        elif item.tag in ("br", "hr"):
            parts.append(_BREAK)
        else:
            if item.tag in _BLOCK and item is not node:
                parts.append(_BREAK)
                stack.append(" " if item.tag in ("td", "th") else _BREAK)
            stack.extend(reversed(item.children))
    return _tidy("".join(parts))


def _tidy(text: str) -> str:
    lines = (line.strip() for line in _BLANKS.sub(" ", text).split(_BREAK))
    return "\n".join(line for line in lines if line)


class _Writer:
    """Walks the tree and writes blocks. Text outside any block element is collected and written as a paragraph."""

    def __init__(self, *, total: int, strict: bool) -> None:
        self.builder = TextBuilder()
        self.total = total
        self.n_framed = 0  # characters left out by the names of their elements
        self._strict = strict
        self._run: list[str] = []

    @property
    def n_chars(self) -> int:
        return sum(block.end - block.start for block in self.builder.blocks)

    def flush(self) -> None:
        if self._run:
            self.builder.add("paragraph", _tidy("".join(self._run)))
            self._run.clear()

    def flow(self, node: _Node, depth: int) -> None:
        dropped = self._trailers(node) if self._strict else frozenset()
        for i, child in enumerate(node.children):
            if i in dropped:
                self.flush()
            elif not child.tag:
                self._run.append(child.text)
            elif child.tag == "br":
                self._run.append(_BREAK)
            elif depth > MAX_DEPTH:
                self._run.append(f"{_BREAK}{_inline(child)}{_BREAK}")
            elif not self._is_chrome(child, depth):
                self._element(child, depth)

    def _element(self, node: _Node, depth: int) -> None:
        tag = node.tag
        if tag not in _BLOCK:
            self.flow(node, depth + 1)
            return
        self.flush()
        if tag in _HEADINGS:
            self.builder.add("heading", _inline(node), level=_HEADINGS[tag])
        elif tag == "pre":
            self.builder.add("code", fence(_code(node)))
        elif tag == "blockquote" and not node.tags & {"table", "pre", "h2", "h3"}:
            self.builder.add("quote", quoted(_inline(node)) if node.n_text else "")
        elif tag in ("ul", "ol", "menu", "dir") and not node.tags & {"table", "pre", "h1", "h2", "h3", "h4", "article"}:
            self.builder.add("list", "\n".join(_items(node, 0)))
        elif tag == "table" and not _is_layout(node):
            self._table(node)
        else:
            self.flow(node, depth + 1)
        self.flush()

    def _table(self, node: _Node) -> None:
        for caption in (child for child in node.children if child.tag == "caption"):
            self.builder.add("paragraph", _inline(caption))
        self.builder.add("table", pipe_table(_grid(node)))

    def _trailers(self, node: _Node) -> frozenset[int]:
        """Places of children that are titles such as `Related articles`, and of the links that follow them."""
        found: set[int] = set()
        title = -1  # where the open title stands
        bare = False  # nothing but white space came since
        for i, child in enumerate(node.children):
            if not child.n_text:
                continue
            if title >= 0 and child.tag not in _HEADINGS and _n_link(child) >= 0.5 * child.n_text:
                found.update((title, i))
                bare = False
                continue
            if bare and child.tag in _HEADINGS:
                found.add(title)
            bare = child.tag in _TITLE_TAGS and _is_chrome_title(child)
            title = i if bare else -1
        if bare:
            found.add(title)
        return frozenset(found)

    def _is_frame(self, node: _Node) -> bool:
        """What only a strict reading leaves out: teasers of other pages, credits of pictures, frames by their names."""
        if node.n_text == 0 or node.n_text > 0.65 * self.total or "main" in node.tags:
            return False
        if _is_named_frame(node):
            self.n_framed += node.n_text
            return True
        if node.n_text > 0.3 * self.total:
            return False
        if (
            node.n_text < 120
            and node.n_nodes < 30
            and node.tag in ("p", "figcaption", "span", "div", "small")
            and _CREDIT.fullmatch(_inline(node))
        ):
            return True
        if (
            node.tag in ("a", "article", "div", "li", "section")
            and _n_link(node) >= 0.8 * node.n_text
            and node.n_text < 400
        ):
            return bool(node.tags & {"h2", "h3", "h4", "h5", "article"}) and "h1" not in node.tags
        if node.tag in ("ul", "ol", "div", "section", "nav") and node.n_good == 0 and "h1" not in node.tags:
            first = next((one for one in node.children if one.n_text), None)
            return first is not None and _is_chrome_title(first)
        return False

    def _is_chrome(self, node: _Node, depth: int) -> bool:
        """Whether an element is navigation or decoration rather than content. Half of the text is never that."""
        if self._strict and self._is_frame(node):
            return True
        if node.n_text > 0.4 * self.total or node.tags & {"main", "article", "h1"}:
            return False
        attributes = node.attributes
        if attributes.get("role") in _CHROME_ROLES or node.tag == "search":
            return True
        if node.tag in ("footer", "aside") and (node.tag == "footer" or node.n_link > 0.3 * node.n_text):
            return True
        if node.tag == "header" and not node.tags & set(_HEADINGS):
            return node.n_link > 0.5 * node.n_text
        if node.tag in ("div", "section", "ul", "ol", "aside", "span", "p", "table", "form") and attributes:
            names = re.split(r"[\s_-]+", _frame_names(node))
            if not _CHROME_WORDS.isdisjoint(names) and (
                node.n_link > 0.3 * node.n_text or node.n_text < 0.2 * self.total
            ):
                return True
        return node.tag in ("ul", "ol", "div") and _is_link_bar(node)


def _n_link(node: _Node) -> int:
    return node.n_text if node.tag == "a" else node.n_link


def _is_chrome_title(node: _Node) -> bool:
    # Few nodes: what is asked at every level of a deep page must not walk all of it each time.
    if node.n_text >= 80 or node.n_nodes > 30:
        return False
    text = _inline(node)
    return not text.endswith((".", "。")) and bool(_CHROME_TITLES.fullmatch(text))


def _is_link_bar(node: _Node) -> bool:
    """Links and nothing but links, all of them short: a menu without a name."""
    if node.n_text == 0 or node.n_link < 0.95 * node.n_text or node.tags & set(_HEADINGS):
        return False
    n_links = sum(child.tag == "a" for child in _walk(node))
    return n_links >= 4 and node.n_text / n_links < 25


def _code(node: _Node) -> str:
    """Preformatted text as it stands."""
    parts: list[str] = []
    stack = [node]
    while stack:
        item = stack.pop()
        if item.tag == "br":
            parts.append("\n")
        parts.append(item.text)
        stack.extend(reversed(item.children))
    return "".join(parts)


def _items(node: _Node, depth: int) -> Iterator[str]:
    """The lines of a list, nested lists indented."""
    number = int(start) if (start := node.attributes.get("start", "1")).isdigit() and len(start) < 7 else 1
    for child in node.children:
        if child.tag in ("ul", "ol") and depth < 20:
            yield from _items(child, depth + 1)
        if child.tag != "li":
            continue
        nested = [part for part in child.children if part.tag in ("ul", "ol")] if depth < 20 else []
        own = _Node(tag="li", children=[part for part in child.children if part not in nested])
        mark = f"{number}." if node.tag == "ol" else "-"
        indent = "   " * depth
        if text := _inline(own):
            yield f"{indent}{mark} " + text.replace("\n", f"\n{indent}  ")
            number += 1
        for part in nested:
            yield from _items(part, depth + 1)


# ---------------------------------------------------------------- tables


def _is_layout(table: _Node) -> bool:
    """A table that places things on the page instead of holding data."""
    if table.attributes.get("role") in ("presentation", "none") or table.tags & {"h1", "h2", "h3", "pre"}:
        return True
    rows = list(_table_rows(table))
    n_cells = [sum(cell.tag in ("td", "th") for cell in row.children) for row in rows]
    if max(n_cells, default=0) < 2 and "th" not in table.tags:
        return True
    nests = any(
        "table" in cell.tags or any(part.tag == "table" for part in cell.children)
        for row in rows
        for cell in row.children
    )
    long = any(cell.n_text > 1500 for row in rows for cell in row.children)
    return (nests and (len(rows) < 3 or "th" not in table.tags)) or long


def _table_rows(table: _Node) -> Iterator[_Node]:
    for child in table.children:
        if child.tag == "tr":
            yield child
        elif child.tag in ("thead", "tbody", "tfoot"):
            yield from (row for row in child.children if row.tag == "tr")


def _grid(table: _Node) -> Iterator[list[str]]:
    """Rows of cell texts. A cell that spans rows repeats its text in each, one that spans columns is followed by blanks."""
    open_spans: dict[int, tuple[int, str]] = {}  # column → rows left, text
    for row in _table_rows(table):
        cells: list[str] = []

        def fill(cells: list[str] = cells) -> None:
            while len(cells) in open_spans:
                left, text = open_spans.pop(len(cells))
                if left > 1:
                    open_spans[len(cells)] = (left - 1, text)
                cells.append(text)

        for cell in row.children:
            if cell.tag not in ("td", "th"):
                continue
            fill()
            text = _inline(cell).replace("\n", " ")
            n_rows, n_columns = _span(cell, "rowspan"), _span(cell, "colspan")
            for k in range(n_columns):
                if n_rows > 1:
                    open_spans[len(cells)] = (n_rows - 1, text if k == 0 else "")
                cells.append(text if k == 0 else "")
        fill()
        yield cells


def _span(cell: _Node, name: str) -> int:
    value = cell.attributes.get(name, "1").strip()
    return min(max(int(value), 1), MAX_SPAN) if value.isdigit() and len(value) < 7 else 1
