"""The program `deltarule` on one of several ranks; the one named sends itself a signal at the N-th sum over them.

Usage: ranked_program.py RANK SIGNAL N ARGUMENTS..
"""

from __future__ import annotations

import os
import signal
import sys

from deltarule import cli
from deltarule.interop.distributed import TorchRanks


def main() -> None:
    who, sign, when = sys.argv[1], getattr(signal, sys.argv[2]), int(sys.argv[3])
    sys.argv[1:] = sys.argv[4:]

    if os.environ["RANK"] == who and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
        add, count = TorchRanks.sum, 0

        def and_signal(ranks, array):
            nonlocal count
            count += 1
            if count == when:
                os.kill(os.getpid(), sign)
            add(ranks, array)

        TorchRanks.sum = and_signal

    cli.main()


if __name__ == "__main__":
    main()
