"""`make test-fuzz`: generated runs over the command line, every twenty-fifth on Spark; the first failures are told."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.fuzz.runs import run_one


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--spark-every", type=int, default=25, help="0: none")
    parser.add_argument("--failures", type=int, default=1, help="stop after so many")
    options = parser.parse_args()
    codes: Counter[tuple[str, int]] = Counter()
    failed = 0
    for seed in range(options.first, options.first + options.runs):
        engine = "spark" if options.spark_every and seed % options.spark_every == options.spark_every - 1 else "local"
        folder = Path(tempfile.mkdtemp(prefix="sandtimer-fuzz-"))
        try:
            for command, found in run_one(seed, folder, engine).items():
                codes.update((command, code) for code in found)
        except AssertionError as error:
            failed += 1
            print(error, flush=True)
        else:
            print(f"run {seed} on {engine}", file=sys.stderr, flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if failed >= options.failures:
            break
    for command in sorted({command for command, _ in codes}):
        ended = ", ".join(f"{n} with {code}" for (name, code), n in sorted(codes.items()) if name == command)
        print(f"{command}: {ended}")
    print(f"{options.runs} runs, {failed} failed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
