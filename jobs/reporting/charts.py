"""The report's plots. Each is a function of the numbers and a size, drawn once for wide pages and once for phones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.reporting.column_counts import ColumnCounts
from jobs.reporting.headline import find_limit, is_over
from jobs.reporting.latent import LatentMap
from jobs.reporting.nights import Night
from jobs.reporting.svg import ACCENT, ALERT, CARD, FONT_PX, GRID, INK, MUTED, draw_svg
from jobs.tables.summaries import BIN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NARROW_PX = 320
NARROW_NIGHTS = 60
HALF_PX = 480
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def draw_both(name: str, label: str, width: int, heights: tuple[int, int], draw: Callable[[Figure, bool], None]) -> str:
    """The wide and the narrow picture; the page's style shows the one that fits."""
    wide = draw_svg(name, label, width, heights[0], lambda figure: draw(figure, False))
    narrow = draw_svg(name, label, NARROW_PX, heights[1], lambda figure: draw(figure, True))
    return f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div>'


def draw_trend(nights: Sequence[Night], budget: float, chosen: frozenset[str]) -> str:
    """Alerts of each night against the most that chance gives, and rows below; the report's own nights stand out."""

    def draw(figure: Figure, narrow: bool) -> None:
        shown = nights[-NARROW_NIGHTS:] if narrow else nights
        alerts, rows = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        _draw_alerts(alerts, shown, budget)
        _draw_bars(rows, np.arange(len(shown)), [night.rows for night in shown], MUTED, 0.55)
        rows.set_ylabel("rows")
        rows.yaxis.set_major_formatter(_shorten)
        for axes in (alerts, rows):
            axes.locator_params(axis="y", nbins=4, integer=True)
            axes.margins(x=0.01)
            axes.grid(axis="x", visible=False)
        if 0 < sum(night.name.text in chosen for night in shown) < len(shown):
            for position, night in enumerate(shown):
                if night.name.text in chosen:
                    alerts.axvspan(position - 0.5, position + 0.5, color=GRID, alpha=0.6, linewidth=0, zorder=0)
        _label_nights(rows, shown, 4 if narrow else 10)

    label = f"Alerts and rows of {len(nights)} nights; the table of nights has the numbers"
    return draw_both("trend", label, 1_080, (290, 270), draw)


def _draw_alerts(axes: Axes, nights: Sequence[Night], budget: float) -> None:
    x = np.arange(len(nights))
    limits = [find_limit(night.rows, budget) for night in nights]
    for flag, colour in ((False, ACCENT), (True, ALERT)):
        heights = [night.alerts if is_over(night, budget) is flag else 0 for night in nights]
        _draw_bars(axes, x, heights, colour)
    axes.step(x, limits, where="mid", color=MUTED, linewidth=1.0)
    axes.annotate(
        "limit: the most that chance gives", (0, max(limits)), xytext=(0, 3), textcoords="offset points",
        color=MUTED, va="bottom",
    )  # fmt: skip
    axes.set_ylabel("alerts")
    axes.set_ylim(0, max(1.1 * max(night.alerts for night in nights), 1.35 * max(limits), 1.0))


def draw_scores(counts: ColumnCounts, budget: float) -> str:
    """Share of rows that reach each score, observed and as calibrated: a uniform p-value is a straight line."""
    bins = counts.scores()
    total = sum(rows for _, rows in bins)

    def draw(figure: Figure, _: bool) -> None:
        axes = figure.subplots()
        end = max(-math.log10(budget) + 1.0, math.log10(total) + 0.5)
        edges = np.arange(0.0, end + BIN, BIN)
        lows, rows = (np.asarray(values, dtype=float) for values in zip(*bins, strict=True))
        reached = np.asarray([rows[lows >= edge - BIN / 10].sum() for edge in edges]) / total
        known = reached > 0
        axes.plot(edges, 10.0**-edges, color=MUTED, linestyle=(0, (4, 2)), linewidth=1.4, label="calibrated")
        axes.plot(edges[known], reached[known], color=ACCENT, label="observed")
        axes.axvline(-math.log10(budget), color=ALERT, linewidth=1.2)
        axes.annotate(
            "alerts →", (-math.log10(budget), 1.0), xycoords=("data", "axes fraction"), xytext=(4, -2),
            textcoords="offset points", color=ALERT, va="top",
        )  # fmt: skip
        axes.set_yscale("log")
        axes.set_ylim(0.4 / total, 1.5)
        axes.set_xlim(0, end)
        axes.yaxis.set_major_formatter(_name_share)
        axes.set_xlabel("anomaly score (3: one in a thousand)")
        axes.set_ylabel("share of rows that reach it")
        axes.legend(loc="lower left", fontsize=FONT_PX)

    label = "Share of rows that reach each anomaly score, against the share that the calibration expects"
    return draw_both("scores", label, HALF_PX, (340, 270), draw)


def draw_map(found: LatentMap) -> str:
    """The latent layer seen along its two main axes, alerts on top."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.scatter(
            found.rows[:, 0], found.rows[:, 1], s=7, color=ACCENT, alpha=0.35, linewidths=0, label="rows, a sample"
        )
        axes.scatter(
            found.alerts[:, 0], found.alerts[:, 1], s=22, color=ALERT, edgecolors=CARD, linewidths=0.6, label="alerts"
        )
        for axis, number in ((axes.xaxis, 0), (axes.yaxis, 1)):
            axis.set_label_text(f"principal axis {number + 1} ({found.shares[number]:.0%} of the variance)")
        axes.locator_params(nbins=6)
        axes.spines["left"].set_visible(True)
        figure.legend(loc="outside upper left", ncols=2, fontsize=FONT_PX, handletextpad=0.2, columnspacing=1.0)

    label = f"Map of the latent layer: {len(found.rows):,} rows and {len(found.alerts):,} alerts"
    # One size: thousands of points are most of the page.
    return draw_svg("map", label, 400, 340, draw)


def draw_training(curve: Sequence[Mapping[str, float]]) -> str:
    """Loss of each pass over the training rows, and of the rows held out."""

    def draw(figure: Figure, _: bool) -> None:
        axes = figure.subplots()
        epochs = [entry["epoch"] for entry in curve]
        for key, name, colour in (("loss", "training rows", ACCENT), ("held_out", "held-out rows", INK)):
            axes.plot(epochs, [entry[key] for entry in curve], color=colour, label=name)
        axes.set_xlabel("epoch")
        axes.set_ylabel("loss, nats per row")
        axes.locator_params(axis="x", integer=True)
        axes.legend(fontsize=FONT_PX)

    return draw_both("training", "Training curve: loss by epoch", HALF_PX, (300, 260), draw)


def _draw_bars(axes: Axes, x: Any, heights: Sequence[int], colour: str, alpha: float = 1.0) -> None:
    """Bars as one shape: hundreds of rectangles would be the largest part of the page."""
    half = 0.4 if len(x) <= 120 else 0.5
    edges = np.column_stack([x - half, x - half, x + half, x + half]).ravel()
    tops = np.column_stack([np.zeros(len(x)), heights, heights, np.zeros(len(x))]).ravel()
    axes.fill_between(edges, tops, color=colour, alpha=alpha, linewidth=0)


def _label_nights(axes: Axes, nights: Sequence[Night], ticks: int) -> None:
    """Evenly spaced nights, first and last included; the year where it is another one."""
    last = len(nights) - 1
    positions = sorted({round(last * i / max(ticks - 1, 1)) for i in range(ticks)})
    labels, year = [], ""
    for position in positions:
        name = nights[position].name.text
        try:
            day = date.fromisoformat(name)
        except ValueError:
            labels.append(name[:12])
            continue
        labels.append(f"{_MONTHS[day.month - 1]} {day.day}" + (f"\n{day.year}" if str(day.year) != year else ""))
        year = str(day.year)
    axes.set_xticks(positions, labels)


def _shorten(value: float, _: object = None) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g} {letter}"
    return f"{value:g}"


def _name_share(value: float, _: object = None) -> str:
    return f"{value * 100:g} %" if value >= 1e-3 else f"1 in {_shorten(round(1 / value)) if value else '∞'}"
