"""How the kernels are compiled: flags, the cache on disk, and the message while the user waits."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numba
from numba.core import event
from numba.core.caching import IndexDataCacheFile

from deltarule.kernels.doors import DOOR, PART

FASTMATH = {"reassoc", "contract", "nsz", "arcp"}
"""What the compiler may assume. Never `nnan` or `ninf`: they would let it erase the NaN that we look for."""


def _sources() -> str:
    """A digest of every source file of the kernels."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


SOURCES = _sources()

FLAGS: Any = {"nogil": True, "fastmath": FASTMATH, "error_model": "numpy"}

INSIDE: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Only compiled code calls the function: without the wrappers for other callers it compiles a sixth faster.
Python must not call it, for there is nothing to call, and the process would end."""


def jit(function: Any) -> Any:
    """A part of the kernels: it returns no array, and allocates none."""
    return numba.njit(**FLAGS, **INSIDE, **PART)(function)


def entry(function: Any) -> Any:
    """A door that Python calls: compiled once for each dtype and kept on disk.

    Numba's own cache notices a change of the file that the door stands in, but not of the files that it
    calls into. The stamp is therefore the digest of all of them.
    """
    door = numba.njit(**FLAGS, **DOOR)(function)
    try:
        door.enable_caching()
    except RuntimeError:  # no folder that can be written: compile in every process
        return door
    kept = door._cache
    kept._cache_file = IndexDataCacheFile(
        cache_path=kept._cache_path,
        filename_base=kept._impl.filename_base,
        source_stamp=SOURCES,
    )
    return door


class Announce(event.Listener):
    """Says once, on stderr, that a compilation has begun, why, and how long it usually takes."""

    said = False

    def on_start(self, event: Any) -> None:
        function = event.data["dispatcher"].py_func
        if Announce.said or not str(function.__module__).startswith("deltarule.kernels"):
            return
        Announce.said = True
        print(
            "deltarule: compiling its kernels for this machine; once for each dtype, about fifteen seconds, "
            "then kept on disk.",
            file=sys.stderr,
            flush=True,
        )

    def on_end(self, event: Any) -> None:
        """Nothing to say: the work goes on."""


event.register("numba:compile", Announce())
