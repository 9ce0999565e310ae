"""The demo behind `make demo`: import a folder, ask one question in English and one in Chinese, and time each step."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from rag import KnowledgeBase, Settings
from ui import commands, printing

QUESTIONS = (
    "At what temperature should green tea be brewed, and for how long?",
    "《茶经》的作者是谁，大约写于什么年代？",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", default=".ragstone/demo")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    start = time.perf_counter()
    with KnowledgeBase.open(options.home, settings=Settings.load(), notify=lambda text: print(f"· {text}")) as kb:
        with printing.ingest_progress(quiet=False) as progress:
            report = kb.ingest(options.folder, progress=progress)
        printing.report(commands.report_json(report))
        for question in QUESTIONS:
            asked = time.perf_counter()
            print(f"\n? {question}")
            answer = printing.stream_answer(kb.stream(question), quiet=False)
            printing.after_answer(commands.answer_json(answer))
            print(f"({time.perf_counter() - asked:.1f} s)")
    print(f"\nImport and two answers took {time.perf_counter() - start:.1f} s.")
    return 3 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
