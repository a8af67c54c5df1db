"""Drift: how far a run's rows are from the rows that the model was trained on, column by column, and what of it is
more than the limits allow. Pure functions on counts: rows come in batches and are never kept.

Two conditions make an alarm: an effect of a size that matters (a limit of the config), and a test that says it is no
accident of few rows. Sources: Kolmogorov's distribution with Stephens' correction (1970), on bins, which makes the test
conservative; Wilson and Hilferty's approximation (1931) of chi-square.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import vae_model as vm
from jobs.common.config import Monitor
from jobs.common.statistics import chi_square_test, kolmogorov_smirnov_test, poisson_tail, share_of, share_test
from jobs.monitoring.profiles import profile_of, watched_of
from vae_model.bundle.profile import ColumnProfile, population_stability
from vae_model.features.bins import BinCounts
from vae_model.features.forms import find_forms, to_bytes
from vae_model.network.shape import COLLAPSED_NATS

Doubles = npt.NDArray[np.float64]
# Nothing below it counts as more than chance.
SIGNIFICANT: Final = 1e-4
# Beyond what single nights of the training rows did.
MARGIN: Final = 1.2
# Variance over rows of a latent unit's mean below which it says the same of every row.
STILL_VARIANCE: Final = 1e-3
# Beyond such a share of values without a level of their own, new values are no news.
MANY_UNSEEN: Final = 0.1
MIN_NEW_ROWS: Final = 3
# Fewer rows do not say which latent units are in use.
MIN_LATENT_ROWS: Final = 30
# Normal rows' scores are known without looking: a p-value is uniform.
_SCORE_SHARES: Final = (0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995)
# Whose scores are kept; of normal rows 0.30, 1, 2 and 3.
SCORE_QUANTILES: Final = (0.5, 0.9, 0.99, 0.999)


@dataclass(frozen=True)
class Drift:
    """One column of a run against training. Score columns have rows of their own: `anomaly_score` (its distribution
    against calibration), `is_anomaly` (rate against the budget) and `latent_mu` (latent units in use).

    Attributes:
        rows: of the run that were looked at.
        psi: population stability index; None where there is no distribution.
        test: that `statistic` and `p_value` belong to.
        null_share: of the run; `expected_null_share` of training, and likewise for categories that training never saw.
        value: the rate or number that the column stands for, `expected` what it should be: the share of rows with a
            score above 1, the alert rate, the latent units in use.
        quantiles: of the scores, at SCORE_QUANTILES.
        alarms: sentences; empty where all is within the limits.
        kinds: of what is past its limits, each with its size, alarms or not.
        still_so: sentences of what was told before, `since` a run at that time.
    """

    column: str
    rows: int
    psi: float | None = None
    test: Literal["kolmogorov-smirnov", "chi-square"] | None = None
    statistic: float | None = None
    p_value: float | None = None
    null_share: float | None = None
    expected_null_share: float | None = None
    unseen_share: float | None = None
    expected_unseen_share: float | None = None
    value: float | None = None
    expected: float | None = None
    quantiles: tuple[float, ...] = ()
    alarms: tuple[str, ...] = ()
    kinds: tuple[tuple[str, float], ...] = ()
    still_so: tuple[str, ...] = ()
    since: datetime | None = None


# A row of the monitor table: the run, then the fields of `Drift`.
DRIFT_SCHEMA: Final = pa.schema(
    [
        ("run_id", pa.string()),
        ("column", pa.string()),
        ("scored_version", pa.int64()),
        ("scored_at", pa.timestamp("us", tz="UTC")),
        ("where", pa.string()),
        ("model_id", pa.string()),
        ("run_rows", pa.int64()),
        ("rows", pa.int64()),
        ("psi", pa.float64()),
        ("test", pa.string()),
        ("statistic", pa.float64()),
        ("p_value", pa.float64()),
        ("null_share", pa.float64()),
        ("expected_null_share", pa.float64()),
        ("unseen_share", pa.float64()),
        ("expected_unseen_share", pa.float64()),
        ("value", pa.float64()),
        ("expected", pa.float64()),
        ("quantiles", pa.list_(pa.float64())),
        ("alarms", pa.list_(pa.string())),
        ("kinds", pa.list_(pa.struct([("kind", pa.string()), ("size", pa.float64())]))),
        ("still_so", pa.list_(pa.string())),
        ("since", pa.timestamp("us", tz="UTC")),
    ]
)


def compare_features(bundle: vm.Bundle, counted: Mapping[str, BinCounts], limits: Monitor) -> list[Drift]:
    """The drift of every counted column: features in the model's order, then those that are watched beside them."""
    profiles = [*profile_of(bundle), *(column.profile for column in watched_of(bundle))]
    return [compare_column(p, counted[p.name], limits) for p in profiles if p.name in counted]


def compare_column(profile: ColumnProfile, found: BinCounts, limits: Monitor) -> Drift:
    """One column's drift."""
    expected = np.asarray(profile.counts, dtype=np.float64)
    psi = population_stability(expected, found.counts)
    if profile.levels:
        test: Literal["kolmogorov-smirnov", "chi-square"] = "chi-square"
        statistic, p_value = chi_square_test(expected, found.counts)
    else:
        test = "kolmogorov-smirnov"
        statistic, p_value = kolmogorov_smirnov_test(expected, found.counts)
    drift = Drift(
        profile.name,
        found.rows,
        psi,
        test,
        statistic,
        p_value,
        null_share=share_of(found.nulls, found.rows),
        expected_null_share=share_of(profile.nulls, profile.rows),
        unseen_share=share_of(found.unseen, found.rows) if profile.levels or found.unseen else None,
        expected_unseen_share=share_of(profile.unseen, profile.rows) if profile.levels or found.unseen else None,
    )
    return _with_alarms(drift, *_alarms_of_column(drift, profile, found, limits))


def compare_scores(scores: Doubles, limits: Monitor, clusters: float = 1.0) -> Drift:
    """Scores against calibration: of normal rows one in ten has a score above 1, one in a hundred above 2.

    Args:
        scores: of rows.
        limits: of the config.
        clusters: how many times as much as by chance scores above 1 vary from night to night.
    """
    edges = -np.log10(1.0 - np.asarray(_SCORE_SHARES))
    expected = np.diff(np.asarray((0.0, *_SCORE_SHARES, 1.0))) * 1e6
    found = np.bincount(np.searchsorted(edges, scores), minlength=len(expected))
    statistic, p_value = kolmogorov_smirnov_test(expected, found)
    high = float((scores > 1.0).mean()) if len(scores) else 0.0
    drift = Drift(
        "anomaly_score",
        len(scores),
        population_stability(expected, found),
        "kolmogorov-smirnov",
        statistic,
        p_value,
        value=high,
        expected=0.1,
        quantiles=tuple(map(float, np.quantile(scores, SCORE_QUANTILES))) if len(scores) else (),
    )
    if high <= limits.score_limit or p_value >= SIGNIFICANT:
        return drift
    if share_test(int((scores > 1.0).sum()), len(scores), 0.1, clusters) >= SIGNIFICANT:
        return drift
    sentence = (
        f"anomaly_score: expected 10% of rows above 1, as of normal rows, found {high:.0%}, more than"
        f" {limits.score_limit:.0%} (median {drift.quantiles[0]:.2f}, of normal rows 0.30): the rows have changed as a"
        " whole"
    )
    return _with_alarms(drift, ("scores", high, sentence))


def score_clusters(bundle: vm.Bundle) -> float:
    """Of a bundle, for `compare_scores`."""
    return bundle.profile.score_clusters if bundle.profile else 1.0


def compare_alerts(alerts: int, rows: int, budget: float, limits: Monitor) -> Drift:
    """The alert rate against the budget."""
    rate = share_of(alerts, rows)
    drift = Drift("is_anomaly", rows, p_value=poisson_tail(alerts, budget * rows), value=rate, expected=budget)
    if rate <= limits.alert_limit * budget or poisson_tail(alerts, limits.alert_limit * budget * rows) >= 0.05:
        return drift
    sentence = (
        f"is_anomaly: expected about {budget:.3%} of rows (the alert budget), found {rate:.3%}: {alerts:,} of {rows:,},"
        f" more than {limits.alert_limit:g} times as many"
    )
    return _with_alarms(drift, ("alerts", rate, sentence))


def compare_latents(bundle: vm.Bundle, mu: Doubles, sigma: Doubles, limits: Monitor) -> Drift | None:
    """Latent units in use, by mean KL over rows, against those that training saw; None for models without any.

    Args:
        bundle: the model.
        mu: [n, units] of scored rows.
        sigma: [n, units].
        limits: of the config.
    """
    if bundle.latent_kl is None or not bundle.shape.is_variational or not len(mu):
        return None
    kl = 0.5 * (mu * mu + sigma * sigma - 1.0 - 2.0 * np.log(np.maximum(sigma, 1e-30)))
    trained = bundle.latent_kl.ravel() > COLLAPSED_NATS
    used = trained & (kl.mean(axis=0) > COLLAPSED_NATS) & (mu.var(axis=0) > STILL_VARIANCE)
    drift = Drift("latent_mu", len(mu), value=float(used.sum()), expected=float(trained.sum()))
    if used.sum() >= limits.latent_limit * trained.sum() or len(mu) < MIN_LATENT_ROWS:
        return drift
    sentence = (
        f"latent_mu: expected {trained.sum()} latent units in use as in training, found {used.sum()}, less than"
        f" {limits.latent_limit:.0%}: rows have become alike, or they are not encoded as they were"
    )
    return _with_alarms(drift, ("latents", 1.0 / max(float(used.sum()), 0.5), sentence))


Alarm: TypeAlias = tuple[str, float, str]  # kind, size, sentence


def _alarms_of_column(drift: Drift, profile: ColumnProfile, found: BinCounts, limits: Monitor) -> list[Alarm]:
    name = profile.name
    alarms: list[Alarm] = []
    if name in limits.ignore:
        return []
    # What single nights of the training rows did is no alarm (weather, weekdays), nor what chance does to few rows.
    psi_limit = max(limits.psi_limit, MARGIN * profile.usual_psi) + _chance_of_psi(len(found.counts), found.rows)
    null_limit = max(limits.null_limit, MARGIN * profile.usual_nulls)
    psi, p_value = drift.psi or 0.0, 1.0 if drift.p_value is None else drift.p_value
    if psi > psi_limit and p_value < SIGNIFICANT and not profile.is_calendar:
        sentence = (
            f"{name}: expected values distributed as in training, found PSI {psi:.2f}, above {psi_limit:.2g}"
            f" ({_describe_shift(profile, found)})"
        )
        alarms.append(("psi", psi, sentence))
    now, before = drift.null_share or 0.0, drift.expected_null_share or 0.0
    usual = (profile.nulls + 0.5) / (profile.rows + 1.0)
    if abs(now - before) > null_limit and (
        share_test(found.nulls, found.rows, usual, profile.null_clusters) < SIGNIFICANT
    ):
        sentence = f"{name}: expected {before:.1%} NULL as in training, found {now:.1%}"
        alarms.append(("NULL", abs(now - before), sentence))
    now, before = drift.unseen_share or 0.0, drift.expected_unseen_share or 0.0
    lumped = profile.kind != "text" and before > MANY_UNSEEN
    # The levels of training rows are those that they have: of the next night some are new.
    usual = max((profile.unseen + 0.5) / (profile.rows + 1.0), profile.new_share)
    surplus = (
        now - usual > limits.unseen_limit
        and found.unseen >= MIN_NEW_ROWS
        and (share_test(found.unseen, found.rows, usual, profile.new_clusters) < SIGNIFICANT)
    )
    # Each night of a column that moves with the calendar has a value of its own.
    if (surplus or lumped) and not profile.is_calendar:
        alarms += [("new", now, sentence) for sentence in _describe_new(profile, found, limits.unseen_limit)]
    return alarms


def _chance_of_psi(bins: int, rows: int) -> float:
    """What rows that are distributed as training's reach by chance: chi-square over rows, and four of its spreads."""
    freedom = max(bins - 1, 1)
    return (freedom + 4.0 * math.sqrt(2.0 * freedom)) / max(rows, 1)


def _describe_new(profile: ColumnProfile, found: BinCounts, limit: float) -> list[str]:
    """What is new in a column, with its form where that is new, too. A column of more levels than the model tells apart
    has new ones each night: there only a new form is news, in more than a few rows."""
    is_text = profile.kind == "text"
    known = (
        ()
        if is_text or not profile.levels
        else find_forms(*to_bytes(pa.array(profile.levels)), "runs").cast(pa.string()).to_pylist()
    )
    forms = {form: rows for form, rows in found.new_forms.items() if form not in known}
    form = max(forms, key=lambda form: forms[form], default="")
    in_form = share_of(forms.get(form, 0), found.rows)
    now, before = share_of(found.unseen, found.rows), share_of(profile.unseen, profile.rows)
    name, usual = profile.name, profile.levels[0] if profile.levels else ""
    if is_text:
        return [
            f"{name}: expected texts of a form like {usual}, found {now:.1%} of other forms; {form} in {in_form:.1%}"
        ]
    if not profile.levels:
        of_form = f"{form} in {in_form:.1%}"
        return [f"{name}: expected texts that read as a {profile.kind}, found {now:.1%} that do not; {of_form}"]
    is_new = in_form > limit and forms.get(form, 0) >= MIN_NEW_ROWS
    if before > MANY_UNSEEN:
        return [f"{name}: expected values like {usual}, found {in_form:.1%} of the form {form}"] if is_new else []
    of_form = f"; {in_form:.1%} of a new form, {form}, where values are like {usual}" if is_new else ""
    return [f"{name}: expected {before:.1%} of values that training did not see, found {now:.1%}{of_form}"]


def _describe_shift(profile: ColumnProfile, found: BinCounts) -> str:
    """The bin that gained or lost most, in words."""
    e = np.asarray(profile.counts, dtype=np.float64) / max(sum(profile.counts), 1)
    f = found.counts / max(found.counts.sum(), 1)
    k = int(np.argmax(np.abs(f - e)))
    if profile.levels:
        where = f"'{profile.levels[k]}'" if k < len(profile.levels) else "other values"
    elif k == 0:
        where = f"values up to {profile.edges[0]:.6g}"
    elif k == len(profile.edges):
        where = f"values above {profile.edges[-1]:.6g}"
    else:
        where = f"values above {profile.edges[k - 1]:.6g} up to {profile.edges[k]:.6g}"
    return f"{where}: {e[k]:.1%} expected, {f[k]:.1%} found"


def _with_alarms(drift: Drift, *alarms: Alarm) -> Drift:
    sentences = tuple(sentence for _, _, sentence in alarms)
    return replace(drift, alarms=sentences, kinds=tuple((kind, size) for kind, size, _ in alarms))
