"""How often the monitor cries wolf on real flights, and how often it misses planted breaks: `make bench-monitor`.

Trains on a sample of the year, or with --until on the nights before a date, and prints the alarms of 2013's weeks and
nights, the incidents of the year as it is, and what was found of planted breaks.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import vae_model as vm
from jobs.common.config import Monitor
from jobs.monitoring.drift import (
    Drift,
    compare_alerts,
    compare_features,
    compare_latents,
    compare_scores,
    score_clusters,
)
from jobs.monitoring.profiles import count_features
from jobs.onboarding.flights import load_flights
from tests.bench import incidents
from tests.bench.faults import FAULTS
from tests.bench.nights import BUDGET, NIGHT, ScoredYear
from tests.bench.table_incidents import run_tables
from vae_model.training.profiling import measure_nights

KINDS = {"carrier": "category", "time_hour": "time", "flight": "ignored", "tailnum": "ignored"}
DAYS_FROM_1970 = 15_706
# Of all rows of a week; what is loud.
LOUD = (
    "distance in km",
    "air_time in seconds",
    "dep_delay in seconds",
    "dest unknown",
    "distance NULL",
    "carrier NULL",
)
LIMITS = Monitor()


def train(flights: pa.Table, rows: int, until: str | None, folder: Path) -> vm.Bundle:
    """A model of conf/flights.yaml's columns; the one that is there where it was made alike."""
    path = folder / f"flights_{rows}_{until or 'year'}"
    if (path / "bundle.json").exists():
        return vm.load(path)
    known = flights.filter(pc.less(flights[NIGHT], date.fromisoformat(until))) if until else flights
    sample = known.take(pa.array(np.random.default_rng(0).permutation(known.num_rows)[:rows]))
    options = vm.ColumnOptions(ignore=(NIGHT,), kinds=KINDS, exclude=("year",))
    bundle = measure_nights(vm.fit(sample, options), sample.to_batches(32_768), NIGHT)
    bundle.save(path)
    return bundle


def drift_of(bundle: vm.Bundle, rows: pa.Table) -> Iterator[Drift]:
    """What `sandtimer monitor` compares, of some rows."""
    scored = vm.score(rows, bundle, alert_budget=BUDGET, explain="none").combine_chunks()
    yield from compare_features(bundle, count_features(bundle, rows.combine_chunks().to_batches()), LIMITS)
    yield compare_scores(scored["anomaly_score"].to_numpy(), LIMITS, score_clusters(bundle))
    yield compare_alerts(pc.sum(scored["is_anomaly"]).as_py() or 0, rows.num_rows, BUDGET, LIMITS)
    mu, sigma = (np.array(scored[name].to_pylist(), np.float64) for name in ("latent_mu", "latent_sigma"))
    latents = compare_latents(bundle, mu, sigma, LIMITS)
    if latents:
        yield latents


def print_false_alarms(bundle: vm.Bundle, flights: pa.Table, first: int) -> None:
    """Alarms of untouched weeks and nights."""
    days = flights[NIGHT].cast(pa.int32()).to_numpy() - DAYS_FROM_1970
    for name, length in (("weeks", 7), ("nights", 1)):
        alarmed = []
        starts = range(first, 365 - length + 1, length)
        for start in starts:
            chosen = flights.filter(pa.array((days >= start) & (days < start + length)))
            alarms = [alarm for drift in drift_of(bundle, chosen) for alarm in drift.alarms]
            alarmed += [(start, alarms)] if alarms else []
        print(f"\n{name} with an alarm: {len(alarmed)} of {len(starts)}")
        for start, alarms in alarmed:
            print(f"  {date.fromordinal(date(2013, 1, 1).toordinal() + start)}: {'; '.join(alarms)}")


def print_loud(bundle: vm.Bundle, flights: pa.Table) -> None:
    """Alarms of a week in which one carrier's rows, or all, are broken."""
    print("\nplanted in the week of 2013-09-09, alarms on the broken column / on the alert rate")
    days = flights[NIGHT].cast(pa.int32()).to_numpy() - DAYS_FROM_1970
    week = flights.filter(pa.array((days >= 251) & (days < 258))).combine_chunks()
    for name in LOUD:
        fault = next(fault for fault in FAULTS if fault.name == name)
        shown = []
        for share in (1.0, 0.3, 0.1, 0.03, 0.01):
            rng = np.random.default_rng(1)
            able = np.flatnonzero(fault.where(week)) if fault.where else np.arange(week.num_rows)
            rows = np.sort(rng.choice(able, round(share * len(able)), replace=False))
            columns, broken = fault.change(week, rows, rng), week
            for column, values in columns.items():
                field = week.schema.field(column)
                right = week[column].to_pylist()
                for row, value in zip(rows, values.cast(field.type, safe=False).to_pylist(), strict=True):
                    right[row] = value
                broken = broken.set_column(week.schema.get_field_index(column), field, pa.array(right, field.type))
            alarmed = {drift.column for drift in drift_of(bundle, broken) if drift.alarms}
            shown.append(
                f"{share:.0%}: {'yes' if set(columns) & alarmed else 'no'}/{'yes' if 'is_anomaly' in alarmed else 'no'}"
            )
        print(f"  {name:24} {'   '.join(shown)}")


def print_incidents(bundle: vm.Bundle, flights: pa.Table, shares: list[float]) -> None:
    """Incidents of the year as it is, and of planted breaks."""
    year = ScoredYear(flights, bundle)
    found, _ = year.follow()
    print(f"\nincidents of the untouched year ({year.alerts.sum()} alert rows): {len(found)}")
    for incident in found:
        print(f"  {incident.description} ({incident.rows} rows)")
    for share in shares:
        print(f"\nplanted: {share:.1%} of a segment's rows in three nights, at least one a night")
        for line in incidents.summarise(list(incidents.try_all(year, share))):
            print(f"  {line}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000, help="to train on")
    parser.add_argument("--until", metavar="DATE", help="train on the nights before; alarms are counted from then on")
    parser.add_argument("--shares", type=float, nargs="*", default=[0.01, 0.1], help="of a segment's rows, to break")
    parser.add_argument("--tables", action="store_true", help="incidents in other people's tables instead of flights")
    options = parser.parse_args()
    if options.tables:
        run_tables(Path("data/bench"))
        return
    flights, started = load_flights(), time.process_time()
    bundle = train(flights, options.rows, options.until, Path("data/bench"))
    print(f"model {bundle.model_id[:12]}, {time.process_time() - started:.0f} CPU s")
    first = date.fromisoformat(options.until).timetuple().tm_yday - 1 if options.until else 0
    print_false_alarms(bundle, flights, first)
    print_loud(bundle, flights)
    print_incidents(bundle, flights, options.shares)


if __name__ == "__main__":
    main()
