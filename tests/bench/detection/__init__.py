"""Sandtimer beside other detectors, on tables with known faults: `python -m tests.bench.detection`."""
