"""Errors for the person at 3 a.m.: what was expected, what was found, what to do."""

from __future__ import annotations


class SandtimerError(Exception):
    """Base of every error that Sandtimer raises on purpose.

    Args:
        expected: what the code needed, as a phrase ("column 'distance' of type double").
        found: what was there instead ("no such column; the nearest is 'distances'").
        remedy: what the reader should do ("add the column or retrain without it").
    """

    def __init__(self, expected: str, found: str, remedy: str) -> None:
        super().__init__(f"expected {expected}; found {found}; {remedy}")
        self.expected = expected
        self.found = found
        self.remedy = remedy


class DataError(SandtimerError):
    """The data break the contract: a missing column, a wrong type, an empty extract."""


class BundleError(DataError):
    """A bundle that cannot be trusted or read: a changed byte, an unknown format, a missing file."""
