"""What the page says, in English and Chinese."""

from __future__ import annotations

LANGUAGES = {"English": "en", "中文": "zh"}

_WORDS = {
    "title": ("Ask your documents", "向你的文档提问"),
    "placeholder": ("Ask a question", "输入问题"),
    "empty": (
        "This collection is empty. Add files on the left, then ask.",
        "这个集合还是空的。请先在左侧添加文件，再提问。",
    ),
    "welcome": (
        "Ask about {n} documents. Every answer names its sources.",
        "现在有 {n} 个文档可供提问，每个回答都注明出处。",
    ),
    "review": ("Review the questions", "审阅问题"),
    "reviewed": ("{done} of {n} decided, {kept} kept", "已审阅 {done}/{n}，保留 {kept}"),
    "questions": ("Questions", "问题列表"),
    "question": ("Question", "问题"),
    "answer": ("Answer", "答案"),
    "keep": ("Keep", "保留"),
    "drop": ("Leave out", "不要"),
    "passage_gone": ("The passage is not in the collection any more.", "集合中已没有这段文字。"),
    "add": ("Add files", "添加文件"),
    "import": ("Import", "导入"),
    "importing": ("Importing…", "正在导入…"),
    "imported": (
        "{added} new, {updated} changed, {unchanged} unchanged",
        "新增 {added}，更新 {updated}，未变 {unchanged}",
    ),
    "failed": ("{n} could not be read", "{n} 个无法读取"),
    "documents": ("Documents", "文档"),
    "mode": ("Search", "检索方式"),
    "hybrid": ("Words and meaning", "词语与语义"),
    "dense": ("Meaning", "语义"),
    "bm25": ("Words", "词语"),
    "sources": ("Sources", "出处"),
    "page": ("page {n}", "第 {n} 页"),
    "unsupported": ("Not borne out by the passages: {text}", "原文不支持：{text}"),
    "not_supported": ("the passage does not bear this out", "原文不支持这一点"),
    "searching": ("Searching and reading…", "正在检索和阅读…"),
    "done": ("Answered in {seconds:.1f} s", "用时 {seconds:.1f} 秒"),
    "clear": ("New conversation", "新的对话"),
}


def word(key: str, language: str, **values: object) -> str:
    """The text for `key`. language: en or zh."""
    english, chinese = _WORDS[key]
    return (chinese if language == "zh" else english).format(**values)
