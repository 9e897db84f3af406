"""The program `deltarule` on one of several ranks; the second sends itself a signal at the N-th sum over them.

Usage: ranked_program.py SIGNAL N ARGUMENTS..
"""

from __future__ import annotations

import os
import signal
import sys

from deltarule import cli
from deltarule.interop.distributed import TorchRanks

sign, when = getattr(signal, sys.argv[1]), int(sys.argv[2])
sys.argv[1:] = sys.argv[3:]

if os.environ["RANK"] == "1" and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
    add, count = TorchRanks.sum, 0

    def and_signal(ranks, array):
        global count
        count += 1
        if count == when:
            os.kill(os.getpid(), sign)
        add(ranks, array)

    TorchRanks.sum = and_signal

cli.main()
