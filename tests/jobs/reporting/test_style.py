"""The page's colours."""

from __future__ import annotations

import re
from pathlib import Path

import pytest


def contrast(one: str, other: str) -> float:
    """WCAG 2's contrast of two colours."""
    lights = []
    for colour in (one, other):
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)


@pytest.mark.parametrize("theme", [":root {", ':root[data-theme="dark"] {'])
def test_text_stands_out_in_every_theme(theme: str, root: Path) -> None:
    style = (root / "jobs" / "reporting" / "templates" / "style.css").read_text()
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", style.split(theme)[1].split("}")[0]))
    for text in ("ink", "muted", "accent", "alert"):
        for ground in ("bg", "card"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for level in ("alert", "warn", "good"):
        assert contrast(colours["ink"], colours[f"{level}-soft"]) >= 4.5
        assert contrast(colours["card"], colours[level]) >= 4.5
    assert contrast(colours["alert"], colours["alert-soft"]) >= 4.5
