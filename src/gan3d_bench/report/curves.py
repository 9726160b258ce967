"""Curves of a metric over an angle, as SVG that follows the page's colours. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from gan3d_bench.benchmarks.formats import heading
from gan3d_bench.benchmarks.results import Estimate, Result
from gan3d_bench.benchmarks.table import Table
from gan3d_bench.spec import Column

WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 12, 44
LARGEST_ANGLE = 1e6
SMALLEST_SPAN = 1e-300  # of an axis; what is smaller has no logarithm
COLOURS = 8  # classes s0 ... s7 of the page's style


@dataclass(frozen=True)
class Point:
    """A metric at `x`. Not `whole` where some items could not be compared and are left out."""

    x: float
    y: Estimate
    whole: bool


@dataclass(frozen=True)
class Series:
    """One row's curve, by ascending x."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Curve:
    """One metric over one axis ("yaw"; "" if it has no name), for all rows that have it."""

    label: str
    axis: str
    series: Sequence[Series]

    @property
    def svg(self) -> Markup:
        """The drawing; error bars are standard errors."""
        return draw(self)


def curves(table: Table) -> list[Curve]:
    """Return the curves in a table's results: values called ``metric@x`` or ``metric@axis=x``.

    Each point is a mean over the table's items. Where a row has numbers for some items only, its
    point is the mean over these and not `Point.whole`.
    """
    keys: dict[tuple[str, str], dict[float, str]] = {}
    for result in table.results:
        for key in result.values:
            metric, marked, place = key.partition("@")
            axis, _, x = place.rpartition("=")
            if marked and _is_angle(x):
                keys.setdefault((metric, axis), {})[float(x)] = key
    columns = {column.metric: column for column in table.columns}
    order = [line.row for line in table.lines]
    results = sorted(table.results, key=lambda result: order.index(result.row))
    found = []
    for (metric, axis), places in keys.items():
        column = columns.get(metric, Column(metric, metric))
        label = heading(table, column) if metric in columns else metric
        series = [_series(table, result, places) for result in results]
        series = [one for one in series if one.points]
        if series and len(places) > 1:
            found.append(Curve(label, axis, series))
    return found


def _is_angle(text: str) -> bool:
    try:
        return abs(float(text)) <= LARGEST_ANGLE
    except ValueError:
        return False


def _series(table: Table, result: Result, places: dict[float, str]) -> Series:
    points = []
    for x, key in sorted(places.items()):
        if key in result.values:
            values = result.at(key, table.items)
            known = [value for value in values if not math.isnan(value)]
            if known:
                points.append(Point(x, Estimate.over(known), len(known) == len(values)))
    several = [other.row for other in table.results].count(result.row) > 1
    return Series(f"{result.row} ({result.run})" if several else result.row, points)


def draw(curve: Curve) -> Markup:
    """Return a curve's SVG. Colours are classes; hollow marks are points that are not whole."""
    points = [point for series in curve.series for point in series.points]
    xs = [point.x for point in points]
    ys = [point.y.mean + side * _bar(point) for point in points for side in (-1, 1)]
    x_range, y_range = (min(xs), max(xs)), (min(ys), max(ys))

    def place_x(x: float) -> float:
        return LEFT + 8 + (WIDTH - LEFT - RIGHT - 16) * _share(x, *x_range)

    def place_y(y: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * _share(y, *y_range)

    parts = []
    for tick in ticks(*y_range, 6):
        y = place_y(tick)
        parts.append(_line("grid", LEFT, y, WIDTH - RIGHT, y))
        parts.append(_text(LEFT - 6, y + 4, "end", f"{tick:g}"))
    for tick in ticks(*x_range, 9):
        x = place_x(tick)
        parts.append(_line("grid", x, HEIGHT - BOTTOM, x, HEIGHT - BOTTOM + 4))
        parts.append(_text(x, HEIGHT - BOTTOM + 18, "middle", f"{tick:g}"))
    unit = f"{curve.axis} (degrees)" if curve.axis else "degrees"
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, "middle", unit))
    for number, series in enumerate(curve.series):
        places = [(place_x(p.x), place_y(p.y.mean)) for p in series.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        body = [Markup('<polyline points="{}"/>').format(path)]
        for point, (x, y) in zip(series.points, places, strict=True):
            bar = _bar(point)
            if bar:
                ends = place_y(point.y.mean - bar), place_y(point.y.mean + bar)
                body.append(_line("bar", x, ends[0], x, ends[1]))
            body.append(_mark(series.name, point, x, y))
        group = Markup('<g class="s{}">{}</g>')
        parts.append(group.format(number % COLOURS, Markup("").join(body)))
    names = ", ".join(series.name for series in curve.series)
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, f"{curve.label} of {names}", Markup("").join(parts)
    )


def ticks(low: float, high: float, most: int) -> list[float]:
    """Return the round numbers in [low, high], at most `most`; `low` if there are none."""
    span = high - low
    if span < SMALLEST_SPAN:
        span = max(abs(high), abs(low), 1.0)
    power = 10.0 ** math.floor(math.log10(span / most))
    for step in (factor * power for factor in (1, 1.5, 2, 3, 5, 10)):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            break
    return [float(f"{step * k:.12g}") for k in range(first, last + 1)] or [low + 0.0]


def _bar(point: Point) -> float:
    error = point.y.standard_error
    return 0.0 if math.isnan(error) else error


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 0.5


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    places = (f"{value:.1f}" for value in (x1, y1, x2, y2))
    return Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(kind, *places)


def _text(x: float, y: float, anchor: str, text: str) -> Markup:
    return Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(
        f"{x:.1f}", f"{y:.1f}", anchor, text
    )


def _mark(name: str, point: Point, x: float, y: float) -> Markup:
    bar = _bar(point)
    number = f"{point.y.mean + 0.0:.4g}" + (f" ± {bar:.2g}" if bar else "")
    return Markup('<circle class="{}" cx="{}" cy="{}" r="3.5"><title>{}</title></circle>').format(
        "whole" if point.whole else "part",
        f"{x:.1f}",
        f"{y:.1f}",
        f"{name} at {point.x:g}: {number}, N = {point.y.count}",
    )
