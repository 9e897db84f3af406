"""Steps that several threads share: what one thread computes, the same errors, and no harm to the neighbours."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading

import numpy as np
import pytest
from drawn import network, samples

import deltarule as dr
from deltarule import cores, training


def trained(threads, sizes=(9, 20, 13, 4), batch=33, rule="transpose", optimizer="adam", dtype="float32", **more):
    net = network(list(sizes), "relu", "softmax", "log_likelihood", dtype, scale=1.0)
    x, y = samples(net, 150)
    history = net.fit(x, y, epochs=3, batch_size=batch, optimizer=optimizer, rule=rule, threads=threads, **more)
    return net, history


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", [dr.SGD(0.1), dr.Adam()], ids=["sgd", "adam"])
@pytest.mark.parametrize("batch", [1, 2, 7, 150])
@pytest.mark.parametrize("sizes", [(9, 20, 13, 4), (3, 1, 2), (5, 4)])
def test_the_weights_are_those_of_one_thread_and_the_same_bits_each_time(sizes, batch, optimizer, dtype):
    settings = {"optimizer": optimizer, "dtype": dtype, "l2": 1e-3, "watch": True}
    one, history = trained(1, sizes, batch, **settings)
    close = {"rtol": 1e-3, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-9, "atol": 1e-12}
    for threads in (2, 3):
        net, shared = trained(threads, sizes, batch, **settings)
        again, same = trained(threads, sizes, batch, **settings)
        np.testing.assert_array_equal(net.theta, again.theta)
        assert shared.cost == same.cost
        np.testing.assert_allclose(net.theta, one.theta, **close)
        np.testing.assert_allclose(shared.cost, history.cost, **close)
        assert shared.accuracy == history.accuracy
        np.testing.assert_allclose(shared.flow.delta, history.flow.delta, **close)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("hidden", ["tanh", "gelu"])
def test_what_is_watched_is_the_same_whoever_sees_it(hidden, dtype):
    sizes, rows = [4, 32, 16, 4], 3000  # more than a core's cache holds at once: each member takes part after part
    net = network(sizes, hidden, "identity", "quadratic", dtype, scale=3.0)
    x, y = samples(net, rows)
    flow, trace = net.backprop(x, y).flow(), net.backprop(x, y)
    for threads in (1, 2, 3):
        net = network(sizes, hidden, "identity", "quadratic", dtype, scale=3.0)
        seen = net.fit(x, y, epochs=1, batch_size=rows, shuffle=False, watch=True, threads=threads).flow
        close = {"rtol": 1e-4 if dtype == "float32" else 1e-10}
        for row in flow.rows:
            if row.step == "activation" and row.layer > 0:
                l = row.layer
                np.testing.assert_allclose(seen.moved[0, l - 1], row.norm_in, **close)
                np.testing.assert_allclose(seen.delta[0, l - 1], row.norm_out, **close)
                np.testing.assert_allclose(
                    seen.speed[0, l - 1], np.linalg.norm(trace.delta[l].astype(float).mean(axis=0)), **close
                )
                if hidden == "tanh" and l < 3:
                    assert 0.1 < seen.saturated[0, l - 1] == pytest.approx(row.saturated)
        assert (seen.dead == 0).all()


@pytest.mark.parametrize("rule", ["random", "direct", "sign", "inverse", "kolen_pollack", lambda delta, W: delta @ W])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_every_rule_and_dropout_too(rule, dropout):
    # float64: where a weight passes through 0, "sign" would make much of a rounding
    one, _ = trained(1, rule=rule, dropout=dropout, dtype="float64")
    two, _ = trained(2, rule=rule, dropout=dropout, dtype="float64")
    np.testing.assert_allclose(two.theta, one.theta, rtol=1e-6, atol=1e-9)


def test_wide_layers_are_shared():
    one, _ = trained(1, (200, 300, 300, 3), 150)
    two, _ = trained(2, (200, 300, 300, 3), 150)
    np.testing.assert_allclose(two.theta, one.theta, rtol=1e-3, atol=1e-5)
    again, _ = trained(2, (200, 300, 300, 3), 150)
    np.testing.assert_array_equal(two.theta, again.theta)


@pytest.mark.parametrize("row", [0, 5, 9])
def test_a_value_that_is_not_finite_is_named_whoever_meets_it(row):
    named = []
    for threads in (1, 2, 3):
        net = network([3, 6, 5, 2], "relu", "identity", "quadratic", "float32")
        x, y = samples(net, 10)
        x[row] = 3e38
        with pytest.raises(dr.Diverged) as failed:
            net.fit(x, y, epochs=2, batch_size=10, optimizer=dr.SGD(0.1), threads=threads)
        named.append((failed.value.epoch, failed.value.step, failed.value.layer))
        assert np.isfinite(net.theta).all()
    assert len(set(named)) == 1


def test_trainings_in_several_threads_and_a_forked_process_do_not_disturb_each_other():
    right, _ = trained(2)
    found = {}

    def train(name):
        found[name] = trained(2)[0].theta

    threads = [threading.Thread(target=train, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in range(3):
        np.testing.assert_array_equal(found[name], right.theta)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(trained, (2,))[0].theta, right.theta)


def test_the_environment_limits_the_threads(monkeypatch):
    monkeypatch.setenv("NUMBA_NUM_THREADS", "1")
    assert cores.cores() == 1
    monkeypatch.setenv("NUMBA_NUM_THREADS", "no number")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert cores.cores() == 1


@pytest.mark.parametrize("threads", [0, -1, 1.5, "two", True])
def test_what_is_no_number_of_threads_is_refused(threads):
    with pytest.raises(dr.BadInput, match="how many threads"):
        trained(threads)


@pytest.mark.parametrize("optimizer", [dr.SGD(0.1), dr.Adam()], ids=["sgd", "adam"])
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("N", [130, 500, 1000])
def test_a_large_batch_in_parts_is_the_batch(N, threads, optimizer, monkeypatch):
    def train(part_bytes):
        monkeypatch.setattr(training, "PART_BYTES", part_bytes)
        net = network([40, 60, 30, 3], "tanh", "softmax", "log_likelihood", scale=1.0)
        x, y = samples(net, N)
        history = net.fit(x, y, epochs=3, batch_size=N, optimizer=optimizer, l2=1e-3, threads=threads)
        return net.theta, history

    (parts, seen), (whole, right) = train(net_bytes := 50_000), train(10**9)
    assert net_bytes > 8 * (40 * 60 + 60 * 30 + 30 * 3)
    np.testing.assert_allclose(parts, whole, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(seen.cost, right.cost, rtol=1e-12)
    assert seen.accuracy == right.accuracy


def test_ctrl_c_ends_a_shared_training_at_a_whole_step():
    trained(2)  # compiled
    net = network([9, 20, 13, 4], "relu", "softmax", "log_likelihood", "float32", scale=1.0)
    x, y = samples(net, 150)
    timer = threading.Timer(0.8, lambda: os.kill(os.getpid(), signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin without it
    timer.start()
    try:
        history = net.fit(x, y, epochs=200_000, batch_size=50, optimizer=dr.SGD(1e-3), threads=2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert history.stopped == "interrupted"
    assert history.epochs > 0
    assert np.isfinite(net.theta).all()
    assert net.fit(x, y, epochs=1, threads=2).stopped == "finished"
