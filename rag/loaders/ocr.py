"""OCR: the text of pictures, by RapidOCR (extra `ragstone[ocr]`), whose models come inside its package."""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from rag.loaders.layout import Cell, Line

_SAMPLE = 8  # lines that tell which way up a page is
_LONG_SIDE = 2000  # pixels; the detector shrinks larger pictures to it


@dataclass(slots=True)
class Reader:
    """Reads pictures of one document, up to `max_pages` of them; `n_read` counts. Used by one thread.

    before_page: called with the number of the page before each.
    """

    max_pages: int
    threads: int = 1
    before_page: Callable[[int], None] = field(default=lambda page: None)
    n_read: int = 0

    @property
    def is_full(self) -> bool:
        return self.n_read >= self.max_pages

    def lines(self, image: Any, page: int) -> list[Line]:
        """The lines on a picture, in reading order. image: uint8 array (height, width, 3), blue first.

        A page that lies on its side or stands on its head is turned. Places are scaled so that ordinary text has size 10.
        """
        self.n_read += 1
        self.before_page(page)
        engine = _engine(self.threads)
        boxes, crops = _detect(engine, image)
        if _is_on_its_side(boxes):
            image = _rotated(image, 1)
            boxes, crops = _detect(engine, image)
        if _stands_on_its_head(engine, boxes, crops):
            boxes, crops = _detect(engine, _rotated(image, 2))
        if not boxes:
            return []
        read = engine.recognize_txt(crops)
        texts = [text.strip() if score >= 0.5 else "" for text, score in zip(read.txts, read.scores, strict=True)]
        return _lines([replace(box, text=text) for box, text in zip(boxes, texts, strict=True) if text], page)


def is_installed() -> bool:
    return importlib.util.find_spec("rapidocr") is not None


def advice() -> str:
    """What to do so that pictures are read."""
    if is_installed():
        return "Set parse.ocr = auto and import it again"
    return "Install OCR with `pip install 'ragstone[ocr]'` and import it again"


@dataclass(frozen=True, slots=True)
class _Box:
    """A stretch of text; y grows downwards."""

    text: str
    x0: float
    x1: float
    y0: float
    y1: float

    @property
    def height(self) -> float:
        return self.y1 - self.y0


@cache
def _engine(threads: int) -> Any:
    """The models, loaded once per process. They run on OpenVINO, which is here for the embedding model anyway."""
    from rapidocr import EngineType, RapidOCR

    openvino = EngineType.OPENVINO
    return RapidOCR(
        params={
            "Global.log_level": "critical", "Global.max_side_len": _LONG_SIDE, "Det.engine_type": openvino,
            "Cls.engine_type": openvino, "Rec.engine_type": openvino, "EngineConfig.openvino.inference_num_threads": threads,
        }
    )  # fmt: skip


def _detect(engine: Any, image: Any) -> tuple[list[_Box], list[Any]]:
    """Where text stands, and its crops. Step by step: the engine as a whole would turn crops one by one, many wrongly."""
    from rapidocr.main import RapidOCRError

    prepared, record = engine.preprocess_img(image)
    try:
        crops, found = engine.detect_and_crop(prepared, record)
    except RapidOCRError:  # its word for a picture without text
        return [], []
    boxes = []
    for corners in found.boxes:
        xs, ys = [float(x) for x, _ in corners], [float(y) for _, y in corners]
        boxes.append(_Box("", min(xs), max(xs), min(ys), max(ys)))
    return boxes, crops


def _rotated(image: Any, turns: int) -> Any:
    """The picture after quarter turns to the left."""
    import numpy

    return numpy.ascontiguousarray(numpy.rot90(image, turns))


def _is_on_its_side(boxes: Sequence[_Box]) -> bool:
    tall = sum(box.height > 2 * (box.x1 - box.x0) for box in boxes)
    long = sum(box.x1 - box.x0 > 2 * box.height for box in boxes)
    return tall > 2 * long


def _stands_on_its_head(engine: Any, boxes: Sequence[_Box], crops: Sequence[Any]) -> bool:
    """Whether a picture must be turned round: where the classifier suspects it, its longest lines are read both ways."""
    longest = sorted(range(len(boxes)), key=lambda i: boxes[i].x0 - boxes[i].x1)[:_SAMPLE]
    if not longest:
        return False
    sample = [crops[i].copy() for i in longest]
    _, told = engine.cls_and_rotate([crop.copy() for crop in sample])
    if sum(label == "180" for label, _ in told.cls_res) <= 0.15 * len(sample):
        return False
    upright, turned = (
        statistics.fmean(engine.recognize_txt(lines).scores)
        for lines in (sample, [_rotated(crop, 2) for crop in sample])
    )
    return bool(turned > upright)


def _lines(boxes: Sequence[_Box], page: int) -> list[Line]:
    """Boxes on one base line make a line, from left to right; wide gaps part it into cells."""
    if not boxes:
        return []
    usual = statistics.median(box.height for box in boxes) or 1.0
    scale = 10 / usual
    rows: list[list[_Box]] = []
    for box in sorted(boxes, key=lambda box: (box.y0 + box.y1) / 2):
        middle = (box.y0 + box.y1) / 2
        if rows and abs(middle - statistics.fmean((one.y0 + one.y1) / 2 for one in rows[-1])) < 0.5 * min(
            box.height, rows[-1][-1].height
        ):
            rows[-1].append(box)
        else:
            rows.append([box])
    lines = []
    for row in rows:
        row.sort(key=lambda box: box.x0)
        cells: list[Cell] = []
        for box in row:
            cell = Cell(box.text, box.x0 * scale, box.x1 * scale)
            if cells and cell.x0 - cells[-1].x1 < 10:
                before = cells.pop()
                cell = Cell(f"{before.text} {cell.text}", before.x0, cell.x1)
            cells.append(cell)
        height = statistics.median(box.height for box in row)
        lines.append(
            Line(
                " ".join(cell.text for cell in cells),
                page,
                x0=cells[0].x0,
                x1=cells[-1].x1,
                top=-min(box.y0 for box in row) * scale,
                bottom=-max(box.y1 for box in row) * scale,
                size=10.0 if height < 1.45 * usual else round(2 * height / usual) * 5.0,
                cells=tuple(cells) if len(cells) > 1 else (),
            )  # fmt: skip
        )
    return lines
