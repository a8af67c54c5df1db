"""Freed memory is kept, so that arrays of the same size need not be taken from the system again."""

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such switch")

PAGES = """
import resource
import numpy as np
from jobs.common.memory import keep_freed_memory
keep_freed_memory()
def fill():
    for _ in range(50):
        np.ones(6 * 2**20, np.uint8)
fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def count_pages(**variables: str) -> int:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", PAGES], env=environment | variables, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_freed_memory_is_used_again():
    assert count_pages() < 500


def test_what_the_environment_says_of_malloc_stays():
    # Fifty times 6 MB, in pages of 4 KB, or fewer large ones.
    assert count_pages(MALLOC_MMAP_THRESHOLD_="1000000") > 100 + count_pages()
