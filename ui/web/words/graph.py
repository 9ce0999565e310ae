"""Words of the graph page."""

from __future__ import annotations

WORDS = {
    "menu": ("Graph", "知识图谱"),
    "title": ("Knowledge graph", "知识图谱"),
    "no_documents": (
        "Add documents first. The graph then shows who and what they speak of, and how these belong together.",
        "请先添加文档。图谱会显示文档里提到的人、地、事物，以及它们之间的关系。",
    ),
    "none": (
        "This collection has no graph yet. Building one reads all passages once, needs no model and takes seconds. "
        "It then follows what you add and delete.",
        "这个集合还没有图谱。构建时会通读一遍所有段落，不需要模型，只要几秒钟；之后会随文档的增删自动更新。",
    ),
    "admins_build": ("An administrator can build it.", "管理员可以构建图谱。"),
    "build": ("Build the graph", "构建图谱"),
    "refresh": ("Bring up to date", "更新图谱"),
    "counts": ("{entities:,} entities, {relations:,} relations", "{entities:,} 个实体，{relations:,} 条关系"),
    "reading": ("{done} of {total} documents read", "已读 {done}/{total} 个文档"),
    "goes_on": ("It goes on when you leave this page.", "离开本页也会继续。"),
    "part": ("View", "视图"),
    "entities": ("Entities", "实体"),
    "communities": ("Themes", "主题"),
    "search": ("Search an entity", "查找实体"),
    "search_example": ("A name, a place, a thing", "人名、地名或事物"),
    "not_found": ("The graph knows nothing called “{text}”.", "图谱里没有“{text}”。"),
    "near": ("Did you mean one of these?", "您要找的是不是："),
    "behind": ("{n} documents were added, changed or deleted since the graph was built.", "图谱构建之后，有 {n} 个文档新增、修改或删除。"),
    "triples": ("It was built from a file: ragstone graph build --triples FILE", "它由三元组文件构建，请运行：ragstone graph build --triples FILE"),
    "open": ("Read it in the document", "在文档中查看"),
    "whole": ("Open the document", "打开文档"),
    "click": ("Click a circle to walk on. Rest on a line to read what it stands for.", "点击圆点继续查看；停在连线上可读其出处。"),
    "alone": ("It is named, but no sentence ties it to another entity.", "文档提到了它，但没有句子把它和别的实体联系起来。"),
    "no_facts": ("No sentence says more of it.", "没有句子进一步说明它。"),
    "all_facts": ("All {n}", "全部 {n} 条"),
    "communities_intro": (
        "What the collection is about: groups of entities that belong together, with the sentences that say most of them.",
        "这个集合讲些什么：彼此相关的实体分成一组，并附上最能说明它们的句子。",
    ),
    "communities_search": ("Search the themes", "查找主题"),
    "no_communities": ("No theme holds these words.", "没有主题包含这些词。"),
    "community": ("{entities} entities in {passages} passages", "{entities} 个实体，{passages} 个段落"),
}  # fmt: skip
