"""CPU seconds of a process and all below it, from Linux's /proc: a JVM and its Python workers count, also those that
ended."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass
class Cost:
    """What a block took; `peak_gb` is the largest resident set of this process alone, since it began."""

    cpu_s: float = 0.0
    wall_s: float = 0.0
    peak_gb: float = 0.0


@contextmanager
def measure() -> Iterator[Cost]:
    """Measure a block."""
    cost, cpu_s, wall_s = Cost(), read_cpu_s(), time.perf_counter()
    yield cost
    cost.cpu_s, cost.wall_s = read_cpu_s() - cpu_s, time.perf_counter() - wall_s
    status = Path("/proc/self/status").read_text(encoding="ascii")
    cost.peak_gb = int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e9


def read_cpu_s() -> float:
    """CPU seconds so far of this process, its descendants, and those of them that ended and were waited for."""
    ticks: dict[int, int] = {}
    children: dict[int, list[int]] = defaultdict(list)
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        # The name in brackets may hold spaces; counted from behind it, field 4 is the parent and 14 to 17 are times.
        fields = text.rpartition(")")[2].split()
        number = int(path.parent.name)
        children[int(fields[1])].append(number)
        ticks[number] = sum(map(int, fields[11:15]))
    found, todo = 0, [os.getpid()]
    while todo:
        number = todo.pop()
        found += ticks.get(number, 0)
        todo += children[number]
    return found / _TICKS_PER_S
