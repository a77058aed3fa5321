"""Pictures of a report, as SVG that stands in a page by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

WIDTH, HEIGHT = 760, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 20, 16, 40
# Okabe and Ito's palette, which colour-blind people tell apart ("Color Universal Design", 2008).
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#b8a800")
_SCALE = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
"""Five colours of viridis (matplotlib)."""


@dataclass(frozen=True)
class Curve:
    """A line, with a band around it where ``low`` and ``high`` differ.

    Attributes:
        name: What the legend calls it.
        x: Places, ascending.
        y: A value per place; NaN where there is none.
        low: Lower end of the band at each place.
        high: Upper end.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


@dataclass(frozen=True)
class Axis:
    """An axis of parallel coordinates: a name and a value per line, numbers or anything else."""

    name: str
    values: Sequence[Any]


def line_chart(curves: Sequence[Curve], x_label: str, y_label: str) -> str:
    """Return a chart of ``curves`` with a legend below it; an empty string if no value is a number."""
    xs = [x for curve in curves for x in curve.x]
    ys = [y for curve in curves for y in (*curve.y, *curve.low, *curve.high) if math.isfinite(y)]
    if not ys:
        return ""
    across = _Range(min(xs), max(xs), _LEFT, WIDTH - _RIGHT)
    down = _Range(min(ys), max(ys), HEIGHT - _BOTTOM, _TOP)
    parts = [_grid(across, down, x_label, y_label)]
    for number, curve in enumerate(curves):
        color = PALETTE[number % len(PALETTE)]
        known = [
            point for point in zip(curve.x, curve.low, curve.high, curve.y, strict=True) if math.isfinite(point[3])
        ]
        upper = [f"{across(x):.1f},{down(high):.1f}" for x, _, high, _ in known]
        lower = [f"{across(x):.1f},{down(low):.1f}" for x, low, _, _ in reversed(known)]
        line = [f"{across(x):.1f},{down(y):.1f}" for x, _, _, y in known]
        name = f"<title>{escape(curve.name)}</title>"
        parts.append(f'<polygon points="{" ".join(upper + lower)}" fill="{color}" opacity="0.15"/>')
        parts.append(
            f'<polyline points="{" ".join(line)}" fill="none" stroke="{color}" stroke-width="1.8">{name}</polyline>'
        )
        if len(line) == 1:
            parts.append(f'<circle cx="{line[0].split(",")[0]}" cy="{line[0].split(",")[1]}" r="3" fill="{color}"/>')
    legend = "".join(
        f'<li><span style="background:{PALETTE[number % len(PALETTE)]}"></span>{escape(curve.name)}</li>'
        for number, curve in enumerate(curves)
    )
    return f'{_svg(parts)}<ul class="legend">{legend}</ul>'


def parallel_coordinates(axes: Sequence[Axis], colors: Sequence[float]) -> str:
    """Return a picture with a line per trial across ``axes``, from blue to yellow by ``colors`` (numbers or NaN)."""
    finite = [color for color in colors if math.isfinite(color)]
    if not finite or len(axes) < 2:
        return ""
    scale = _Range(min(finite), max(finite), 0.0, 1.0)
    gap = (WIDTH - 2 * _LEFT) / (len(axes) - 1)
    scaled = [_places(axis.values) for axis in axes]
    parts = []
    for line in sorted(
        range(len(colors)), key=lambda index: colors[index] if math.isfinite(colors[index]) else -math.inf
    ):
        if not math.isfinite(colors[line]):
            continue
        points = " ".join(f"{_LEFT + place * gap:.1f},{at[line]:.1f}" for place, (at, _) in enumerate(scaled))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{_color(scale(colors[line]))}" opacity="0.7"/>')
    for place, (axis, (_, ticks)) in enumerate(zip(axes, scaled, strict=True)):
        x = _LEFT + place * gap
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP + 14}" y2="{HEIGHT - _BOTTOM}" stroke="#444"/>')
        parts.append(f'<text x="{x:.1f}" y="{_TOP}" text-anchor="middle" font-weight="bold">{escape(axis.name)}</text>')
        for at, label in ticks:
            parts.append(f'<text x="{x + 4:.1f}" y="{at + 4:.1f}" class="halo">{escape(label)}</text>')
    return _svg(parts)


@dataclass(frozen=True)
class _Range:
    """A linear map from values to places."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return self.start + share * (self.end - self.start)


def _places(values: Sequence[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """Return where each value stands on an axis, and the ticks; values that are no numbers stand apart evenly."""
    top, bottom = _TOP + 18, HEIGHT - _BOTTOM - 4
    numbers = [float(value) for value in values if _is_number(value)]
    if len(numbers) == len(values) and numbers:
        logarithmic = min(numbers) > 0 and max(numbers) >= 30 * min(numbers)
        bent = [math.log(number) if logarithmic else number for number in numbers]
        where = _Range(min(bent), max(bent), bottom, top)
        distinct = sorted(set(numbers))
        shown = (
            distinct if len(distinct) <= 6 else [distinct[round(index * (len(distinct) - 1) / 4)] for index in range(5)]
        )
        return [where(value) for value in bent], [
            (where(math.log(number) if logarithmic else number), f"{number:.4g}") for number in shown
        ]
    names = sorted({str(value) for value in values})
    where = _Range(0, len(names) - 1, bottom, top)
    order = {name: where(index) for index, name in enumerate(names)}
    return [order[str(value)] for value in values], [(at, name.rpartition(".")[2]) for name, at in order.items()]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _grid(across: _Range, down: _Range, x_label: str, y_label: str) -> str:
    parts = []
    for tick in _ticks(down.low, down.high):
        y = down(tick)
        parts.append(f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:.4g}</text>')
    for tick in _ticks(across.low, across.high):
        parts.append(f'<text x="{across(tick):.1f}" y="{HEIGHT - _BOTTOM + 16}" text-anchor="middle">{tick:.4g}</text>')
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>')
    parts.append(f'<text x="{_LEFT}" y="11">{escape(y_label)}</text>')
    return "".join(parts)


def _ticks(low: float, high: float) -> list[float]:
    """Return four to eight round numbers from ``low`` to ``high``."""
    if high <= low:
        return [low]
    step = 10 ** math.floor(math.log10((high - low) / 4))
    step = next(step * factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 8)
    return [number * step for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _color(share: float) -> str:
    place = min(max(share, 0.0), 1.0) * (len(_SCALE) - 1)
    index = min(int(place), len(_SCALE) - 2)
    mixed = (round(a + (b - a) * (place - index)) for a, b in zip(_SCALE[index], _SCALE[index + 1], strict=True))
    return "#{:02x}{:02x}{:02x}".format(*mixed)


def _svg(parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-size="11" '
        f'font-family="sans-serif">{"".join(parts)}</svg>'
    )
