"""The script that Streamlit runs; `ragstone ui` and `ragstone eval review` start it. The page itself is `ui/web/`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parent.parent)
if ROOT not in sys.path[:1]:  # Streamlit puts this folder first, where `rag` and `graph` are not
    sys.path.insert(0, ROOT)

if "RAGSTONE_REVIEW_FILE" in os.environ:
    from ui.web.review import main
else:
    from ui.web.app import main

main()
