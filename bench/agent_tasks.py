"""Tasks that need two tools, search and calculator: a question, and the number that its answer must hold.

TASKS are over examples/tea and were looked at while prompts and rules for small models were made. HOLDOUT are over
documents of other content, and were not.
"""

from __future__ import annotations

from dataclasses import dataclass

from rag.types import Document


@dataclass(frozen=True, slots=True)
class Task:
    """A question over examples/tea, and the number that its answer must hold."""

    text: str
    number: str
    language: str


TASKS = [
    Task("How many years lie between the Boston Tea Party and the opening of the Suez Canal?", "96", "en"),
    Task("How many years passed from the first auction of Assam tea in London to the last London tea auction?", "159", "en"),
    Task("By how many percentage points did the Commutation Act cut the British tax on tea?", "106.5", "en"),
    Task("How old was Sen no Rikyu when he died?", "69", "en"),
    Task("How many years after bringing tea seeds from China did Eisai write Kissa Yojoki?", "20", "en"),
    Task("How many grams of matcha does a traditional stone mill yield in 7 hours?", "280", "en"),
    Task("How much leaf in grams is needed to cold brew 3.5 litres of water?", "35", "en"),
    Task("According to ISO 3103, how many grams of tea are needed for 350 ml of water?", "7", "en"),
    Task("How many years after its isolation from coffee was caffeine's twin theine found in tea?", "8", "en"),
    Task("How many cups with 40 mg of caffeine stay within EFSA's safe daily amount for healthy adults?", "10", "en"),
    Task("七子饼茶每饼多少克？12饼一共多少克？", "4284", "zh"),
    Task("从祁门红茶创制到滇红试制成功，相隔多少年？", "63", "zh"),
    Task("陆羽大约活了多少岁？", "71", "zh"),
    Task("中国传统制茶技艺列入人类非遗名录，比第一个国际茶日晚几年？", "2", "zh"),
    Task("《大观茶论》成书后多少年，朱元璋下令停止进贡团茶？", "284", "zh"),
    Task("普洱府设立多少年后，思茅市更名为普洱市？", "278", "zh"),
    Task("渥堆发酵工艺研制成功后，过了几年云南省茶叶公司开始使用唛号？", "3", "zh"),
    Task("母树大红袍最后一次采摘，是在武夷山列入世界遗产之后几年？", "6", "zh"),
    Task("中国传统制茶技艺涉及44个国家级项目和15个省份，平均每个省份大约有几个项目？", "2.9", "zh"),
    Task("中国茶叶博物馆开放后多少年，景迈山古茶林列入世界遗产名录？", "32", "zh"),
]  # fmt: skip

HOLDOUT_DOCUMENTS = [
    Document(doc_id="bridges", title="Bridges of iron and steel", text="""# Bridges of iron and steel

The Iron Bridge over the Severn at Coalbrookdale was opened to traffic on 1 January 1781. It spans 30.6 metres and was cast
from 378 tons of iron. The Britannia Bridge followed in 1850, a tube of wrought iron for the railway to Holyhead.

## Brooklyn Bridge

Work on the Brooklyn Bridge began on 2 January 1870. It was opened on 24 May 1883; on that day 1,800 vehicles and 150,300
people crossed it. Its designer John Augustus Roebling was born in 1806 and died in 1869, before the work began; his son
Washington Roebling took it over. The main span is 486 metres long.

## Forth Bridge

The Forth Bridge in Scotland was opened on 4 March 1890. Its steel weighs about 53,000 tonnes and is held by 6.5 million
rivets. Each of its two main spans is 521 metres long. Painting it once took a team of 29 people.
"""),
    Document(doc_id="railways", title="Railways and their speeds", text="""# Railways and their speeds

The Liverpool and Manchester Railway was opened on 15 September 1830. The Rocket of George Stephenson had won the trials at
Rainhill in October 1829, with 47 km/h at most.

| Train | Country | Year of first service | Highest speed in service |
| --- | --- | --- | --- |
| Shinkansen 0 | Japan | 1964 | 210 km/h |
| TGV Sud-Est | France | 1981 | 270 km/h |
| ICE 1 | Germany | 1991 | 280 km/h |
| Fuxing | China | 2017 | 350 km/h |

A sleeper of oak weighs about 80 kg and lasts some 25 years. A kilometre of single track takes 1,640 sleepers.
"""),
    Document(doc_id="telescopes", title="Telescopes", text="""# Telescopes

Galileo turned his telescope on Jupiter in January 1610 and found four moons. William Herschel found Uranus on 13 March 1781,
from his garden in Bath. Neptune was found by Johann Galle in Berlin on 23 September 1846, after a computation by Le Verrier.

The Hubble Space Telescope was launched on 24 April 1990. Its mirror measures 2.4 metres. It circles the Earth once in about
95 minutes. The James Webb Space Telescope was launched on 25 December 2021; its mirror of 18 segments measures 6.5 metres.
"""),
    Document(doc_id="canal-zh", title="京杭大运河", text="""# 京杭大运河

隋炀帝于605年下令开凿通济渠，610年开通江南河，大运河由此贯通南北。元代改道取直，会通河于1289年凿成，通惠河于1293年凿成，漕船可以直达大都。

京杭大运河全长1794公里，流经北京、天津、河北、山东、江苏、浙江六个省市，沟通五大水系。2014年6月22日，中国大运河列入世界遗产名录。

## 郭守敬

主持开凿通惠河的郭守敬生于1231年，卒于1316年。他还编制了《授时历》，1281年颁行。
"""),
    Document(doc_id="rail-zh", title="中国铁路小史", text="""# 中国铁路小史

詹天佑主持修建的京张铁路1905年10月动工，1909年10月通车，全长约201公里。詹天佑1861年出生，1919年去世。

| 线路 | 通车年份 | 长度 |
| --- | --- | --- |
| 成渝铁路 | 1952年 | 505公里 |
| 成昆铁路 | 1970年 | 1096公里 |
| 青藏铁路（全线） | 2006年 | 1956公里 |
| 京津城际 | 2008年 | 120公里 |

复兴号动车组的一节标准车厢定员约90人，8节编组的一列车定员576人。硬座车的一排有5个座位。
"""),
    Document(doc_id="paper-zh", title="造纸与印刷", text="""# 造纸与印刷

东汉的蔡伦于105年改进造纸术，向汉和帝献纸。唐代咸通九年（868年）刻印的《金刚经》，是现存最早的标有年代的雕版印刷品。北宋毕昇在1041年至1048年间发明泥活字。

一刀宣纸有100张，四尺宣纸每张长138厘米、宽69厘米。徽墨一锭常重一两，旧制一斤等于16两。
"""),
]  # fmt: skip

HOLDOUT = [
    Task("How many years after the Iron Bridge was the Forth Bridge opened?", "109", "en"),
    Task("How old was John Augustus Roebling when he died?", "63", "en"),
    Task("How many sleepers does a single track of 12 km take?", "19680", "en"),
    Task("By how many km/h is the Fuxing faster than the Shinkansen 0?", "140", "en"),
    Task("How many years lie between the finding of Uranus and that of Neptune?", "65", "en"),
    Task("从江南河开通到会通河凿成，相隔多少年？", "679", "zh"),
    Task("郭守敬活了多少岁？", "85", "zh"),
    Task("成昆铁路比成渝铁路长多少公里？", "591", "zh"),
    Task("35刀宣纸一共有多少张？", "3500", "zh"),
    Task("蔡伦献纸之后多少年，《金刚经》刻印？", "763", "zh"),
]
