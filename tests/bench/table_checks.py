"""Nights as wholes: false alarms over ordinary nights, and planted nights that are told, in the right words.

    python -m tests.bench.table_checks [--nights 60] [--plants 10] [--only pizza]

Three tables: flights of 2013, pizza (where it is), and a made-up one with a weekly and a monthly season and a trend.
Each is written night by night into a Delta table whose commits come at about five in the morning; `look` is what
`monitor` calls.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake
from rich.console import Console
from rich.table import Table

import vae_model as vm
from jobs.checks.look import Look, look, remember
from jobs.common.config import Config
from jobs.engines.local import LocalEngine
from jobs.onboarding.flights import load_flights

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "tables"
FIRST = 60
COLUMN_GONE, COLUMN_WIDENED = "a column gone", "a type widened"


@dataclass(frozen=True)
class Case:
    """A table by nights."""

    name: str
    rows: pa.Table
    night: str
    key: str
    segment: str
    number: str

    def nights(self) -> list[date]:
        return sorted(value for value in pc.unique(self.rows[self.night]).to_pylist() if value is not None)

    def of(self, night: date) -> pa.Table:
        return self.rows.filter(pc.equal(self.rows[self.night], pa.scalar(night, pa.date32())))


def load_cases() -> Iterator[Case]:
    """Flights, pizza and a made-up table."""
    flights = load_flights()
    columns = ["flight_date", "carrier", "origin", "dest", "dep_delay", "distance", "air_time"]
    chosen = flights.select([name for name in columns if name in flights.column_names])
    chosen = chosen.append_column("flight_id", pa.array(np.arange(chosen.num_rows)))
    chosen = chosen.set_column(
        chosen.column_names.index("distance"), "distance", chosen["distance"].cast(pa.int32(), safe=False)
    )
    yield Case("flights", chosen, "flight_date", "flight_id", "carrier", "distance")
    if SHARED.exists():
        pizza = pq.read_table(SHARED / "pizza.parquet")
        parts = {name: pizza[name] for name in pizza.column_names if name != "id"}
        parts |= {"date": pizza["date"].cast(pa.date32()), "time": pizza["time"].cast(pa.string())}
        parts["line"] = pa.array(np.arange(pizza.num_rows))
        parts["order"] = pc.utf8_slice_codeunits(pizza["id"].cast(pa.string()), 5).cast(pa.int32())
        yield Case("pizza", pa.table(parts), "date", "line", "type", "order")
    yield Case("made-up", make_up(), "day", "id", "shop", "quantity")


def make_up(nights: int = 200, seed: int = 0) -> pa.Table:
    """Sales with a weekly and a monthly season and a trend."""
    rng = np.random.default_rng(seed)
    week = np.array([0.0, 0.05, 0.1, 0.0, 0.2, -0.5, -0.7])
    days, shops, quantities, prices = [], [], [], []
    for number in range(nights):
        day = date(2024, 1, 1) + timedelta(number)
        at_end = 0.35 * ((day + timedelta(1)).day == 1)
        count = rng.poisson(400 * np.exp(0.003 * number + week[day.weekday()] + at_end + 0.05 * rng.normal()))
        days += [day] * count
        shop = rng.choice(6, count, p=[0.3, 0.25, 0.2, 0.1, 0.1, 0.05])
        shops += [f"shop {chr(65 + one)}" for one in shop]
        quantities += (1 + rng.poisson(2.0, count)).tolist()
        prices += np.round(np.exp(rng.normal(2.0 + 0.1 * shop, 0.4)), 2).tolist()
    return pa.table(
        {
            "id": pa.array(np.arange(len(days))),
            "day": pa.array(days, pa.date32()),
            "shop": shops,
            "quantity": pa.array(quantities, pa.int32()),
            "price": prices,
        }
    )


class Source:
    """A case's Delta table in a folder, with a job that watches it."""

    def __init__(self, folder: Path, case: Case, bundle: vm.Bundle, seed: int) -> None:
        self.case, self.bundle, self.folder = case, bundle, folder
        self.rng = np.random.default_rng(seed)
        self.config = Config.model_validate(
            {
                "source": {"table": str(folder / "source"), "key": [case.key], "partition": case.night},
                "extract": {"path": str(folder / "extract")},
                "bundle": {"path": str(folder / "bundle")},
                "score": {"table": str(folder / "scored")},
            }
        )

    def arrival(self, night: date, late: timedelta = timedelta()) -> datetime:
        """About five in the morning after the night."""
        minutes = float(np.clip(self.rng.normal(0.0, 5.0), -15.0, 15.0))
        return datetime(night.year, night.month, night.day, tzinfo=UTC) + timedelta(hours=29, minutes=minutes) + late

    def append(self, rows: pa.Table, moment: datetime) -> None:
        write_deltalake(self.folder / "source", rows, mode="append", schema_mode="merge")
        self.date_commit(moment)

    def overwrite(self, rows: pa.Table, moment: datetime) -> None:
        write_deltalake(self.folder / "source", rows, mode="overwrite", schema_mode="overwrite")
        self.date_commit(moment)

    def delete(self, condition: str, moment: datetime) -> None:
        DeltaTable(str(self.folder / "source")).delete(condition)
        self.date_commit(moment)

    def date_commit(self, moment: datetime) -> None:
        """As if the last commit had been made then."""
        path = max((self.folder / "source" / "_delta_log").glob("*.json"))
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
        for line in lines:
            if "commitInfo" in line:
                line["commitInfo"]["timestamp"] = int(moment.timestamp() * 1000)
        path.write_text("\n".join(json.dumps(line) for line in lines) + "\n", encoding="utf-8")

    def look(self, moment: datetime) -> Look:
        found = look(self.config, LocalEngine(), self.bundle, moment)
        remember(self.config, LocalEngine(), found)
        return found


# How a night is broken, and a word of the sentence that has to tell it.
Plant = Callable[[Source, date, pa.Table], datetime]


def _plant(source: Source, night: date, rows: pa.Table) -> datetime:
    moment = source.arrival(night)
    source.append(rows, moment)
    return moment


def load_twice(source: Source, night: date, rows: pa.Table) -> datetime:
    _plant(source, night, rows)
    return _plant(source, night, rows)


def load_half(source: Source, night: date, rows: pa.Table) -> datetime:
    kept = source.rng.permutation(rows.num_rows)[: rows.num_rows // 2]
    return _plant(source, night, rows.take(pa.array(np.sort(kept))))


def load_none(source: Source, night: date, rows: pa.Table) -> datetime:
    return source.arrival(night) + timedelta(hours=3)


def lose_segment(source: Source, night: date, rows: pa.Table) -> datetime:
    values = pc.value_counts(rows[source.case.segment]).to_pylist()
    known = [one["values"] for one in values if one["counts"] >= 0.1 * rows.num_rows]
    gone = known[int(source.rng.integers(len(known)))]
    return _plant(source, night, rows.filter(pc.not_equal(rows[source.case.segment], gone)))


def delete_rows(source: Source, night: date, rows: pa.Table) -> datetime:
    moment = _plant(source, night, rows)
    source.look(moment)
    before = max(one for one in source.case.nights() if one < night - timedelta(days=3))
    share = source.case.of(before)[source.case.key].to_pylist()
    low = sorted(share)[len(share) // 3]
    condition = f"{source.case.night} = DATE '{before}' AND {source.case.key} < {low}"
    source.delete(condition, moment + timedelta(hours=1))
    return moment + timedelta(hours=2)


def repeat_keys(source: Source, night: date, rows: pa.Table) -> datetime:
    keys = np.array(rows[source.case.key].to_pylist())
    keys[1:4] = keys[0]
    position = rows.column_names.index(source.case.key)
    return _plant(source, night, rows.set_column(position, source.case.key, pa.array(keys, rows[source.case.key].type)))


def come_late(source: Source, night: date, rows: pa.Table) -> datetime:
    moment = source.arrival(night, timedelta(hours=2))
    source.append(rows, moment)
    return moment


def drop_column(source: Source, night: date, rows: pa.Table) -> datetime:
    there = DeltaTable(str(source.folder / "source")).to_pyarrow_table()
    moment = source.arrival(night)
    source.overwrite(
        pa.concat_tables([there, rows.select(there.column_names)]).drop_columns([source.case.number]), moment
    )
    return moment


def widen_column(source: Source, night: date, rows: pa.Table) -> datetime:
    there = DeltaTable(str(source.folder / "source")).to_pyarrow_table()
    both = pa.concat_tables([there, rows.select(there.column_names)])
    position = both.column_names.index(source.case.number)
    wide = both.set_column(position, source.case.number, both[source.case.number].cast(pa.float64()))
    moment = source.arrival(night)
    source.overwrite(wide, moment)
    return moment


PLANTS: dict[str, tuple[Plant, str]] = {
    "loaded twice": (load_twice, "loaded twice"),
    "half": (load_half, "expected"),
    "none": (load_none, "no row of"),
    "one segment missing": (lose_segment, "no row with"),
    "rows deleted": (delete_rows, "lost"),
    "key repeated": (repeat_keys, "a key that another"),
    "two hours late": (come_late, "came at"),
    COLUMN_GONE: (drop_column, "is gone"),
    COLUMN_WIDENED: (widen_column, "was"),
}


def run_case(case: Case, folder: Path, nights: int, plants: int, console: Console) -> None:
    """One table: ordinary nights, then plants, each beside the ordinary table."""
    features = [name for name in case.rows.column_names if name not in (case.night, case.key)]
    bundle = vm.fit(case.rows.select(features).slice(0, 20_000), epochs=1, members=1)
    days = case.nights()
    start = min(FIRST, len(days) - nights)
    source = Source(folder / case.name, case, bundle, 0)
    for night in days[:start]:
        source.append(case.of(night), source.arrival(night))
    source.look(source.arrival(days[start - 1]))
    alarms = []
    copies: dict[date, Path] = {}
    step = max(1, nights // plants)
    for number, night in enumerate(days[start : start + nights]):
        if number % step == 0 and len(copies) < plants:
            copies[night] = folder / f"{case.name}-{night}"
            shutil.copytree(source.folder, copies[night])
        moment = source.arrival(night)
        source.append(case.of(night), moment)
        found = source.look(moment + timedelta(minutes=10))
        alarms += [f"{night}: {finding.sentence}" for finding in found.alarms]
    console.print(f"{case.name}: {len(alarms)} alarms on {nights} ordinary nights", *alarms, sep="\n  ")
    table = Table("plant", "nights", "told", "other alarms", "for example", title=case.name)
    for name, (plant, words) in PLANTS.items():
        told, others, example = 0, 0, ""
        for number, (night, kept) in enumerate(copies.items()):
            place = folder / "planted"
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(kept, place)
            broken = Source(place, case, bundle, number)
            moment = plant(broken, night, case.of(night))
            sentences = [finding.sentence for finding in broken.look(moment + timedelta(minutes=10)).alarms]
            right = [sentence for sentence in sentences if words in sentence]
            told += bool(right)
            if not right:
                console.print(f"  not told: {name} on {night}; said: {sentences}")
            others += len(sentences) - bool(right)
            example = example or (right[0] if right else "")
        table.add_row(name, str(len(copies)), str(told), str(others), example)
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=int, default=60)
    parser.add_argument("--plants", type=int, default=10)
    parser.add_argument("--only", help="one table")
    arguments = parser.parse_args()
    console = Console(width=160)
    with tempfile.TemporaryDirectory(prefix="sandtimer-checks-") as folder:
        for case in load_cases():
            if arguments.only in (None, case.name):
                run_case(case, Path(folder), arguments.nights, arguments.plants, console)


if __name__ == "__main__":
    main()
