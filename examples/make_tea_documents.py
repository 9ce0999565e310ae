"""Writes the sample documents that are not plain text: two Word files and one PDF.

The texts stand below in a small subset of Markdown: headings, paragraphs, lists and tables.
Run `python examples/make_tea_documents.py [FOLDER]`; it needs python-docx and reportlab. The same versions
of these two (MADE_WITH) write the same bytes every time: no clock, host name or compressor has a part in them.
"""

# ruff: noqa: E501 (the texts keep each paragraph on one line: Chinese cannot be wrapped without a rule for joining it)

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

MADE_WITH = {"python-docx": "1.2.0", "reportlab": "5.1.0"}
PUBLISHED = datetime(2026, 11, 1)  # a constant: the clock must not reach the files
AUTHOR = "ragstone sample documents"

PUER = """
# 普洱茶：从晒青毛茶到熟茶

普洱茶是云南的地理标志产品。国家标准GB/T 22111—2008《地理标志产品 普洱茶》规定，普洱茶以地理标志保护范围内的云南大叶种晒青茶为原料，在保护范围内采用特定的加工工艺制成。按工艺和品质特征，普洱茶分为生茶和熟茶两种类型。

## 原料

云南大叶种属于阿萨姆变种，学名是Camellia sinensis var. assamica，叶片大，内含物丰富。鲜叶经过摊晾、锅炒杀青、揉捻，最后在太阳下晒干，得到的就是晒青毛茶。用日晒而不用高温烘干，是晒青茶日后还能继续转化的重要原因。

主要产区有西双版纳、普洱和临沧三地。清雍正七年（1729年）设普洱府，周边所产的茶在这里集散，普洱茶因此得名。2007年，原思茅市更名为普洱市。

## 生茶与熟茶

| 项目 | 生茶 | 熟茶 |
| --- | --- | --- |
| 关键工艺 | 晒青毛茶直接蒸压成型 | 晒青毛茶先经渥堆发酵 |
| 汤色 | 新茶黄绿明亮，久存转为橙红 | 红浓明亮 |
| 滋味 | 新茶苦涩感明显，回甘强 | 醇厚滑口 |
| 香气 | 清香、花果香，久存出陈香 | 陈香 |
| 变化 | 在贮存中缓慢转化，以年计 | 出厂时已基本完成发酵 |

## 渥堆的由来

生茶自然陈化要很多年。为了缩短时间，云南的技术人员到广东学习当地的湿水发酵方法。按通行的说法，1973年在昆明茶厂研制成功渥堆发酵工艺，随后勐海茶厂和下关茶厂也采用了这一工艺。现代意义上的普洱熟茶由此诞生。

渥堆的大致步骤：

1. 把晒青毛茶堆成约一米高的茶堆。
2. 洒水，使茶叶吸收足够的水分，并盖上湿布。
3. 微生物活动使堆温升高，通常控制在50至65℃之间。
4. 每隔一段时间翻堆一次，散热并使发酵均匀。
5. 整个过程一般需要40至60天，然后摊开晾干、筛分。

参与发酵的微生物中，黑曲霉和酵母最受研究者关注。堆温过高会“烧心”，过低则容易产生酸味，所以渥堆非常依赖师傅的经验。

## 紧压茶的形状与规格

普洱茶常压成饼、砖、沱等形状，便于运输和存放。

- 七子饼茶：每饼357克，七饼一提，合计2499克。
- 砖茶：常见的规格是250克。
- 沱茶：形状像一只碗，常见的规格是100克和250克。

## 唛号怎么读

1976年，云南省茶叶公司为了出口需要，开始用数字唛号来标示普洱茶。饼茶的唛号有四位数：前两位是配方年份，第三位是毛茶的等级，第四位是茶厂编号。

| 第四位数 | 茶厂 |
| --- | --- |
| 1 | 昆明茶厂 |
| 2 | 勐海茶厂 |
| 3 | 下关茶厂 |
| 4 | 普洱茶厂 |

例如7572表示1975年的配方、以七级毛茶为主、由勐海茶厂生产，是熟茶的代表；7542则是勐海茶厂生茶的代表。唛号里的年份是配方的年份，不是生产的年份。

## 冲泡要点

普洱茶用刚烧开的水冲泡。先用沸水快速冲洗一遍，倒掉不喝，这叫洗茶或醒茶。用盖碗泡时，5克茶配100至120毫升水，每泡10至20秒出汤，可以连续泡十次左右。
"""

JAPAN = """
# Tea in Japan

Almost all the tea grown in Japan is green tea, and nearly all of it is steamed, not pan-fired. This paper describes how tea came to Japan, how the way of tea took shape, and how the main kinds of Japanese tea are made.

## How tea came to Japan

Japanese monks who had studied in China brought tea home in the early ninth century. A chronicle records that in 815 the monk Eichu served tea to Emperor Saga. The custom then faded for a long time.

It returned with the Zen monk Eisai, who came back from Song China in 1191 with tea seeds and with the Chinese way of whisking powdered tea. In 1211 he wrote Kissa Yojoki, Japan's first book on tea. In 1214 he presented a copy to the shogun Minamoto no Sanetomo. Powdered tea later disappeared from daily life in China, but in Japan it has been drunk without a break.

## The way of tea

The tea gathering, called chanoyu, was shaped by three masters in turn. Murata Juko preferred a small, plain room to the display of costly Chinese wares. Takeno Joo deepened this taste for simplicity, known as wabi. His pupil Sen no Rikyu, who lived from 1522 to 1591, gave chanoyu the form that is still taught.

Rikyu served the two most powerful men of his age, Oda Nobunaga and Toyotomi Hideyoshi. In 1587 he took part in Hideyoshi's great tea gathering at Kitano in Kyoto, to which people of every rank were invited. In 1591 Hideyoshi ordered him to take his own life; the reasons are still disputed.

Four words sum up the spirit of the gathering:

- wa, harmony
- kei, respect
- sei, purity
- jaku, tranquillity

The tea room Taian at Yamazaki, south-west of Kyoto, has a floor of only two tatami mats. It is a National Treasure and is traditionally attributed to Rikyu. Three schools go back to his great-grandsons: Omotesenke, Urasenke and Mushakojisenke.

## Matcha

Matcha is a fine powder of shaded green tea. Before the harvest the bushes are kept under cover for about 20–30 days, today mostly with black netting. In the shade the leaves stay soft and dark green and keep more theanine, which makes them taste sweet and brothy.

1. Shade the bushes for 20–30 days, then pick the young leaves.
2. Steam the leaves on the same day to stop oxidation.
3. Dry them without rolling, then remove stems and veins. The result is called tencha.
4. Grind the tencha. A traditional stone mill yields only about 40 g of matcha in an hour.

For thin tea, usucha, whisk 2 g of matcha with about 70 ml of water at 80 °C in a bowl until it foams. Thick tea, koicha, takes about twice the powder and much less water and is kneaded, not foamed.

## Other Japanese teas

| Tea | How it is made | Water | Time |
| --- | --- | --- | --- |
| Sencha | steamed, rolled into needles, grown in full sun | 70–80 °C | 1–2 minutes |
| Gyokuro | as sencha, but shaded for about 20 days | 50–60 °C | 2–3 minutes |
| Bancha | later pickings, larger leaves | 90–100 °C | about 30 seconds |
| Hojicha | bancha or stems, roasted brown | 90–100 °C | about 30 seconds |
| Genmaicha | green tea mixed with roasted rice | 90–100 °C | about 30 seconds |

The method of steaming, rolling and drying that gave sencha its bright green colour is credited to Nagatani Soen of Uji, who made it known in 1738. According to the traditional account, gyokuro followed in 1835 and was the work of the tea merchant Yamamoto Kahei.

## The Book of Tea

In 1906 Okakura Kakuzo published The Book of Tea in New York. He wrote it in English, for Western readers, while he worked for the Museum of Fine Arts in Boston. Its seven chapters treat tea less as a drink than as a way to look at art and life. Okakura divides the history of tea into three schools: boiled tea under the Tang, whipped tea under the Song and steeped tea from the Ming onwards.

## Dates at a glance

| Year | Event |
| --- | --- |
| 815 | Eichu serves tea to Emperor Saga |
| 1191 | Eisai returns from China with tea seeds |
| 1211 | Eisai writes Kissa Yojoki |
| 1522 | Birth of Sen no Rikyu |
| 1591 | Death of Sen no Rikyu |
| 1738 | Nagatani Soen makes the sencha method known |
| 1906 | The Book of Tea appears in New York |
"""

HISTORY = """
# Tea Travels the World

From the hills of south-west China to every continent: how a leaf became a trade, a tax, a quarrel and a habit.

## 1. Beginnings

A Chinese legend says that the mythical ruler Shennong discovered tea in 2737 BC, when leaves from a wild tree blew into his pot of boiling water. The date belongs to the legend and not to history. Among the oldest tea leaves found so far are some from a burial pit at the mausoleum of Emperor Jing of Han near today's Xi'an. The emperor died in 141 BC, so the leaves are about 2,100 years old; scientists identified them as tea in 2016.

### One plant, two words

Most languages call tea by one of two words, and both are Chinese. The form cha travelled mostly over land and with the Portuguese from Macau: Persian chay, Hindi and Russian chai, Portuguese chá. The form te comes from the Min dialect spoken around the port of Xiamen and travelled by sea with the Dutch: English tea, French thé, German Tee.

## 2. Tea reaches Europe

The Dutch East India Company brought the first shipments of tea to Amsterdam around 1610. In London, Thomas Garraway sold tea to the public in his coffee house in Exchange Alley in 1657. On 25 September 1660 Samuel Pepys noted in his diary that he had sent for a cup of tea, a drink he had never had before. Two years later King Charles II married the Portuguese princess Catherine of Braganza, who helped to make tea the fashion at court.

For almost two centuries the English East India Company held the monopoly of the British trade with China, and in the eighteenth century nearly all its tea came through the port of Canton. High taxes made smuggling a large business. The Commutation Act of 1784 cut the tax on tea from 119 per cent to 12.5 per cent, and smuggling collapsed. The Company lost its monopoly in the China trade in 1833, when Parliament renewed its charter without it.

## 3. The Boston Tea Party

In May 1773 the British Parliament passed the Tea Act. It let the East India Company ship tea straight to the American colonies but kept a duty that the colonists had never agreed to. In several ports the tea was sent back or locked away. In Boston the governor insisted that it be landed.

On the evening of 16 December 1773 a crowd of colonists, some of them disguised as Mohawk Indians, boarded three ships at Griffin's Wharf, the Dartmouth, the Eleanor and the Beaver, and threw 342 chests of tea into the harbour. The work took about three hours. The tea was Chinese; most of it was a black tea called Bohea.

Parliament answered in 1774 with the laws that the colonists called the Intolerable Acts, and in April 1775 the American War of Independence began.

## 4. Assam: tea native to India

In 1823 the Scottish trader Robert Bruce learned that the Singpho people of Upper Assam drank an infusion made from a plant that grew wild in their forests. He arranged with a local chief to receive plants and seeds, but died in 1824. His younger brother, Charles Alexander Bruce, carried on. At first botanists in Calcutta did not accept the samples as tea. In 1834, after the government of India had set up a Tea Committee, the plant was recognised as true tea; today it is known as Camellia sinensis var. assamica.

The first auction of Assam tea was held in London on 10 January 1839. Only eight chests were offered, and curiosity about them was great. In the same year the Assam Company was founded to grow tea on a large scale.

## 5. Robert Fortune's journeys

The Scottish botanist Robert Fortune first travelled in China from 1843 to 1846 for the Horticultural Society of London. He learned that green and black tea come from the same species and differ only in how the leaves are treated. Most Europeans had believed that they were two different plants.

From 1848 to 1851 he travelled again, now for the East India Company. Foreigners were not allowed into the tea districts, so he shaved his head, put on Chinese dress and travelled as a visitor from a distant province. He visited the green-tea country of Anhui and the Wuyi Mountains of Fujian. Living plants and germinating seeds went to India in Wardian cases, which are small sealed greenhouses of wood and glass. With them went experienced Chinese tea makers. His book A Journey to the Tea Countries of China appeared in 1852.

## 6. Darjeeling

Darjeeling, at about 2,000 metres in the foothills of the Himalaya, suits the small-leaved Chinese variety, which stands cold. Archibald Campbell, the superintendent of the station, planted seeds there in 1841 as an experiment. The government set up nurseries in 1847, and commercial gardens followed in the 1850s; the Alubari garden was opened in 1856. By 1874 there were 113 gardens.

The year in Darjeeling is divided into flushes, that is, periods of new growth:

- First flush, from March: light in colour, flowery and brisk.
- Second flush, from late May: amber, rounder, with the flavour called muscatel.
- Monsoon flush, from July to September: strong and plainer.
- Autumn flush, in October and November: copper-coloured and mild.

## 7. Ceylon and Africa

In 1867 the Scotsman James Taylor planted 19 acres, about 8 hectares, of tea on the Loolecondera estate near Kandy in Ceylon, today Sri Lanka. Two years later a leaf disease, coffee rust, appeared on the island. It ruined the coffee estates within some twenty years, and tea took their place.

In Kenya, tea was first planted at Limuru in 1903. Kenya is now one of the largest exporters of black tea.

## 8. Clippers, steam and the tea bag

The first tea of the season earned the best return, so merchants built very fast sailing ships. In the Great Tea Race of 1866 three clippers left Fuzhou on the same tide and reached London 99 days later on the same day, 6 September. The Taeping docked 28 minutes before the Ariel. Three years later, on 17 November 1869, the Suez Canal was opened. Steamers could use it and sailing ships in practice could not, so the age of the tea clippers soon came to an end. The most famous of them, the Cutty Sark, was launched in that very year.

The tea bag has two stories. Two women from Milwaukee, Roberta Lawson and Mary McLaren, applied for a patent for a tea-leaf holder of woven cotton in 1901. The traditional account, however, names the New York merchant Thomas Sullivan, who is said to have sent out samples in small silk bags around 1908 and to have been surprised when customers put the whole bag into the pot.

London remained a centre of the trade for most of the twentieth century. Its last tea auction took place on 29 June 1998.

## 9. Timeline

| Date | Event |
| --- | --- |
| c. 1610 | First Dutch shipments of tea reach Amsterdam |
| 1657 | Thomas Garraway sells tea in London |
| 25 September 1660 | Samuel Pepys drinks his first cup |
| 16 December 1773 | Boston Tea Party |
| 1784 | Commutation Act cuts the British tax on tea |
| 1823 | Robert Bruce learns of tea in Assam |
| 10 January 1839 | First auction of Assam tea in London |
| 1841 | Archibald Campbell plants tea in Darjeeling |
| 1848–1851 | Robert Fortune's journeys for the East India Company |
| 1867 | James Taylor plants tea in Ceylon |
| 17 November 1869 | The Suez Canal opens |
| 1903 | First tea planted in Kenya |
| 29 June 1998 | Last London tea auction |
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of a text: heading (with level), paragraph, bullets, steps or table. Lists hold one cell a row."""

    kind: str
    rows: tuple[tuple[str, ...], ...]
    level: int = 0

    @property
    def text(self) -> str:
        return self.rows[0][0]


def parts(text: str) -> Iterator[Part]:
    """The text's parts in order. A part is what stands between two empty lines."""
    for block in text.strip().split("\n\n"):
        lines = block.splitlines()
        first = lines[0]
        if first.startswith("#"):
            marks, _, title = first.partition(" ")
            yield Part(kind="heading", rows=((title,),), level=len(marks))
        elif first.startswith("|"):
            cells = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]
            yield Part(kind="table", rows=(cells[0], *cells[2:]))
        elif first.startswith("- "):
            yield Part(kind="bullets", rows=tuple((line[2:],) for line in lines))
        elif first.startswith("1. "):
            yield Part(kind="steps", rows=tuple((line.partition(". ")[2],) for line in lines))
        else:
            yield Part(kind="paragraph", rows=((block,),))


# ---------------------------------------------------------------- Word


TABLE_STYLE = "Light Grid Accent 3"


def docx_bytes(text: str, *, language: str) -> bytes:
    """The text as a Word file. `language` is a BCP 47 tag."""
    from docx import Document

    document = Document()
    slim(document)
    set_look(document, language)
    for number, part in enumerate(parts(text)):
        if number == 0:
            document.core_properties.title = part.text
        add_to_word(document, part)
    out = io.BytesIO()
    document.save(out)
    return plain_zip(out.getvalue())


def slim(document: Any) -> None:
    """Takes the parts of python-docx's template away that these files do not use: nine tenths of its size."""
    from docx.enum.style import WD_STYLE_TYPE

    for style in list(document.styles):
        if style.type == WD_STYLE_TYPE.TABLE and style.name not in ("Normal Table", TABLE_STYLE):
            style.delete()
    for owner, unused in ((document.part, "stylesWithEffects"), (document.part.package, "thumbnail")):
        for key in [key for key, relation in owner.rels.items() if relation.reltype.endswith(unused)]:
            owner.rels.pop(key)


def set_look(document: Any, language: str) -> None:
    from docx.oxml.ns import qn
    from docx.shared import Pt, RGBColor

    properties = document.core_properties
    properties.author, properties.language, properties.comments = AUTHOR, language, ""
    properties.created = properties.modified = PUBLISHED
    for name in ("Normal", "Title", "Heading 1", "Heading 2"):
        style = document.styles[name]
        style.font.name = "Calibri"
        fonts = style.element.get_or_add_rPr().get_or_add_rFonts()
        fonts.set(qn("w:eastAsia"), "Microsoft YaHei")
        if name != "Normal":
            style.font.color.rgb = RGBColor(0x2F, 0x5D, 0x3A)
    document.styles["Normal"].font.size = Pt(11)


def add_to_word(document: Any, part: Part) -> None:
    if part.kind == "heading":
        document.add_heading(part.text, level=part.level)
    elif part.kind == "table":
        add_word_table(document, part)
    elif part.kind == "paragraph":
        document.add_paragraph(part.text)
    else:
        style = "List Bullet" if part.kind == "bullets" else "List Number"
        for (item,) in part.rows:
            document.add_paragraph(item, style=style)


def add_word_table(document: Any, part: Part) -> None:
    table = document.add_table(rows=0, cols=len(part.rows[0]), style=TABLE_STYLE)
    for row in part.rows:
        for cell, value in zip(table.add_row().cells, row, strict=True):
            cell.text = value
    document.add_paragraph()


def plain_zip(data: bytes) -> bytes:
    """The same archive without times, host system and compression: what else may differ between two machines."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as target:
        for name in source.namelist():
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            target.writestr(entry, source.read(name))
    return out.getvalue()


# ---------------------------------------------------------------- PDF

GREEN, PALE, GREY = "#2F5D3A", "#EEF4EC", "#666666"


def pdf_bytes(text: str) -> bytes:
    """The text as a PDF of A4 pages with bookmarks. Its fonts, Bitstream Vera from reportlab, are embedded."""
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.units import mm
    from reportlab.platypus import BaseDocTemplate, Frame, PageTemplate

    register_fonts()
    content = list(parts(text))
    title = content[0].text
    out = io.BytesIO()
    template = BaseDocTemplate(
        out, pagesize=A4, title=title, author=AUTHOR, lang="en", invariant=1, pageCompression=0,
        leftMargin=25 * mm, rightMargin=25 * mm, topMargin=24 * mm, bottomMargin=24 * mm,
    )  # fmt: skip
    frame = Frame(template.leftMargin, template.bottomMargin, template.width, template.height, 0, 0, 0, 0)
    template.addPageTemplates(PageTemplate(frames=[frame], onPageEnd=page_frame(title)))
    template.build(story(content))
    return out.getvalue()


def register_fonts() -> None:
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    for name, file in (("Vera", "Vera.ttf"), ("Vera-Bold", "VeraBd.ttf")):
        pdfmetrics.registerFont(TTFont(name, file))


def page_frame(title: str) -> Callable[[Any, Any], None]:
    """What draws the running title and the page number on each page, after its text."""

    def draw(canvas: Any, template: Any) -> None:
        left, right = template.leftMargin, template.pagesize[0] - template.rightMargin
        canvas.saveState()
        canvas.setStrokeColor(GREEN)
        canvas.setLineWidth(0.6)
        canvas.line(left, 48, right, 48)
        canvas.setFont("Vera", 8)
        canvas.setFillColor(GREY)
        canvas.drawString(left, 35, title)
        canvas.drawRightString(right, 35, f"Page {canvas.getPageNumber()}")
        canvas.restoreState()

    return draw


def text_styles() -> dict[str, Any]:
    from reportlab.lib.styles import ParagraphStyle

    body = ParagraphStyle("body", fontName="Vera", fontSize=9.5, leading=14.5, spaceAfter=7)
    heading = ParagraphStyle(
        "heading", parent=body, fontName="Vera-Bold", textColor=GREEN, spaceBefore=10, keepWithNext=1
    )
    return {
        "body": body,
        "lead": ParagraphStyle("lead", parent=body, fontSize=10.5, leading=16, textColor=GREY, spaceAfter=10),
        "cell": ParagraphStyle("cell", parent=body, fontSize=9, leading=12.5, spaceAfter=0),
        "head": ParagraphStyle("head", fontName="Vera-Bold", fontSize=9, leading=12.5, textColor="white"),
        "1": ParagraphStyle("1", parent=heading, fontSize=22, leading=28, spaceBefore=0),
        "2": ParagraphStyle("2", parent=heading, fontSize=13, leading=18),
        "3": ParagraphStyle("3", parent=heading, fontSize=10.5, leading=15),
    }


def story(content: list[Part]) -> list[Any]:
    from reportlab.platypus import ListFlowable, ListItem, Paragraph, Spacer

    styles = text_styles()
    flow: list[Any] = []
    for number, part in enumerate(content):
        if part.kind == "heading":
            flow.append(bookmarked(part, styles[str(part.level)], key=f"part-{number}"))
        elif part.kind == "table":
            flow += [pdf_table(part, styles), Spacer(1, 10)]
        elif part.kind == "paragraph":
            flow.append(Paragraph(part.text, styles["lead" if number == 1 else "body"]))
        else:
            items = [ListItem(Paragraph(item, styles["body"])) for (item,) in part.rows]
            kind = "bullet" if part.kind == "bullets" else "1"
            flow.append(ListFlowable(items, bulletType=kind, bulletFontName="Vera", bulletColor=GREEN, leftIndent=14))
    return flow


def bookmarked(part: Part, style: Any, *, key: str) -> Any:
    """A heading that also stands in the PDF's outline."""
    from reportlab.platypus import Paragraph

    class Heading(Paragraph):  # type: ignore[misc]  # reportlab knows where a paragraph lands only when it is drawn
        def draw(self) -> None:
            self.canv.bookmarkPage(key)
            self.canv.addOutlineEntry(part.text, key, level=part.level - 1, closed=False)
            super().draw()

    return Heading(part.text, style)


def pdf_table(part: Part, styles: dict[str, Any]) -> Any:
    from reportlab.lib.units import mm
    from reportlab.platypus import Paragraph, Table, TableStyle

    head, *body = part.rows
    cells = [[Paragraph(cell, styles["head"]) for cell in head]]
    cells += [[Paragraph(cell, styles["cell"]) for cell in row] for row in body]
    table = Table(cells, colWidths=[46 * mm, 114 * mm], repeatRows=1)
    look = [
        ("BACKGROUND", (0, 0), (-1, 0), GREEN),
        ("ROWBACKGROUNDS", (0, 1), (-1, -1), ["white", PALE]),
        ("LINEBELOW", (0, -1), (-1, -1), 0.6, GREEN),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("TOPPADDING", (0, 0), (-1, -1), 4),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 4),
    ]
    table.setStyle(TableStyle(look))
    return table


# ---------------------------------------------------------------- the files


def documents() -> dict[str, bytes]:
    """File name to content of every generated document."""
    return {
        "puer.zh.docx": docx_bytes(PUER, language="zh-CN"),
        "japan.en.docx": docx_bytes(JAPAN, language="en"),
        "history.en.pdf": pdf_bytes(HISTORY),
    }


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent / "tea"
    for name, data in documents().items():
        (folder / name).write_bytes(data)
        print(f"{folder / name}: {len(data):,} bytes")


if __name__ == "__main__":
    main()
