"""Threads of the local engine: one for each core, and none beneath them in numpy's matrix products."""

from __future__ import annotations

from functools import partial

from threadpoolctl import threadpool_info, threadpool_limits

from jobs.engines.local import run_all


def blas_threads() -> list[int]:
    """Of numpy's BLAS; scipy brings one of its own."""
    return [pool["num_threads"] for pool in threadpool_info() if "numpy" in pool["filepath"]]


def test_tasks_do_not_start_threads_of_their_own() -> None:
    with threadpool_limits(2, user_api="blas"):
        seen: list[list[int]] = []
        run_all([partial(blas_threads) for _ in range(4)], seen)
        assert seen
        assert all(count == 1 for counts in seen for count in counts)
        assert max(blas_threads()) == 2, "the caller's own setting is back"
