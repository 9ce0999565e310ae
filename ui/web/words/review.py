"""Words of the page that reviews questions."""

from __future__ import annotations

WORDS = {
    "review": ("Review the questions", "审阅问题"),
    "reviewed": ("{done} of {n} decided, {kept} kept", "已审阅 {done}/{n}，保留 {kept}"),
    "questions": ("Questions", "问题列表"),
    "question": ("Question", "问题"),
    "answer": ("Answer", "答案"),
    "keep": ("Keep", "保留"),
    "drop": ("Leave out", "不要"),
    "passage_gone": ("The passage is not in the collection any more.", "集合中已没有这段文字。"),
}
