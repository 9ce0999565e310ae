"""Chinese names by jieba's part-of-speech tags, and what kind a name's own characters say it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rag import text as texts

Tagged = Sequence[tuple[str, int, int]]  # (type, start, end) of the names in a sentence, in order
Tagger = Callable[[str], Tagged]

MAX_THING = 3  # characters of a word that makes a thing of what stands before it: 祁门红 + 茶, 武夷 + 岩茶
MAX_PERSON = 4  # characters of a Chinese person's name
_TYPES = {"nr": "person", "ns": "place", "nt": "organisation", "nz": "name"}
_AFTER_NAMES = frozenset("于在和与是的为被将曾对向从把说")  # jieba takes them for the last character of a name
_ENDINGS = {
    **dict.fromkeys(("公司", "集团", "大学", "学院", "银行", "委员会", "协会", "研究所", "研究院", "法院", "医院", "部", "局", "队", "报", "出版社", "俱乐部"), "organisation"),
    **dict.fromkeys(("省", "市", "县", "区", "镇", "村", "州", "岛", "山", "河", "湖", "江", "路", "站", "国", "机场"), "place"),
}  # fmt: skip
_THINGS = frozenset(
    "茶酒醋菜汤鸡鸭鱼面饼糕糖瓷陶绣锦玉石剑刀笔墨砚琴鼓塔寺桥碑犬马"
)  # made or found somewhere, and called so
_NO_PERSON = {  # last characters that no given name has, while 山, 江, 玉 and 石 are common in them
    **dict.fromkeys("省市县区镇村庙寺", "place"),
    **dict.fromkeys("茶酒醋菜汤鸡鸭鱼面饼糕糖瓷", "name"),
}
_FAMILY = frozenset(
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董潘袁蔡蒋余于杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟熊秦邱江尹薛"
    "闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔汤温康施牛洪樊葛邢安齐易乔伍庞颜倪庄聂章鲁岳翟殷詹申欧耿关兰焦俞左柳甘祝包宁尚符舒阮柯纪梅童凌毕单季裴霍涂"
    "成苗盛曲翁冉骆蓝路游辛靳管柴蒙鲍华喻祁蒲房滕屈饶解牟艾尤穆农司卓古吉缪简车项连芦麦褚娄窦戚岑景党宫费卜冷晏席卫米柏宗瞿桂全佟应臧闵苟邬边卞姬师"
)
_FAMILY_OF_TWO = frozenset(
    [
        "欧阳",
        "司马",
        "诸葛",
        "上官",
        "夏侯",
        "东方",
        "皇甫",
        "尉迟",
        "公孙",
        "慕容",
        "令狐",
        "宇文",
        "长孙",
        "端木",
        "司徒",
        "司空",
        "独孤",
        "南宫",
        "百里",
        "东郭",
        "西门",
    ]
)
_SPELT = frozenset(  # the characters that foreign names are spelt with
    "阿埃艾安奥巴鲍贝本比彼别波伯布查茨达戴道德登邓迪丁东杜顿多厄恩尔法凡范菲费芬佛弗夫福盖冈高戈哥格根古哈海汉豪赫亨胡华怀霍基吉加伽简杰金津"
    "卡凯坎康考柯科克肯孔库昆拉莱赖兰朗劳勒雷黎里理立丽利莉列林龙隆卢鲁路露伦罗洛吕马玛迈麦曼梅门蒙米密明缪摩莫默姆穆纳娜奈南内尼涅宁牛纽农"
    "努诺欧帕潘庞培佩蓬皮平珀普齐契恰钱乔切琼丘热日荣茹儒瑞若萨塞赛桑瑟森莎沙山舍申圣施什史叔舒朔思斯松苏索所塔泰坦汤唐陶特滕提廷图托瓦万旺威"
    "韦维魏温文翁沃乌武西希锡席夏香肖谢辛欣休许雪逊雅亚延扬杨耶叶伊因英尤于约泽增扎詹张珍芝治朱兹子宗佐俄娃婆妮妥姬孟安"
)


def jieba_names(sentence: str) -> Tagged:
    """Names by jieba's tags: people, places, organisations and other proper names."""
    found: list[tuple[str, int, int]] = []
    at = 0
    for word, tag in tagged_words(sentence):
        start = sentence.find(word, at)
        if start < 0:
            continue
        at = start + len(word)
        if tag == "nr" and len(word) == 3 and word[2] in _AFTER_NAMES:
            word, at = word[:2], at - 1
        kind = _TYPES.get(tag[:2], "")
        if kind and len(word) > 1 and texts.is_han(word[0]):
            found.append((kind, start, at))
        elif found and found[-1][2] == start and word in _ENDINGS:
            found[-1] = (_ENDINGS[word], found[-1][1], at)
        elif found and found[-1][2] == start and tag[0] == "n" and word[-1] in _THINGS and len(word) <= MAX_THING:
            found[-1] = ("name", found[-1][1], at)  # what is called after a place is no person
    named = _joined(found, sentence)
    return [(_person_or_not(kind, sentence[start:end]), start, end) for kind, start, end in named]


def tagged_words(text: str) -> list[tuple[str, str]]:
    """The words of a Chinese text with their parts of speech, by jieba."""
    import rjieba

    return [(word, tag) for word, tag in rjieba.tag(text)]


def kind_of(kind: str, name: str) -> str:
    """A tagger's type for a name, unless it calls a person what ends as no person's name does: a 县 is a place, a 茶 a thing."""
    return _NO_PERSON.get(name[-1], kind) if kind == "person" and len(name) > 1 else kind


def _person_or_not(kind: str, name: str) -> str:
    """jieba calls many a word a person: one begins with a family name, or is spelt as foreign names are."""
    kind = kind_of(kind, name)
    if kind != "person" or "·" in name or (_has_family_name(name) and len(name) <= MAX_PERSON):
        return kind
    return "person" if len(name) > 2 and set(name) <= _SPELT else "name"


def _has_family_name(name: str) -> bool:
    return name[0] in _FAMILY or name[:2] in _FAMILY_OF_TWO


def _joined(found: Sequence[tuple[str, int, int]], sentence: str) -> list[tuple[str, int, int]]:
    """Names with a dot between them are one (约翰·史密斯); a place right before an organisation belongs to it."""
    out: list[tuple[str, int, int]] = []
    for kind, start, end in found:
        if out:
            before, first, last = out[-1]
            gap = sentence[last:start]
            if gap in ("·", "•", "・") or (
                gap == "" and kind == "organisation" and before in ("place", "organisation")
            ):
                out[-1] = (kind if gap == "" else before, first, end)
                continue
        out.append((kind, start, end))
    return out
