"""The first page after a start: somebody waits for it, and all else waits until it is there."""

from __future__ import annotations

import gc
import sys
import threading

PATIENCE_S = 3.0  # nobody has come: no page is in the way then
DRAWING_S = 0.3  # a browser draws the page that it was sent
USUAL_S = sys.getswitchinterval()

sent = threading.Event()  # it is on its way to a screen


def hurry() -> None:
    """While modules are loaded nothing is garbage, and the server answers between them: the browser asks for a hundred files."""
    gc.disable()
    sys.setswitchinterval(0.0005)


def go_on() -> None:
    """As usual again."""
    sys.setswitchinterval(USUAL_S)
    gc.enable()


def wait() -> None:
    """Until it is on a screen, or nobody has come."""
    if sent.wait(PATIENCE_S):
        threading.Event().wait(DRAWING_S)
