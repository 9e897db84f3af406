"""How many cores a training may take, and whose turn it is."""

from __future__ import annotations

import os
import threading

LIMITS = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS")
"""Environment variables that users, and joblib's worker processes, set to say how many threads a process may use."""

turn = threading.Lock()
"""Held for a call in which several threads share a training's steps: such trainings take turns. Threads that wait for
each other in lockstep, and are more than the cores, would wait for the scheduler in every step."""


def _begin_anew() -> None:
    """In a process that was forked no training runs, whatever ran in its parent."""
    global turn
    turn = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def cores() -> int:
    """The cores that this process may use."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = [os.environ.get(name, "") for name in LIMITS]
    return max(min([count, *(int(one) for one in given if one.isdigit() and int(one) > 0)]), 1)
