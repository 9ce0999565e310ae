"""Words of the chat page."""

from __future__ import annotations

WORDS = {
    "menu": ("Chat", "对话"),
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
