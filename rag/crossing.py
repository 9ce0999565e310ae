"""Searching documents of one language with questions of the other, without translating.

A multilingual embedding model puts a text's language into its vector beside its meaning. Between a Chinese question and
English passages that part is the same for all of them in direction, not in size, and it disturbs their order. The mean
difference between questions that say the same in both languages is that part; taking most of it away helps on the
parallel halves of XQuAD (docs/benchmarks.md). Source of the idea: Libovický et al., EMNLP Findings 2020, arXiv:2004.05160.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rag.text import language
from rag.types import Embedder

SHARE = 0.6  # of the difference that is taken away; from 0.4 to 0.75 makes no difference that counts
MOSTLY = 0.8  # share of a collection's sample in one language from which questions in the other are moved
SAMPLE = 60  # chunks whose language is looked at

# Question and question, English and Chinese, on many subjects.
PAIRS = (
    ("When was the bridge over the river finished?", "这座跨河大桥是什么时候建成的？"), ("Who wrote the first chapter?", "第一章是谁写的？"),
    ("How many people live in the capital?", "首都有多少人口？"), ("Why did the company close its factory?", "公司为什么关闭了工厂？"),
    ("Which plants grow at high altitude?", "哪些植物生长在高海拔地区？"), ("What is the name of the largest lake?", "最大的湖叫什么名字？"),
    ("Where did the king spend the winter?", "国王在哪里过冬？"), ("How does the engine turn heat into motion?", "发动机如何把热变成运动？"),
    ("What did the committee decide in March?", "委员会三月份作出了什么决定？"), ("Who won the final match?", "谁赢得了决赛？"),
    ("How long does the treatment take?", "治疗需要多长时间？"), ("What causes the tides?", "潮汐是由什么引起的？"),
    ("In which year did the war end?", "战争在哪一年结束？"), ("How is the password changed?", "怎样修改密码？"),
    ("What are the symptoms of the disease?", "这种疾病有哪些症状？"), ("Which language do most students learn?", "大多数学生学习哪种语言？"),
    ("Who was the first president of the university?", "大学的第一任校长是谁？"), ("What does the contract say about delays?", "合同对延误是怎么规定的？"),
    ("How deep is the well?", "这口井有多深？"), ("What is bread made of?", "面包是用什么做的？"),
    ("Why is the sky blue?", "天空为什么是蓝色的？"), ("Which team scored most points?", "哪支球队得分最多？"),
    ("What happened after the earthquake?", "地震之后发生了什么？"), ("How much does the ticket cost?", "票价是多少？"),
    ("Who designed the building?", "这座建筑是谁设计的？"), ("Which law protects tenants?", "哪部法律保护租户？"),
    ("How many legs does a spider have?", "蜘蛛有几条腿？"), ("What was traded along the old road?", "古道上交易什么货物？"),
    ("When do the birds fly south?", "鸟儿什么时候南飞？"), ("What is the unit of electric charge?", "电荷的单位是什么？"),
    ("Where is the main office?", "总部在哪里？"), ("Which instruments play in the second part?", "第二部分用了哪些乐器？"),
    ("What did the scientist discover in the cell?", "科学家在细胞里发现了什么？"), ("How do immigrants influence the economy?", "移民如何影响经济？"),
    ("What religion did the settlers bring?", "移民带来了什么宗教？"), ("Which server handles the requests?", "哪台服务器处理请求？"),
    ("What percentage of the vote did the party get?", "该党获得了多少比例的选票？"), ("Who plays the leading role in the film?", "这部电影由谁主演？"),
    ("What should be checked before the machine starts?", "机器启动前应检查什么？"), ("How did the artist learn to paint?", "画家是怎样学会绘画的？"),
)  # fmt: skip


def shift(embedder: Embedder, texts: Sequence[str]) -> Any:
    """The mean difference between English questions and the Chinese ones that follow each, float32 of shape (dim,)."""
    import numpy as np

    vectors = np.asarray(embedder.embed_queries(list(texts)))
    return (vectors[::2] - vectors[1::2]).mean(axis=0)


class Crossing:
    """Moves a question's vector into the language of the documents. to_english: the `shift` of PAIRS."""

    def __init__(self, to_english: Any) -> None:
        self._to_english = to_english

    def moved(self, vector: Any, question: str, into: str) -> Any:
        """The unit vector of a question as it would lie among questions in the language `into` (en or zh)."""
        import numpy as np

        if language(question) == into:
            return vector
        shifted = vector + (SHARE if into == "en" else -SHARE) * self._to_english
        return (shifted / max(float(np.linalg.norm(shifted)), 1e-12)).astype(np.float32)


def main_language(texts: Sequence[str]) -> str:
    """en or zh, when most of these texts are in it; "" for a mixture or nothing."""
    found = [language(text) for text in texts]
    for name in ("en", "zh"):
        if found and found.count(name) >= MOSTLY * len(found):
            return name
    return ""
