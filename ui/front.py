"""What `ragstone ui` serves: Streamlit's ASGI app over `page.py`, with the door in front (`ui/web/door.py`)."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parent.parent)
if ROOT not in sys.path[:1]:  # Streamlit puts this folder first, where `rag` and `graph` are not
    sys.path.insert(0, ROOT)

from streamlit.starlette import App  # noqa: E402

from ui.web import assets, door, start  # noqa: E402

app = App(
    Path(__file__).with_name("page.py"),
    lifespan=start.lifespan,
    routes=door.ROUTES,
    middleware=[*assets.OUTSIDE, *door.MIDDLEWARE, *assets.INSIDE],
)
