"""What a training keeps in memory: the parameters, the optimiser's state, a batch; and no copy of the data."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

import deltarule as dr


def peak(work):
    """The most memory that Python and NumPy took at once while `work` ran, beyond what they had before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def task(N, batch, hidden=50):
    net = dr.Network([100, hidden, 3], "relu", "softmax", "log_likelihood", seed=0)
    rng = np.random.default_rng(0)
    x, y = rng.random((N, 100), dtype=np.float32), rng.integers(0, 3, N)
    fit = {"epochs": 2, "batch_size": batch, "optimizer": dr.Adam(), "progress": False, "watch": 1000}
    net.fit(x[:500], y[:500], **fit)  # compiles
    return net, x, y, fit


def test_data_in_the_networks_dtype_and_order_is_not_copied():
    net, x, y, fit = task(100_000, 100)  # 40 MB
    assert peak(lambda: net.fit(x, y, **fit)) < x.nbytes / 10
    assert peak(lambda: net.predict(x)) < x.nbytes / 10
    assert peak(lambda: net.score(x, y)) < x.nbytes / 10
    assert peak(lambda: net.fit(x.astype(np.float64), y, **fit)) > x.nbytes  # the measure sees a copy


def test_a_step_takes_as_much_memory_as_its_batch_however_many_samples_there_are():
    net, x, y, fit = task(60_000, 100)
    few, many = (peak(lambda n=n: net.fit(x[:n], y[:n], **fit)) for n in (2000, 60_000))
    assert many - few < 24 * 58_000  # the order of the samples and their labels, coded: not their values
    large = {**fit, "batch_size": 6000}
    assert peak(lambda: net.fit(x, y, **large)) > 2 * few


MAPPED = """
import re, resource, sys
import numpy as np
import deltarule as dr

def now(what):
    return int(re.search(what + r":\\\\s+(\\\\d+)", open("/proc/self/status").read())[1]) * 1024

net = dr.Network([500, 8, 2], "relu", "softmax", "log_likelihood", seed=0)
fit = dict(epochs=1, batch_size=100, progress=False)
net.fit(np.zeros((300, 500), np.float32), np.arange(300) % 2, **fit)  # compiles
net.predict(np.zeros((300, 500), np.float32))
limit = 64 << 20
resource.setrlimit(resource.RLIMIT_DATA, (now("VmData") + limit,) * 2)
x = np.lib.format.open_memmap(sys.argv[1], mode="r")
assert x.nbytes > 4 * limit
try:
    x + 1
    sys.exit("the limit does not hold")
except MemoryError:
    pass
y = np.arange(len(x)) % 2
history = net.fit(x, y, **fit)
print(len(x), history.cost[0], net.predict(x).shape[0])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA limits all of a process's own memory on Linux alone")
def test_a_memory_mapped_input_larger_than_the_memory_allowed_trains(tmp_path):
    path = tmp_path / "x.npy"
    np.lib.format.open_memmap(path, "w+", np.float32, (150_000, 500))  # 300 MB of zeros, none on the disk
    code = MAPPED.replace("\\\\", "\\")
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    rows, cost, predicted = done.stdout.split()
    assert rows == predicted == "150000"
    assert 0.6 < float(cost) < 0.75
