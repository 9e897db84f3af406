"""Threads that stand by to help: started once, they sleep until someone asks."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

_asked: SimpleQueue[Callable[[], Any]] = SimpleQueue()
_count = 0
_lock = threading.Lock()


def ask(count: int, work: Callable[[], Any]) -> None:
    """Have `count` other threads call work(), each as soon as it can. Nobody waits for them, here or at the end.

    The work is compiled code that shares itself out among those who come, and gives no result; a thread that finds
    no memory for it leaves it to the others.
    """
    global _count
    if _count < count:
        with _lock:
            for _ in range(_count, count):
                threading.Thread(target=_stand_by, args=(_asked,), name="deltarule-standby", daemon=True).start()
                _count += 1
    for _ in range(count):
        _asked.put(work)


def _stand_by(asked: SimpleQueue[Callable[[], Any]]) -> None:
    while True:
        with suppress(MemoryError):
            asked.get()()


def _begin_anew() -> None:
    """In a process that was forked no thread stands by, whatever did in its parent."""
    global _asked, _count, _lock
    _asked, _count, _lock = SimpleQueue(), 0, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
