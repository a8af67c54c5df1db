"""The page: the report's findings in a template, with everything it needs inside it. Data reach it only through the
template's escaping; its policy forbids every network address and every script but its own."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jobs.common.errors import SetupError
from jobs.engines.base import LogEntry
from jobs.reporting import charts
from jobs.reporting.findings import SECTIONS, Findings
from jobs.reporting.headline import find_limit
from jobs.reporting.nights import sum_blame
from jobs.reporting.strangest import StrangeRow
from vae_model import Bundle

if TYPE_CHECKING:
    from jinja2 import Environment

MAX_KEY_COLUMNS = 4


def render_page(found: Findings) -> str:
    """The whole page as HTML; the same findings give the same page.

    Raises:
        SetupError: jinja2 or matplotlib is not installed.
    """
    environment = _build_environment()
    style, script = (_read(environment, name) for name in ("style.css", "script.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    from markupsafe import Markup

    pictures = {name: Markup(svg) for name, svg in _draw(found).items()}  # noqa: S704  our own SVG, its label escaped
    template = environment.get_template("page.html.jinja")
    return template.render(
        found=found,
        sections=SECTIONS,
        pictures=pictures,
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        script_digest=digest,
        blame=_rank_blame(found),
        nights=[(night, find_limit(night.rows, found.budget)) for night in reversed(found.nights)],
        key_columns=_choose_key_columns(found.strangest),
        runs=[_describe_run(entry) for entry in found.runs],
        models=[(model_id, found.counts.values("model")[model_id]) for model_id in found.counts.model_ids],
        expected=found.counts.rows * found.budget,
        **_describe_self_test(found.bundle),
        drifting=[drift for drift in found.watched.drift if drift.alarms],
        psi_limit=found.limits.psi_limit,
    )


def _build_environment() -> Environment:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise SetupError("jinja2, for the report's page", str(error), "pip install 'sandtimer[report]'") from error
    environment = Environment(
        loader=PackageLoader("jobs.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": _format_count, "share": _format_share, "one_in": _format_one_in}
    return environment


def _read(environment: Environment, name: str) -> str:
    assert environment.loader is not None  # noqa: S101  for the type checker
    return environment.loader.get_source(environment, name)[0]


def _draw(found: Findings) -> dict[str, str]:
    pictures = {}
    if found.context:
        pictures["trend"] = charts.draw_trend(
            found.context, found.budget, frozenset(night.name.text for night in found.nights)
        )
    if found.counts.rows:
        pictures["scores"] = charts.draw_scores(found.counts, found.budget)
    if found.latent:
        pictures["map"] = charts.draw_map(found.latent)
    if found.bundle and found.bundle.training_curve:
        pictures["training"] = charts.draw_training(found.bundle.training_curve)
    return pictures


def _rank_blame(found: Findings) -> list[dict[str, Any]]:
    """Columns that the alerts blame: how often first, their share in all alerts, and of the one blamed most."""
    blame = sum_blame(found.nights)
    total = sum(share for _, share in blame.values()) or 1.0
    largest = max((share for _, share in blame.values()), default=1.0) or 1.0
    return [
        {"column": column, "first": first, "share": share / total, "width": share / largest}
        for column, (first, share) in blame.items()
    ]


def _describe_self_test(bundle: Bundle | None) -> dict[str, Any]:
    """Heads of the faults, and each column with the share of alerts for each fault; None where it cannot happen."""
    if bundle is None or bundle.self_test is None:
        return {"faults": [], "heard": []}
    found = {(d.column, d.fault): d.alerts for d in bundle.self_test.detections}
    faults = list(dict.fromkeys(fault for _, fault in found))
    columns = dict.fromkeys(column for column, _ in found)
    heard = [(column, [found.get((column, fault)) for fault in faults]) for column in columns]
    return {"faults": [(fault, "number", "") for fault in faults], "heard": heard}


def _choose_key_columns(rows: Sequence[StrangeRow]) -> list[str]:
    """A table column for each key column, unless there are too many; the night has one already."""
    names = list(rows[0].key) if rows else []
    if len(names) > MAX_KEY_COLUMNS:
        return []
    return [name for name in names if any(row.key[name] != row.night for row in rows)]


def _describe_run(entry: LogEntry) -> dict[str, Any]:
    lineage = entry.lineage or {}
    since, until = lineage.get("since_version"), lineage.get("source_version")
    return {
        "version": entry.version,
        "at": str(lineage.get("scored_at", ""))[:16].replace("T", " "),
        "source_versions": f"{until}" if since is None else f"{since + 1} to {until}",
        "action": lineage.get("action") or "",
        "where": lineage.get("where") or "",
        "rows": lineage.get("rows") or 0,
        "model_id": str(lineage.get("model_id") or ""),
        "engine": lineage.get("engine") or "",
        "run_id": lineage.get("run_id") or "",
    }


def _format_count(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 100 else f"{value:,.1f}"


def _format_share(value: float) -> str:
    if value <= 0:
        return "0 %"
    for limit, text in ((0.00005, "< 0.01 %"), (0.01, f"{value:.2%}"), (0.1, f"{value:.1%}")):
        if value < limit:
            return text.replace("%", " %").replace("  ", " ")
    return f"{value:.0%}".replace("%", " %")


def _format_one_in(score: float, beyond: float) -> str:
    """How many normal rows there are to one with such a score, as far as training rows can tell."""
    return f"{10**score:,.0f}" if score <= beyond else "beyond all training rows"
