"""One finding of the doctor, and how a check that may fail becomes one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import vae_model as vm


@dataclass(frozen=True)
class Check:
    """One finding: `remedy` says what to do and is empty when `ok`."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def attempt(name: str, describe: Callable[[], str], remedy: str = "") -> Check:
    """A check that passes with what `describe` says, and fails with what it raises."""
    try:
        return Check(name, True, describe())
    except vm.SandtimerError as error:
        return Check(name, False, f"expected {error.expected}; found {error.found}", error.remedy)
    except (OSError, ValueError) as error:
        return Check(name, False, first_line(error), remedy or "correct what the detail names")


def first_line(error: Exception) -> str:
    """The first line of an error's message."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
