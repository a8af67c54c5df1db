"""matplotlib figures as inline SVG that follows the page: its colours are the page's variables, so that light, dark and
print need no second picture, and its text is text, in the page's own font."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from contextlib import suppress
from html import escape
from typing import TYPE_CHECKING, Any, Final

from jobs.common.errors import SetupError
from jobs.common.paths import cache_dir

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Colours that nothing else has stand for the page's variables until the figure is text.
INK, MUTED, GRID, ACCENT, ALERT, CARD = (f"#00000{number}" for number in range(1, 7))
_VARIABLES: Final = {INK: "ink", MUTED: "muted", GRID: "grid", ACCENT: "accent", ALERT: "alert", CARD: "card"}
PIXELS_PER_INCH: Final = 72
FONT_PX: Final = 12
_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "font.size": FONT_PX,
    "font.family": "DejaVu Sans",  # it comes with matplotlib: the same measures everywhere
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.labelsize": FONT_PX,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}


def draw_svg(name: str, label: str, width: int, height: int, draw: Callable[[Figure], None]) -> str:
    """A figure of that size in pixels, as an `<svg>` element with a text for those who cannot see it.

    Raises:
        SetupError: matplotlib is not installed.
    """
    try:
        os.environ.setdefault("MPLCONFIGDIR", str(cache_dir() / "matplotlib"))
        with suppress(OSError):
            cache_dir().mkdir(parents=True, exist_ok=True)
        import matplotlib as mpl
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SetupError("matplotlib, for the report's plots", str(error), "pip install 'sandtimer[report]'") from error
    # The salt makes the ids of clip paths and markers, which share one page: the same every time, and each its own.
    with mpl.rc_context({**_STYLE, "svg.hashsalt": f"{name}-{width}"}):
        size = (width / PIXELS_PER_INCH, height / PIXELS_PER_INCH)
        figure = Figure(figsize=size, dpi=PIXELS_PER_INCH, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _inline(buffer.getvalue(), label, width, height)


def _inline(text: str, label: str, width: int, height: int) -> str:
    body = text[text.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->\s*", "", body, flags=re.DOTALL)
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    opening = f'<svg {size} role="img" aria-label="{escape(label)}">'
    body = re.sub(r"<svg.*?>", lambda _: opening, body, count=1, flags=re.DOTALL)
    body = body.replace("xlink:href", "href")
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = re.sub(r"<style type=\"text/css\">.*?</style>", "", body, flags=re.DOTALL)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var(--{variable})")
    body = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", body)
    body = re.sub(r"font-family: [^;\"]*", "font-family: inherit", body)
    # Halves of a hundredth of a pixel help nobody.
    body = re.sub(r"\d+\.\d{3,}", lambda match: f"{float(match[0]):.2f}", body)
    return re.sub(r"\n\s*", "\n", body).strip()
