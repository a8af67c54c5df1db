"""make bench-claims [ARGS="--seeds 5 --only thin --markdown"]: one table of claim, measure, AE, VAE, verdict."""

from __future__ import annotations

import argparse
import sys
import time

from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.bench.claims import latent, learning, repair
from tests.bench.claims.findings import Finding, Measurement, Sample

MEASUREMENTS: dict[str, Measurement] = {**learning.MEASUREMENTS, **latent.MEASUREMENTS, **repair.MEASUREMENTS}
HEADINGS = ("claim", "measure", "claimed", "AE", "VAE", "baseline", "seeds", "verdict")
COLORS = {"holds": "green", "fails": "red", "open": "yellow"}


def to_cells(finding: Finding) -> list[str]:
    """One line of the table: mean ± standard deviation over the seeds."""
    baselines = [name for name in finding.sides if name not in ("AE", "VAE")]
    return [
        finding.claim,
        finding.measure,
        f"{finding.smaller} < {finding.larger}",
        *(_to_words(finding.sides[name]) for name in ("AE", "VAE")),
        *([f"{name} {_to_words(finding.sides[name])}" for name in baselines] or [""]),
        f"{finding.wins}/{len(finding.gaps)}",
        finding.verdict,
    ]


def _to_words(sample: Sample) -> str:
    return f"{sample.mean:.3f} ± {sample.spread:.3f}"


def show(lines: list[list[str]]) -> Table:
    """The table for people."""
    table = Table(*HEADINGS)
    claim = ""
    for line in lines:
        if claim and line[0] != claim:
            table.add_section()
        table.add_row("" if line[0] == claim else line[0], *line[1:-1], f"[{COLORS[line[-1]]}]{line[-1]}[/]")
        claim = line[0]
    return table


def to_markdown(lines: list[list[str]]) -> str:
    """The table for docs/claims.md."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (HEADINGS, ["---"] * len(HEADINGS), *lines))


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what is claimed of autoencoders and VAEs.")
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds (5)")
    parser.add_argument("--only", default="", help="measure only what has this in its name")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    options = parser.parse_args()
    chosen = [m for name, m in MEASUREMENTS.items() if options.only in name]
    if not chosen:
        parser.error(f"--only {options.only}: expected a part of one of: {'; '.join(MEASUREMENTS)}")
    log = Console(stderr=True)
    lines = [to_cells(m.find(range(options.seeds))) for m in track(chosen, "measuring", console=log)]
    if options.markdown:
        sys.stdout.write(to_markdown(lines) + "\n")
    else:
        Console(width=None if sys.stdout.isatty() else 190).print(show(lines))
    log.print(f"{options.seeds} seeds, {time.process_time():.0f} s of CPU time")


if __name__ == "__main__":
    main()
