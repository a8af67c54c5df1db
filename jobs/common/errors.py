"""Errors of the jobs and the exit code that each family ends with (0 is done, 1 is a bug in Sandtimer)."""

from __future__ import annotations

from collections.abc import Sequence

from vae_model.errors import DataError, SandtimerError

__all__ = [
    "AlarmError",
    "ConfigError",
    "ConflictError",
    "DataError",
    "InterferenceError",
    "SandtimerError",
    "SetupError",
    "describe",
    "exit_code",
]

EXIT_BUG = 1
EXIT_USAGE = 2
EXIT_DATA = 3
EXIT_CONFLICT = 4
EXIT_ALARM = 5


class ConfigError(SandtimerError):
    """The command line or the config is wrong; nothing was read."""


class SetupError(SandtimerError):
    """Something that must be installed is missing or does not start: Java, Spark, the Delta jars, an extra."""


class ConflictError(SandtimerError):
    """Another writer changed the same part of the target; nothing was committed, it is safe to run again."""


class InterferenceError(SandtimerError):
    """The store, the disk, the network or Spark failed; nothing was committed, it is safe to run again."""


class AlarmError(SandtimerError):
    """The command did its work and found something that a person has to look at; running it again finds the same.

    Args:
        expected, found, remedy: as of every error.
        alarms: each in a sentence, where there are several.
    """

    def __init__(self, expected: str, found: str, remedy: str, alarms: Sequence[str] = ()) -> None:
        super().__init__(expected, found, remedy)
        self.alarms = tuple(alarms)


def exit_code(error: BaseException) -> int:
    """The process's exit code: 2 usage, config or set-up, 3 data, 4 in the way, safe to rerun, 5 alarm, 1 else."""
    if isinstance(error, ConfigError | SetupError):
        return EXIT_USAGE
    if isinstance(error, ConflictError | InterferenceError | OSError):
        return EXIT_CONFLICT
    if isinstance(error, AlarmError):
        return EXIT_ALARM
    return EXIT_DATA if isinstance(error, DataError) else EXIT_BUG


def describe(error: BaseException) -> SandtimerError:
    """Any error as one that says what was expected, what was found and what to do."""
    if isinstance(error, SandtimerError):
        return error
    reason = f"{error.__class__.__name__}: {' '.join(str(error).split())[:500]}"
    if isinstance(error, OSError):
        return InterferenceError(
            "files to read and write", reason, "nothing was committed; correct the cause and run it again"
        )
    return SandtimerError(
        "no bug in Sandtimer", reason, "nothing was committed; run it with --debug and report the traceback"
    )
