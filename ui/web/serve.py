"""Starts the Streamlit page in this process, with our settings and nothing sent anywhere."""

from __future__ import annotations

import ipaddress
import os
import signal
import sys
from pathlib import Path
from typing import Any

from rag.errors import RagstoneError, UsageError
from ui.web import first_page, soon

PAGE = Path(__file__).parents[1] / "page.py"

THEME = {  # calm paper and ink; marked passages yellow as with a marker, doubts orange
    "baseRadius": "10px",
    "showWidgetBorder": True,
    "chartCategoricalColors": ["#2f6f5e", "#c9822b", "#4a6fa5", "#a3485b", "#7a6bb0", "#6b7280"],
    "light.primaryColor": "#2f6f5e",
    "light.backgroundColor": "#ffffff",
    "light.secondaryBackgroundColor": "#f4f6f3",
    "light.textColor": "#22292a",
    "light.borderColor": "#dfe3de",
    "light.greenBackgroundColor": "#dcefe6",
    "light.greenTextColor": "#1f5f4d",
    "light.yellowBackgroundColor": "#ffe892",
    "light.orangeBackgroundColor": "#ffe3cf",
    "light.sidebar.backgroundColor": "#f7f8f6",
    "dark.primaryColor": "#6fbfa4",
    "dark.backgroundColor": "#151a1a",
    "dark.secondaryBackgroundColor": "#1f2626",
    "dark.textColor": "#e6ebe8",
    "dark.borderColor": "#334040",
    "dark.greenBackgroundColor": "#1f4438",
    "dark.greenTextColor": "#a5e3ca",
    "dark.yellowBackgroundColor": "#665310",
    "dark.orangeBackgroundColor": "#5c3418",
    "dark.sidebar.backgroundColor": "#111515",
}


def serve(
    *,
    home: str | None,
    collection: str,
    config: str | None,
    host: str,
    port: int,
    behind_proxy: bool = False,
    accounts: bool = False,
    review: Path | None = None,
) -> None:
    """Serve the page until it is stopped. review: a table of questions; its page is served instead.

    accounts: people sign in, or may have to. Raises: UsageError for an address that others could reach while nobody has to.
    """
    alone = is_loopback(host)
    if not alone and not behind_proxy and (review is not None or not accounts):
        raise UsageError(
            f"Nobody has to sign in yet, so the page is served on this machine only, not on {host}. Make an account with "
            "`ragstone users add NAME --role admin`, or use 127.0.0.1. A container, whose port is published on 127.0.0.1, sets "
            "ui.behind_proxy."
        )
    environment = {"RAGSTONE_PAGE_COLLECTION": collection}  # the page's scripts read it
    if accounts and not alone:
        environment["RAGSTONE_PAGE_SIGN_IN"] = "1"  # also after the last account was removed
    environment |= {"RAGSTONE_PAGE_HOME": home} if home else {}
    environment |= {"RAGSTONE_REVIEW_FILE": str(review.absolute())} if review else {}
    environment |= {"RAGSTONE_PAGE_CONFIG": str(Path(config).absolute())} if config else {}
    os.environ.update(environment)
    sys.stderr.write(
        f"ragstone: the page is at http://{'[' + host + ']' if ':' in host else host}:{port}; Ctrl-C ends it\n"
    )
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn ends itself and then sends the signal again
        signal.signal(number, lambda *_: None)
    try:
        soon.listen(
            lambda: _app(review, _config(host, port)), host=host, port=port, open_to_all=not accounts and review is None
        )
    except OSError as taken:
        reason = f"{taken.strerror or taken}. Is port {port} in use? Try --port {port + 1}."
        raise RagstoneError(f"The page could not start on {host}:{port}: {reason}") from taken


def remember_theme() -> None:
    """Let Streamlit work its theme out once: it goes through all options for each run of a script, a quarter of what a person costs."""
    from streamlit.runtime import app_session

    work_out, known = getattr(app_session, "_populate_theme_msg", None), {}
    if work_out is None:  # another version of Streamlit: slower, and nothing else
        return

    def told(message: Any, section: str = "theme") -> None:
        if section not in known:
            work_out(made := type(message)(), section)
            known[section] = made
        if known[section].ByteSize():  # to merge nothing would say that there is a theme
            message.MergeFrom(known[section])

    app_session._populate_theme_msg = told  # type: ignore[assignment]


def look_for_nothing() -> None:
    """Spare Streamlit three searches before the first page: for components, in what is said of every installed package; for
    a file's name in all modules, to see whether somebody typed the page into an interpreter; and, where a text is Chinese,
    for the emoji that it may begin with. Ours begins with none. In another version of Streamlit: slower, and nothing else."""
    from streamlit import delta_generator, string_util
    from streamlit.components.v2 import manifest_scanner

    manifest_scanner.scan_component_manifests = lambda *_: []  # type: ignore[assignment]
    delta_generator._use_warning_has_been_displayed = True
    string_util.extract_leading_emoji = lambda text: ("", text)


def _app(review: Path | None, config: dict[str, Any]) -> Any:
    """Streamlit's ASGI app, with our options."""
    from streamlit.web import bootstrap

    bootstrap.load_config_options(config)
    remember_theme()
    look_for_nothing()
    if review is None:
        first_page.hurry()
        from ui.front import app

        return app
    from streamlit.starlette import App

    return App(PAGE)


def _config(host: str, port: int) -> dict[str, Any]:
    """Streamlit's options. Its own files cannot change what keeps the page private and calm."""
    return {
        "server.address": host, "server.port": port, "server.headless": True, "server.fileWatcherType": "none",
        "browser.gatherUsageStats": False, "client.toolbarMode": "minimal", "client.showErrorDetails": "none",
        "logger.hideWelcomeMessage": True,
        "runner.postScriptGC": False,  # a whole collection after each run was four fifths of what a person on the page cost
        **{f"theme.{key}": value for key, value in THEME.items()},
    }  # fmt: skip


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
