"""`python -m jobs.cli` is `sandtimer`."""

from jobs.cli.main import main

main()
