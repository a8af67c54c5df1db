"""`make bench-scoring`: every way on every table, each in a process of its own, and the local engine by rows. Prints
tables in Markdown; docs/performance.md holds those of one run."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console

from tests.bench.scoring.data import Case, count_files, make_case
from tests.bench.scoring.measure import Cost
from tests.bench.scoring.ways import EXECUTORS, PEERS, ROUTES, WAYS, name_growth, run_way

CASES = {"numbers": 2_000_000, "flights": 3_367_760, "wide": 500_000}
CURVE = (1_000_000, 2_000_000, 4_000_000, 16_000_000)
GROWN_ROWS = 4_000_000
COPY = "Spark copies, constants added"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = (*CASES, "curve", "executors")
    parser.add_argument("--cases", nargs="*", default=kinds, choices=kinds)
    parser.add_argument("--ways", nargs="*", default=None, help="words that the ways' names hold")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of rows")
    parser.add_argument("--repeat", type=int, default=1, help="times, of which the middle one counts")
    parser.add_argument("--one", nargs=3, metavar=("WAY", "CASE", "ROWS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        way, name, rows = arguments.one
        print(json.dumps(asdict(run_way(way, Case(name, int(rows))))))
        return
    console = Console(soft_wrap=True)
    console.print(f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}")
    for name in arguments.cases:
        if name == "curve":
            print_curve(console, [int(rows * arguments.scale) for rows in CURVE])
        elif name == "executors":
            print_growth(console, Case("numbers", int(GROWN_ROWS * arguments.scale)))
        else:
            case = Case(name, int(CASES[name] * arguments.scale))
            print_case(console, case, arguments.ways, arguments.repeat)


def print_case(console: Console, case: Case, words: Sequence[str] | None, repeat: int) -> None:
    make_case(case)
    console.print(f"\n{case.name}: {case.rows:,} rows in {count_files(case)} files\n")
    console.print("| way | CPU s | wall s | CPU, of Spark's copy |\n| --- | --- | --- | --- |")
    chosen = [way for way in WAYS if words is None or way == COPY or any(word in way for word in words)]
    chosen = [way for way in chosen if not (way in PEERS and case.name == "flights")]
    runs: dict[str, list[Cost]] = {way: [] for way in chosen}
    # In turns, so that a busy minute of the machine falls on all of them.
    for _ in range(repeat):
        for way in chosen:
            runs[way].append(run_apart(way, case))
    costs = {way: sorted(runs[way], key=lambda cost: cost.cpu_s)[repeat // 2] for way in chosen}
    for way, cost in costs.items():
        console.print(f"| {way} | {cost.cpu_s:.1f} | {cost.wall_s:.1f} | {cost.cpu_s / costs[COPY].cpu_s:.2f} |")


def print_curve(console: Console, rows: Sequence[int]) -> None:
    console.print("\n| rows | CPU s | CPU s for a million | peak GB |\n| --- | --- | --- | --- |")
    for count in rows:
        case = Case("numbers", count)
        make_case(case)
        cost = run_apart("Sandtimer, local engine", case)
        console.print(f"| {count:,} | {cost.cpu_s:.1f} | {cost.cpu_s / count * 1e6:.2f} | {cost.peak_gb:.2f} |")


def print_growth(console: Console, case: Case) -> None:
    make_case(case)
    console.print(f"\n{case.name}: {case.rows:,} rows in {count_files(case)} files\n")
    console.print("| route | executors | CPU s | wall s |\n| --- | --- | --- | --- |")
    for route in ROUTES:
        for executors in EXECUTORS:
            cost = run_apart(name_growth(route, executors), case)
            console.print(f"| {route} | {executors} | {cost.cpu_s:.1f} | {cost.wall_s:.1f} |")


def run_apart(way: str, case: Case) -> Cost:
    """The cost of one way in a process of its own: nothing of one stays for the next."""
    command = [sys.executable, "-m", "tests.bench.scoring", "--one", way, case.name, str(case.rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{way} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()
