"""`sandtimer check` as a file of its own: `python -m jobs.check`, `spark-submit jobs/check.py`."""

import sys
from pathlib import Path

if not __package__:  # as a script: the packages lie one folder up
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from jobs.cli.main import main

if __name__ == "__main__":
    main("check")
