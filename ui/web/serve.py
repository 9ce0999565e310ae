"""Starts the Streamlit page as a process of its own, with our settings and nothing sent anywhere."""

from __future__ import annotations

import ipaddress
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from rag.errors import RagstoneError, UsageError

FRONT = Path(__file__).parents[1] / "front.py"
PAGE = Path(__file__).parents[1] / "page.py"

THEME = {  # calm paper and ink; marked passages yellow as with a marker, doubts orange
    "baseRadius": "10px",
    "showWidgetBorder": "true",
    "chartCategoricalColors": '["#2f6f5e","#c9822b","#4a6fa5","#a3485b","#7a6bb0","#6b7280"]',
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

    accounts: people sign in. Raises: UsageError for an address that others could reach while nobody has to.
    """
    alone = _is_loopback(host)
    if not alone and not behind_proxy and (review is not None or not accounts):
        raise UsageError(
            f"Nobody has to sign in yet, so the page is served on this machine only, not on {host}. Make an account with "
            "`ragstone users add NAME --role admin`, or use 127.0.0.1. A container, whose port is published on 127.0.0.1, sets "
            "ui.behind_proxy."
        )
    environment = dict(os.environ, RAGSTONE_PAGE_COLLECTION=collection)
    if accounts and not alone:
        environment["RAGSTONE_PAGE_SIGN_IN"] = "1"  # also after the last account was removed
    environment |= {"RAGSTONE_PAGE_HOME": home} if home else {}
    environment |= {"RAGSTONE_REVIEW_FILE": str(review.absolute())} if review else {}
    environment |= {"RAGSTONE_PAGE_CONFIG": str(Path(config).absolute())} if config else {}
    command = [
        sys.executable, "-m", "streamlit", "run", str(PAGE if review else FRONT), "--server.address", host, "--server.port", str(port),
        "--server.headless", "true", "--browser.gatherUsageStats", "false", "--server.fileWatcherType", "none",
        "--client.toolbarMode", "minimal", "--client.showErrorDetails", "none",
        *(f"--theme.{key}={value}" for key, value in THEME.items()),
    ]  # fmt: skip
    sys.stderr.write(
        f"ragstone: the page is at http://{'[' + host + ']' if ':' in host else host}:{port}; Ctrl-C ends it\n"
    )
    page = subprocess.Popen(command, env=environment)
    stopped = threading.Event()

    def stop(*_: object) -> None:  # of this process alone, as containers and service managers do it
        stopped.set()
        page.terminate()

    signal.signal(signal.SIGTERM, stop)
    try:
        code = page.wait()
    except KeyboardInterrupt:
        page.wait()
        return
    if code and not stopped.is_set():
        raise RagstoneError(f"The page ended with code {code}. Is port {port} in use? Try --port {port + 1}.")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
