"""`make test-nights`: sixty nights on each engine, with kills, races and an oracle."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from tests.nights.course import Course
from tests.nights.simulate import simulate
from tests.nights.source import CODE, load

COURSES = (
    Course("local", "merge", 60, days=3),
    Course("local", "merge", 60, days=3, key=CODE),
    Course("local", "replace", 60, days=3, kill_every=3),
    Course("local", "in_place", 60, days=3, kill_every=3),
    Course("spark", "merge", 60, kill_every=8, key=CODE),
)


def main() -> None:
    """Run the courses; exit code 1 where a scored table differs from the oracle."""
    parser = argparse.ArgumentParser(description="Sixty nights on each engine, with kills, races and an oracle.")
    parser.add_argument("--engine", choices=["local", "spark"])
    parser.add_argument("--mode", choices=["merge", "replace", "append", "in_place"])
    parser.add_argument("--nights", type=int)
    arguments = parser.parse_args()
    flights, kills, clean = load(), 0, True
    for course in COURSES:
        if arguments.engine in (None, course.engine) and arguments.mode in (None, course.mode):
            nights = arguments.nights or course.nights
            verdict, tally = simulate(replace(course, nights=nights), flights)
            kills, clean = kills + tally.kills, clean and verdict.is_clean
    print(f"{'every table equals the oracle' if clean else 'A TABLE DIFFERS FROM THE ORACLE'}; {kills} kills in all")
    sys.exit(0 if clean else 1)


if __name__ == "__main__":
    main()
