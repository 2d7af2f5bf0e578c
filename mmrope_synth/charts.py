"""Charts drawn with matplotlib's Agg renderer, and questions about them with exact answers.

The renderer is driven directly: a figure with axes takes 70 ms, mostly for layout, and training needs thousands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from random import Random
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mmrope_synth.core import Difficulty, Pixels, Side, between, chance, draw_for, pick, some
from mmrope_synth.sample import Draw, Sample
from mmrope_synth.scenes import COLORS

if TYPE_CHECKING:
    from matplotlib.backends.backend_agg import RendererAgg

LABELS: Final = ("tea", "ham", "egg", "nut", "pie", "jam", "oil", "fig", "bun", "cod", "rye", "oat")
KINDS: Final = ("bar", "bar", "hbar", "line", "pie")
INK: Final = (30, 30, 30)
TOP: Final = 100
"""The largest value a chart can show."""


class Words(NamedTuple):
    """A text in a picture: the words, the middle in pixels, the font size in points, RGB."""

    text: str
    x: float
    y: float
    points: float
    ink: tuple[int, int, int] = INK


@dataclass(frozen=True)
class Chart:
    """The table behind a chart. Values are multiples of 5 (of 10 in a pie, which adds up to 100)."""

    kind: str
    labels: tuple[str, ...]
    values: tuple[int, ...]
    colors: tuple[str, ...]
    labelled: bool
    """Whether every value is printed; otherwise it must be read off the axis, and is a multiple of 10."""
    size: int

    def value(self, label: str) -> int:
        """The value of one mark."""
        return self.values[self.labels.index(label)]


# --------------------------------------------------------------------------------------------------------------
# Drawing


class Canvas:
    """A white picture that lines, polygons and text are drawn on, with (0, 0) at the top left."""

    def __init__(self, size: int) -> None:
        from matplotlib.transforms import IdentityTransform

        self.size = size
        self._renderer = _renderer(size)
        self._renderer.clear()
        self._identity = IdentityTransform()

    def polygon(self, points: Sequence[tuple[float, float]], color: Sequence[int], width: float = 0.0) -> None:
        """Fill a polygon, or stroke an open line of the given width."""
        from matplotlib.path import Path

        rgb = (color[0] / 255, color[1] / 255, color[2] / 255)
        gc = self._renderer.new_gc()
        gc.set_linewidth(width)
        gc.set_foreground(rgb)
        path = Path([(x, self.size - y) for x, y in points], closed=width == 0)
        self._renderer.draw_path(gc, path, self._identity, None if width else (*rgb, 1.0))
        gc.restore()

    def rectangle(self, left: float, top: float, right: float, bottom: float, color: Sequence[int]) -> None:
        """Fill a rectangle."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)], color)

    def pixels(self, texts: Sequence[Words]) -> Pixels:
        """The picture, with texts put on top."""
        picture = np.asarray(self._renderer.buffer_rgba())[..., :3].astype(np.float32)
        for words in texts:
            alpha = text_mask(words.text, words.points)
            height, width = alpha.shape
            left = min(max(0, round(words.x) - width // 2), self.size - width)
            top = min(max(0, round(words.y) - height // 2), self.size - height)
            view = picture[top : top + height, left : left + width]
            view += alpha[..., None] * (np.asarray(words.ink, np.float32) - view)
        return picture.astype(np.uint8)


@lru_cache(maxsize=4)
def _renderer(size: int) -> RendererAgg:
    from matplotlib.backends.backend_agg import RendererAgg

    return RendererAgg(size, size, 72)


@lru_cache(maxsize=2048)
def text_mask(words: str, points: float) -> npt.NDArray[np.float32]:
    """How much of each pixel matplotlib's text covers, cut to its ink, in [0, 1]."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties

    width, height = int(len(words) * points + 8), int(points * 2 + 4)
    renderer = RendererAgg(width, height, 72)
    gc = renderer.new_gc()
    renderer.draw_text(gc, 3, round(points * 1.4), words, FontProperties(family="DejaVu Sans", size=points), 0)
    gc.restore()
    alpha = (np.asarray(renderer.buffer_rgba())[..., 3] / 255).astype(np.float32)
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    return alpha[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def render(chart: Chart) -> Pixels:
    """The picture of a chart."""
    canvas = Canvas(chart.size)
    canvas.rectangle(0, 0, chart.size, chart.size, (255, 255, 255))
    draw: dict[str, Callable[[Chart, Canvas], list[Words]]] = {
        "bar": _bars, "line": _line, "hbar": _horizontal_bars, "pie": _pie,
    }  # fmt: skip
    return canvas.pixels(draw[chart.kind](chart, canvas))


def _frame(chart: Chart, canvas: Canvas) -> tuple[float, float, Callable[[float], float], list[Words]]:
    """Axis, grid lines and tick labels; gives the left edge, the column width, value -> y, and the texts."""
    size = chart.size
    bottom, top, left = size * 0.86, size * 0.10, size * (0.08 if chart.labelled else 0.2)

    def height(value: float) -> float:
        return bottom - (bottom - top) * value / TOP

    texts: list[Words] = []
    if not chart.labelled:
        for tick in range(0, TOP + 1, 10):
            shade = (150, 150, 150) if tick % 20 == 0 else (222, 222, 222)
            canvas.polygon([(left, height(tick)), (size - 2, height(tick))], shade, 0.8)
            if tick % 20 == 0:
                texts.append(Words(str(tick), left * 0.5, height(tick), size / 14))
    canvas.polygon([(left, top), (left, bottom), (size - 2, bottom)], INK, 1.0)
    return left, (size - left - 2) / len(chart.labels), height, texts


def _bars(chart: Chart, canvas: Canvas) -> list[Words]:
    left, step, height, texts = _frame(chart, canvas)
    for i, (label, value, color) in enumerate(zip(chart.labels, chart.values, chart.colors, strict=True)):
        middle = left + step * (i + 0.5)
        canvas.rectangle(middle - step * 0.33, height(value), middle + step * 0.33, height(0), COLORS[color])
        texts += _mark(chart, label, value, middle, height(value))
    return texts


def _line(chart: Chart, canvas: Canvas) -> list[Words]:
    left, step, height, texts = _frame(chart, canvas)
    points = [(left + step * (i + 0.5), height(value)) for i, value in enumerate(chart.values)]
    canvas.polygon(points, COLORS[chart.colors[0]], 1.6)
    for (x, y), label, value in zip(points, chart.labels, chart.values, strict=True):
        canvas.rectangle(x - 2.5, y - 2.5, x + 2.5, y + 2.5, COLORS[chart.colors[0]])
        texts += _mark(chart, label, value, x, y)
    return texts


def _mark(chart: Chart, label: str, value: int, x: float, y: float) -> list[Words]:
    crowded = len(chart.labels) > 4 and not chart.labelled
    below = Words(label, x, chart.size * 0.93, chart.size / (14 if crowded else 12.5))
    above = Words(str(value), x, y - chart.size * (0.07 if chart.kind == "line" else 0.05), chart.size / 12)
    return [below, above] if chart.labelled else [below]


def _horizontal_bars(chart: Chart, canvas: Canvas) -> list[Words]:
    size = chart.size
    left, right, step = size * 0.3, size * 0.84, size * 0.94 / len(chart.labels)
    texts: list[Words] = []
    for i, (label, value, color) in enumerate(zip(chart.labels, chart.values, chart.colors, strict=True)):
        y = size * 0.03 + step * (i + 0.5)
        end = left + (right - left) * value / TOP
        canvas.rectangle(left, y - step * 0.32, end, y + step * 0.32, COLORS[color])
        texts.append(Words(label, left * 0.48, y, size / 11))
        texts.append(Words(str(value), end + size * 0.08, y, size / 12))
    canvas.polygon([(left, size * 0.03), (left, size * 0.97)], INK, 1.0)
    return texts


def _pie(chart: Chart, canvas: Canvas) -> list[Words]:
    size, start = chart.size, 0.0
    center, radius = size / 2, size * 0.47
    texts: list[Words] = []
    for label, value, color in zip(chart.labels, chart.values, chart.colors, strict=True):
        angles = np.linspace(start, start + value / 100, max(3, value)) * 2 * np.pi
        rim = [(center + radius * float(np.sin(a)), center - radius * float(np.cos(a))) for a in angles]
        canvas.polygon([(center, center), *rim, (center, center)], COLORS[color])
        middle = (start + value / 200) * 2 * np.pi
        x, y = center + radius * 0.66 * float(np.sin(middle)), center - radius * 0.66 * float(np.cos(middle))
        ink = INK if color in ("yellow", "orange") else (255, 255, 255)
        texts.append(Words(label, x, y - size * 0.05, size / 12, ink))
        texts.append(Words(f"{value}%", x, y + size * 0.05, size / 13, ink))
        start += value / 100
    return texts


# --------------------------------------------------------------------------------------------------------------
# Inventing and asking


def random_chart(rng: Random, difficulty: Difficulty) -> Chart:
    """A chart whose values all differ, so that every comparison has one answer."""
    kind = pick(rng, KINDS)
    low, high = difficulty.chart_bars
    count = min(between(rng, (low, high)), 4) if kind == "pie" else between(rng, (low, high))
    labelled = kind in ("hbar", "pie") or chance(rng, difficulty.chart_labelled_share)
    if kind == "pie":
        values = _parts_of_hundred(rng, count)
    else:
        values = some(rng, range(5, TOP, 5) if labelled else range(10, TOP, 10), count)
    varied = kind == "pie" or (kind != "line" and chance(rng, 0.5))
    colors = some(rng, tuple(COLORS), count) if varied else [pick(rng, tuple(COLORS))] * count
    return Chart(kind, tuple(some(rng, LABELS, count)), tuple(values), tuple(colors), labelled, difficulty.image_size)


def _parts_of_hundred(rng: Random, count: int) -> list[int]:
    while True:
        cuts = sorted(some(rng, range(10, 100, 10), count - 1))
        parts = [b - a for a, b in zip([0, *cuts], [*cuts, 100], strict=True)]
        if len(set(parts)) == count:
            return parts


@dataclass(frozen=True)
class Question:
    """A question about a chart; `args` are labels or a threshold. `answer` computes it from the table."""

    kind: str
    text: str
    args: tuple[Any, ...]


ANSWERS: Final[dict[str, Callable[..., str]]] = {
    "value": lambda chart, label: f"{chart.value(label)}{'%' if chart.kind == 'pie' else ''}",
    "highest": lambda chart: chart.labels[chart.values.index(max(chart.values))],
    "lowest": lambda chart: chart.labels[chart.values.index(min(chart.values))],
    "difference": lambda chart, a, b: str(abs(chart.value(a) - chart.value(b))),
    "sum": lambda chart, a, b: str(chart.value(a) + chart.value(b)),
    "above": lambda chart, limit: str(sum(value > limit for value in chart.values)),
    "count": lambda chart: str(len(chart.labels)),
    "compare": lambda chart, a, b: "Yes" if chart.value(a) > chart.value(b) else "No",
    "color": lambda chart, label: chart.colors[chart.labels.index(label)],
}


def answer(chart: Chart, question: Question) -> str:
    """The right answer, from the table."""
    return ANSWERS[question.kind](chart, *question.args)


def questions(chart: Chart, rng: Random) -> list[Question]:
    """One question of every kind that the chart allows."""
    a, b = some(rng, chart.labels, 2)
    unit = "percentage" if chart.kind == "pie" else "value"
    limit = pick(rng, [v for v in range(5, 96, 10 if chart.labelled else 20) if v not in chart.values])
    chart_questions = [
        Question("value", f"What is the {unit} of {a}?", (a,)),
        Question("highest", f"Which one has the highest {unit}?", ()),
        Question("lowest", f"Which one has the lowest {unit}?", ()),
        Question("difference", f"What is the difference between {a} and {b}?", (a, b)),
        Question("sum", f"What is the sum of {a} and {b}?", (a, b)),
        Question("above", f"How many are above {limit}?", (limit,)),
        Question("count", "How many items are shown?", ()),
        Question("compare", f"Is the {unit} of {a} greater than {b}?", (a, b)),
    ]
    if len(set(chart.colors)) == len(chart.colors):
        chart_questions.append(Question("color", f"What is the color of {a}?", (a,)))
    return chart_questions


def draw_chartqa(rng: Random, difficulty: Difficulty, side: Side, serial: int) -> list[Sample]:
    """One chart with a reading question (augmented) and a reasoning question (human)."""
    chart = draw_for(side, partial(random_chart, rng, difficulty))
    picture = render(chart)
    asked = questions(chart, rng)
    reading = pick(rng, [q for q in asked if q.kind in ("value", "highest", "lowest")])
    reasoning = pick(rng, [q for q in asked if q.kind not in ("value", "highest", "lowest")])
    return [
        Sample(
            column="chartqa",
            kind=f"{chart.kind}-{question.kind}",
            row={"type": kind, "question": question.text, "answer": answer(chart, question)},
            answer=answer(chart, question),
            proof=partial(answer, chart, question),
            group=f"chartqa/{serial}",
            images={"image": picture},
        )
        for kind, question in (("augmented_test", reading), ("human_test", reasoning))
    ]


CHARTS: Final[dict[str, Draw]] = {"chartqa": draw_chartqa}
