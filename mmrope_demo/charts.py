"""Bar, line and pie charts drawn from known numbers, with ChartQA's two kinds of question about each."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

SIZE = (560, 400)
_LEFT, _TOP, _RIGHT, _BOTTOM = 70, 60, 530, 340
_COLOURS = ("#2f5d8a", "#d9822b", "#5b8c5a", "#8c4a6b", "#b7a23f")
_INK, _GREY = "#333333", "#cccccc"


@dataclass(frozen=True)
class Chart:
    """A chart and its questions; each question is (kind, question, answer), kind being "human" or "augmented"."""

    name: str
    form: str
    title: str
    labels: tuple[str, ...]
    series: tuple[tuple[str, tuple[float, ...]], ...]
    questions: tuple[tuple[str, str, str], ...]


CHARTS = (
    Chart("rainfall", "bar", "Rainfall by month in millimetres", ("Jan", "Feb", "Mar", "Apr", "May"),
          (("Rainfall", (48, 36, 52, 61, 74)),),
          (("human", "Which month had the least rainfall?", "Feb"),
           ("human", "How much more rain fell in May than in January?", "26"),
           ("augmented", "What was the rainfall in millimetres in April?", "61"))),
    Chart("energy", "barh", "Share of electricity by source, in %", ("Wind", "Solar", "Hydro", "Gas", "Coal"),
          (("Share", (31, 14, 9, 27, 19)),),
          (("human", "Is the share of wind larger than that of gas?", "Yes"),
           ("human", "What is the sum of wind and solar?", "45"),
           ("augmented", "What percentage of electricity came from hydro?", "9"))),
    Chart("library", "line", "Library visitors, in thousands", ("2018", "2019", "2020", "2021", "2022", "2023"),
          (("Visitors", (82, 88, 34, 41, 67, 79)),),
          (("human", "In which year was the number of visitors the lowest?", "2020"),
           ("human", "What is the difference between 2019 and 2020?", "54"),
           ("augmented", "How many thousand visitors did the library have in 2022?", "67"))),
    Chart("trains", "grouped", "Trains on time, in %", ("North", "South", "East", "West"),
          (("2022", (88, 79, 91, 72)), ("2023", (90, 84, 86, 77))),
          (("human", "In which region did the share fall from 2022 to 2023?", "East"),
           ("human", "What colour are the bars of 2023?", "Orange"),
           ("augmented", "What share of trains was on time in the South in 2023?", "84"))),
    Chart("prices", "line", "Price of a loaf and a litre of milk", ("2019", "2020", "2021", "2022", "2023"),
          (("Bread", (2.1, 2.2, 2.3, 2.8, 3.1)), ("Milk", (0.9, 0.9, 1.0, 1.2, 1.1))),
          (("human", "Which of the two rose in every year?", "Bread"),
           ("augmented", "What was the price of milk in 2022?", "1.2"),
           ("augmented", "What was the price of bread in 2023?", "3.1"))),
    Chart("budget", "pie", "How the town spends its budget, in %", ("Schools", "Roads", "Parks", "Culture"),
          (("Share", (42, 30, 16, 12)),),
          (("human", "What takes the largest part of the budget?", "Schools"),
           ("human", "How many times as large is the share of schools as that of roads?", "1.4"),
           ("augmented", "What percentage of the budget goes to parks?", "16"))),
)  # fmt: skip


def png(chart: Chart) -> bytes:
    """The chart as an encoded picture, 560x400; the same bytes each time for one version of Pillow."""
    image = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(image)
    draw.text((SIZE[0] / 2, 18), chart.title, fill=_INK, font=_font(18), anchor="ma")
    forms: dict[str, Callable[[ImageDraw.ImageDraw, Chart], None]] = {
        "bar": _bars, "grouped": _bars, "barh": _horizontal_bars, "line": _lines, "pie": _pie}  # fmt: skip
    forms[chart.form](draw, chart)
    if len(chart.series) > 1:
        _legend(draw, [name for name, _ in chart.series], 200)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _scale(chart: Chart) -> tuple[float, float]:
    """(step between grid lines, top of the axis)."""
    highest = max(max(values) for _, values in chart.series)
    step = next(s for s in (0.5, 1, 2, 5, 10, 20, 50, 100) if highest / s <= 7)
    return step, step * math.ceil(highest / step)


def _grid(draw: ImageDraw.ImageDraw, step: float, top: float) -> Callable[[float], float]:
    """Draw horizontal grid lines; returns the map from a value to its y coordinate."""

    def y(value: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * value / top

    for line in range(round(top / step) + 1):
        draw.line([(_LEFT, y(line * step)), (_RIGHT, y(line * step))], fill=_GREY)
        draw.text((_LEFT - 8, y(line * step)), f"{line * step:g}", fill=_INK, font=_font(13), anchor="rm")
    return y


def _bars(draw: ImageDraw.ImageDraw, chart: Chart) -> None:
    y = _grid(draw, *_scale(chart))
    slot = (_RIGHT - _LEFT) / len(chart.labels)
    width = slot * 0.7 / len(chart.series)
    for place, label in enumerate(chart.labels):
        left = _LEFT + slot * (place + 0.15)
        for number, (_, values) in enumerate(chart.series):
            box = [left + number * width, y(values[place]), left + (number + 1) * width - 2, _BOTTOM]
            draw.rectangle(box, fill=_COLOURS[number])
            draw.text((box[0] + width / 2, box[1] - 2), f"{values[place]:g}", fill=_INK, font=_font(13), anchor="mb")
        draw.text((left + slot * 0.35, _BOTTOM + 8), label, fill=_INK, font=_font(14), anchor="ma")


def _horizontal_bars(draw: ImageDraw.ImageDraw, chart: Chart) -> None:
    _, top = _scale(chart)
    slot = (_BOTTOM - _TOP) / len(chart.labels)
    for place, (label, value) in enumerate(zip(chart.labels, chart.series[0][1], strict=True)):
        middle = _TOP + slot * (place + 0.5)
        end = _LEFT + (_RIGHT - _LEFT) * value / top
        draw.rectangle([_LEFT, middle - slot * 0.35, end, middle + slot * 0.35], fill=_COLOURS[0])
        draw.text((_LEFT - 8, middle), label, fill=_INK, font=_font(14), anchor="rm")
        draw.text((end - 6, middle), f"{value:g}%", fill="white", font=_font(14), anchor="rm")


def _lines(draw: ImageDraw.ImageDraw, chart: Chart) -> None:
    y = _grid(draw, *_scale(chart))
    slot = (_RIGHT - _LEFT) / len(chart.labels)
    for number, (_, values) in enumerate(chart.series):
        points = [(_LEFT + slot * (place + 0.5), y(value)) for place, value in enumerate(values)]
        draw.line(points, fill=_COLOURS[number], width=3)
        for (x, height), value in zip(points, values, strict=True):
            draw.ellipse([x - 4, height - 4, x + 4, height + 4], fill=_COLOURS[number])
            draw.text((x, height - 8), f"{value:g}", fill=_INK, font=_font(13), anchor="mb")
    for place, label in enumerate(chart.labels):
        draw.text((_LEFT + slot * (place + 0.5), _BOTTOM + 8), label, fill=_INK, font=_font(14), anchor="ma")


def _pie(draw: ImageDraw.ImageDraw, chart: Chart) -> None:
    (_, values), *_ = chart.series
    centre, radius, start = (SIZE[0] / 2, 205), 135, -90.0
    for number, value in enumerate(values):
        sweep = 360 * value / sum(values)
        box = [centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius]
        draw.pieslice(box, start, start + sweep, fill=_COLOURS[number], outline="white")
        angle = math.radians(start + sweep / 2)
        spot = (centre[0] + radius * 0.65 * math.cos(angle), centre[1] + radius * 0.65 * math.sin(angle))
        draw.text(spot, f"{value:g}%", fill="white", font=_font(15), anchor="mm")
        start += sweep
    _legend(draw, chart.labels, 60)


def _legend(draw: ImageDraw.ImageDraw, names: list[str] | tuple[str, ...], left: int) -> None:
    for number, name in enumerate(names):
        x = left + number * 120
        draw.rectangle([x, 370, x + 14, 384], fill=_COLOURS[number])
        draw.text((x + 20, 377), name, fill=_INK, font=_font(14), anchor="lm")
