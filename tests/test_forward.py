"""Predictions: the bits of the trace's a^L in any batch, by any number of threads, and nothing that is not finite."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from drawn import HIDDEN, PAIRS

import deltarule as dr
from deltarule import cores, forward, inputs
from deltarule.kernels import parts, predict


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("hidden", HIDDEN)
def test_a_prediction_is_the_trace_s_output_to_the_bit(hidden, dtype):
    rng = np.random.default_rng(0)
    for (last, cost), sizes in zip(PAIRS, [(5, 9, 3), (3, 8, 7, 2), (70, 33, 4), (1, 1)] * len(PAIRS), strict=False):
        net = dr.Network(sizes, hidden, last, cost, dtype=dtype, seed=0)
        for N in (1, 7, 12, 13, 300):
            x, y = rng.normal(size=(N, sizes[0])).astype(dtype), np.full((N, sizes[-1]), 0.5)
            trace = net.backprop(x, y)
            np.testing.assert_array_equal(net.predict(x), trace.a[net.L])
            a, C = forward.evaluation(net, x, inputs.targets(net, y, N))
            np.testing.assert_array_equal(a, trace.a[net.L])
            np.testing.assert_allclose(C, trace.cost, rtol=1e-5 if dtype == "float32" else 1e-12)


def wide():
    net = dr.Network([300, 200, 3], "relu", "softmax", "log_likelihood", seed=0)
    x, y = np.random.default_rng(0).random((1501, 300), dtype=np.float32), np.arange(1501) % 3
    assert 1501 * net.theta.size > forward.SHARED
    return net, x, y


def test_threads_that_share_a_prediction_find_the_same_bits(monkeypatch):
    net, x, y = wide()
    found = []
    for count in (1, 2, 3, 3, 3):
        monkeypatch.setattr(cores, "cores", lambda count=count: count)
        found.append((net.predict(x), net._evaluate(x, inputs.targets(net, y, len(x)))))
    for a, evaluated in found[1:]:
        np.testing.assert_array_equal(a, found[0][0])
        assert evaluated == found[0][1]


def test_a_prediction_waits_for_the_part_that_another_thread_has_taken():
    net, x, _ = wide()
    state, out = parts.state(), np.zeros((len(x), 3), np.float32)
    state[parts.TAKEN] = 1  # part 0
    call = threading.Thread(target=predict.predict, args=(net.theta, net._table, x, out, 4, state), daemon=True)
    call.start()
    call.join(0.5)
    assert call.is_alive()
    assert state[parts.DONE] == 3
    assert not out[:12].any()
    state[parts.DONE] += 1
    call.join(10)
    assert not call.is_alive()
    np.testing.assert_array_equal(out[-12:], net.predict(x)[-12:])


def test_many_threads_may_predict_with_one_network_at_once(monkeypatch):
    monkeypatch.setattr(cores, "cores", lambda: 3)
    net, x, _ = wide()
    true = net.predict(x)
    with ThreadPoolExecutor(6) as pool:
        for a in pool.map(lambda _: net.predict(x), range(60)):
            np.testing.assert_array_equal(a, true)


@pytest.mark.parametrize("count", [1, 2])
def test_a_value_that_is_not_finite_is_refused_wherever_it_stands(monkeypatch, count):
    monkeypatch.setattr(cores, "cores", lambda: count)
    net, x, _ = wide()
    for row, column, bad in [(0, 0, np.nan), (700, 17, np.inf), (1500, 299, -np.inf)]:
        spoilt = x.copy()
        spoilt[row, column] = bad
        with pytest.raises(dr.BadInput, match=f"row {row}, column {column}"):
            net.predict(spoilt)


def test_other_layouts_give_the_same_bits():
    net, x, _ = wide()
    true, read_only = net.predict(x), x.copy()
    read_only.flags.writeable = False
    for other in (read_only, np.asfortranarray(x), x.astype(np.float64), x.tolist(), np.repeat(x, 2, axis=0)[::2]):
        np.testing.assert_array_equal(net.predict(other), true)


@pytest.mark.skipif(not hasattr(os, "fork") or sys.platform == "darwin", reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_predicts_with_threads_of_its_own(monkeypatch):
    monkeypatch.setattr(cores, "cores", lambda: 2)
    net, x, _ = wide()
    true = net.predict(x)
    child = os.fork()
    if child == 0:
        same = np.array_equal(net.predict(x), true)
        named = [one.name for one in threading.enumerate()].count("deltarule-standby")
        os._exit(0 if same and named == 1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
