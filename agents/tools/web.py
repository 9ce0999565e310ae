"""Fetching a web page as a tool: GET only, through the guard of rag/fetch.py, read in a child process."""

from __future__ import annotations

from urllib.parse import urlsplit

from agents.tooling import Tool, ToolResult, tool
from rag.errors import DocumentError
from rag.fetch import fetch
from rag.parsing import ParserPool
from rag.settings import FetchSettings, ParseSettings

READ_CHARS = 6000


def fetch_tool(fetching: FetchSettings | None = None, parsing: ParseSettings | None = None) -> Tool:
    """fetch_page. After the run has read text from outside, an address that the user did not name needs approval."""
    fetching, parsing = fetching or FetchSettings(), parsing or ParseSettings()

    @tool(effect="fetch", timeout_s=fetching.timeout_s + parsing.timeout_s + 5)
    def fetch_page(url: str, start: int = 0) -> ToolResult:
        """Read a page or document from the web.

        url: its address, with https://
        start: the character to begin at, to read on
        """
        try:
            got = fetch(url, settings=fetching, max_bytes=10_000_000)
            with ParserPool(parsing, workers=1) as pool:
                parsed = pool.parse(got.data, _name(got.final_url, got.content_type))
        except DocumentError as error:
            return ToolResult(text=str(error), ok=False, code=error.code)
        text = parsed.text[max(start, 0) :]
        head = f"{parsed.title}\n{got.final_url}\n\n" if start <= 0 else ""
        more = f"\n… it goes on: start={max(start, 0) + READ_CHARS}" if len(text) > READ_CHARS else ""
        return ToolResult(text=f"{head}{text[:READ_CHARS]}{more}")

    return fetch_page


def _name(url: str, content_type: str) -> str:
    name = urlsplit(url).path.rpartition("/")[2] or "page"
    return name if "." in name or "html" not in content_type else f"{name}.html"
