"""fit: its steps against the oracle's, its options, and what it does when things go wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import oracle
import pytest
import torch
from conftest import relative
from drawn import network, samples

import deltarule as dr
from deltarule import training

OPTIMIZERS = {
    "sgd": (dr.SGD(0.3), lambda p: torch.optim.SGD(p, 0.3)),
    "momentum": (dr.Momentum(0.1, 0.8), lambda p: torch.optim.SGD(p, 0.1, 0.8)),
    "nesterov": (dr.Nesterov(0.1, 0.8), lambda p: torch.optim.SGD(p, 0.1, 0.8, nesterov=True)),
    "rmsprop": (dr.RMSProp(0.01), lambda p: torch.optim.RMSprop(p, 0.01, 0.9)),
    "adam": (dr.Adam(0.02), lambda p: torch.optim.Adam(p, 0.02)),
    "adamw": (dr.AdamW(0.02, decay=0.1), lambda p: torch.optim.AdamW(p, 0.02, weight_decay=0.1)),
}


def by_torch(net, x, y, make, epochs, batch, l2=0.0, l1=0.0):
    """The same training in PyTorch: the same batches in the same order."""
    W = [torch.tensor(w, requires_grad=True) for w in net.W]
    b = [torch.tensor(v, requires_grad=True) for v in net.b]
    step = make([*W, *b])
    names = [sigma.name for sigma in net.activations]
    for _ in range(epochs):
        for start in range(0, len(x), batch):
            a = torch.tensor(x[start : start + batch])
            for w, v, name in zip(W, b, names, strict=True):
                a = oracle.SIGMA[name](a @ w.T + v)
            C = oracle.COST[net.cost.name](a, torch.tensor(y[start : start + batch])).mean()
            C = C + sum(l2 / 2 * (w**2).sum() + l1 * w.abs().sum() for w in W)
            step.zero_grad()
            C.backward()
            step.step()
    return [w.detach().numpy() for w in W], [v.detach().numpy() for v in b]


def same_parameters(one, other):
    return all(np.array_equal(p, q) for p, q in zip([*one.W, *one.b], [*other.W, *other.b], strict=True))


@pytest.mark.parametrize("penalty", [{}, {"l2": 0.02}, {"l1": 0.01}, {"l2": 0.01, "l1": 0.02}])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_are_those_of_the_oracle(name, penalty):
    mine, theirs = OPTIMIZERS[name]
    net = network([5, 7, 4, 3], ["tanh", "sigmoid"], "softmax", "log_likelihood", scale=1.0)
    x, y = samples(net, 23)  # three whole batches of 7 and one of 2
    W, b = by_torch(net, x, y, theirs, 3, 7, **penalty)
    net.fit(x, y, epochs=3, batch_size=7, optimizer=mine, shuffle=False, **penalty)
    for l in range(1, 4):
        assert relative(net.W[l], W[l - 1]) < 1e-9
        assert relative(net.b[l], b[l - 1]) < 1e-9


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_steps_of_wide_layers_are_the_same(optimizer):
    net = network([300, 400, 2], "tanh", "identity", "quadratic", scale=1.0)
    x, y = samples(net, 80)
    mine, theirs = OPTIMIZERS[optimizer]
    W, _ = by_torch(net, x, y, theirs, 1, 40)
    net.fit(x, y, epochs=1, batch_size=40, optimizer=mine, shuffle=False)
    assert relative(net.W[1], W[0]) < 1e-9


@pytest.mark.parametrize("optimizer", [dr.SGD, dr.Momentum, dr.Nesterov, dr.RMSProp, dr.Adam, dr.AdamW])
def test_five_epochs_and_five_more_are_ten(optimizer):
    x, y = dr.data.digits().train
    one, two = (dr.Network([64, 12, 10], seed=3) for _ in range(2))
    steps = optimizer(0.01)
    first = one.fit(x, y, epochs=5, optimizer=steps, schedule=dr.Inverse(0.1))
    second = one.fit(x, y, epochs=5, optimizer=steps, schedule=dr.Inverse(0.1))
    whole = two.fit(x, y, epochs=10, optimizer=optimizer(0.01), schedule=dr.Inverse(0.1))
    assert same_parameters(one, two)
    assert first.cost + second.cost == whole.cost


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    x, y = dr.data.digits().train
    nets = [dr.Network([64, 12, 10], seed=seed) for seed in (1, 1, 2)]
    for net in nets:
        net.fit(x, y, epochs=2, dropout=0.2)
    assert same_parameters(nets[0], nets[1])
    assert not same_parameters(nets[0], nets[2])


def test_an_optimizer_keeps_apart_the_networks_that_it_trains():
    x, y = dr.data.digits().train
    steps = dr.Adam()
    for net in (dr.Network([64, 5, 10], seed=0), dr.Network([64, 7, 10], seed=0)):
        net.fit(x, y, epochs=1, optimizer=steps)
        alone = dr.Network(net.sizes, seed=0)
        alone.fit(x, y, epochs=1)
        assert same_parameters(net, alone)


def test_each_sample_is_seen_once_in_an_epoch_in_a_new_order():
    # One weight that SGD only adds to: dW = eta * mean of the batch's x. The sum does not depend on the order,
    # and which x were seen can be read from the path.
    x = np.array([[1.0], [10.0], [100.0], [1000.0]])
    orders = set()
    for seed in range(40):
        net = dr.Network([1, 1], output="identity", cost="absolute", dtype="float64", init="zeros", seed=seed)
        net.b[1][:] = -1e9  # the error's sign is -1 throughout
        net.fit(x, np.zeros(4), epochs=1, batch_size=1, optimizer=dr.SGD(1.0))
        assert net.W[1][0, 0] == 1111.0
        net.fit(x[:3], np.zeros(3), epochs=1, batch_size=2, optimizer=dr.SGD(1.0))
        orders.add(float(net.W[1][0, 0]))
    assert len(orders) == 3  # which of the three samples came alone


def test_history_holds_what_was_seen():
    split = dr.data.digits()
    net = dr.Network([64, 20, 10], activation="relu", output="softmax", cost="log_likelihood", seed=0)
    before = net.mean_cost(*split.train), net.score(*split.train)
    history = net.fit(*split.train, epochs=1, batch_size=2000, validation=split.validation)
    # One batch: the cost that the step saw is the one before it.
    assert abs(history.cost[0] - before[0]) < 1e-5 * before[0]
    assert history.accuracy[0] == pytest.approx(before[1])
    assert history.validation.cost[0] == pytest.approx(net.mean_cost(*split.validation))
    assert history.validation.accuracy[0] == net.score(*split.validation)
    assert len(history.seconds) == len(history.eta) == 1
    assert history.stopped == "finished"


def test_mean_cost_is_that_of_backprop():
    split = dr.data.digits()
    for output, cost in [("sigmoid", "cross_entropy"), ("softmax", "quadratic")]:
        net = dr.Network([64, 20, 10], output=output, cost=cost, seed=0)
        assert net.mean_cost(*split.test) == pytest.approx(net.backprop(*split.test).cost.mean(), rel=1e-6)


def test_dropout_silences_its_share_and_keeps_the_mean():
    # One hidden unit a column, all of slope 1: the output's mean over many samples stays, its spread shows p.
    n, p = 400, 0.3
    net = dr.Network([1, n, 1], ["identity"], "identity", "absolute", "zeros", "float64", seed=0)
    net.W[1][...], net.W[2][...] = 1.0, 1.0
    net.b[2][:] = -1e9
    x = np.ones((1, 1))
    net.fit(x, np.zeros(1), epochs=1, batch_size=1, optimizer=dr.SGD(1.0), dropout=p)
    moved = net.W[2][0] - 1.0  # eta * a: 0 where silenced, 1 / (1 - p) elsewhere
    assert set(np.round(moved, 12)) == {0.0, round(1 / (1 - p), 12)}
    assert abs((moved == 0).mean() - p) < 4 * np.sqrt(p * (1 - p) / n)
    # A silenced unit passes no error back either.
    assert np.array_equal(net.W[1][:, 0] != 1.0, moved != 0)


def test_schedules_reach_the_steps():
    x, y = dr.data.digits().train
    history = dr.Network([64, 10], seed=0).fit(x, y, epochs=4, optimizer=dr.SGD(2.0), schedule=dr.Cosine(floor=0.0))
    assert history.eta == pytest.approx([2.0, 1 + np.sqrt(0.5), 1.0, 1 - np.sqrt(0.5)])


def test_on_plateau_lowers_eta_when_the_validation_stalls():
    split = dr.data.digits()
    history = dr.Network([64, 10], seed=0).fit(
        *split.train, epochs=12, optimizer=dr.SGD(50.0), validation=split.validation,
        schedule=dr.OnPlateau(by=0.5, patience=2),
    )  # fmt: skip
    assert history.eta[-1] < history.eta[0]


def test_early_stopping_restores_the_best_weights():
    split = dr.data.digits()
    net = dr.Network([64, 30, 10], output="softmax", cost="log_likelihood", seed=0)
    history = net.fit(
        *split.train, epochs=200, optimizer=dr.Adam(0.03), validation=split.validation,
        early_stopping=dr.EarlyStopping(patience=3),
    )  # fmt: skip
    assert history.stopped == "early"
    best = int(np.argmin(history.validation.cost))
    assert history.best_epoch == best + 1
    assert history.epochs == best + 1 + 3
    assert net.mean_cost(*split.validation) == pytest.approx(history.validation.cost[best], rel=1e-6)


def test_early_stopping_by_accuracy_takes_the_highest():
    split = dr.data.digits()
    net = dr.Network([64, 20, 10], seed=0)
    history = net.fit(
        *split.train, epochs=30, optimizer=dr.SGD(3.0), validation=split.validation,
        early_stopping=dr.EarlyStopping(patience=4, monitor="accuracy"),
    )  # fmt: skip
    assert net.score(*split.validation) == max(history.validation.accuracy)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [(["cat", "dog"], ["cat", "dog"]), ([True, False], [0, 1]), ([0, 1], [0, 1])],
)
def test_a_single_output_learns_two_classes(labels, classes):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2))
    y = np.array(labels)[(x[:, 0] > 0).astype(int)]
    net = dr.Network([2, 8, 1], cost="cross_entropy", seed=0)
    net.fit(x, y, epochs=40, optimizer=dr.Adam(0.05))
    assert list(net.classes) == classes
    assert net.score(x, y) > 0.95
    assert (net.classify(x) == y).mean() > 0.95


def test_words_as_labels():
    split = dr.data.digits()
    words = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
    net = dr.Network([64, 30, 10], seed=0)
    net.fit(split.train.x, words[split.train.y], epochs=10, optimizer=dr.SGD(3.0))
    assert (net.classify(split.test.x) == words[split.test.y]).mean() > 0.9
    assert net.score(split.test.x, words[split.test.y]) > 0.9


def test_regression_is_scored_by_r2():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (500, 1))
    y = np.sin(3 * x[:, 0])
    net = dr.Network([1, 20, 1], "tanh", "identity", seed=0)
    history = net.fit(x, y, epochs=100, optimizer=dr.Adam(0.01), validation=(x, y))
    assert history.accuracy == ()
    assert net.score(x, y) > 0.98
    assert history.validation.accuracy[-1] == net.score(x, y)


def test_an_exploding_run_names_epoch_step_and_layer_and_keeps_the_last_good_weights():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 4)), rng.normal(size=(60, 1))
    net = dr.Network([4, 8, 8, 1], "relu", "identity", seed=0)
    with pytest.raises(dr.Diverged, match=r"epoch \d+, step \d+, first at layer \d") as caught:
        net.fit(x, y, epochs=50, optimizer=dr.SGD(3.0))
    error = caught.value
    assert all(np.isfinite(W).all() for W in net.W)
    assert error.history.epochs == error.epoch - 1
    # Taken epoch by epoch, the weights are those of the last epoch that ended well.
    again = dr.Network([4, 8, 8, 1], "relu", "identity", seed=0)
    if error.epoch > 1:
        again.fit(x, y, epochs=error.epoch - 1, optimizer=dr.SGD(3.0))
    assert same_parameters(net, again)


@pytest.mark.parametrize(("place", "layer"), [("sigma", 2), ("slope", 2)])
def test_the_first_bad_value_is_named_wherever_it_appears(place, layer):
    def good(z):
        return z * z

    def bad(z):
        return float("nan") if z > -1e9 else z

    pair = (bad, good) if place == "sigma" else (good, bad)
    net = dr.Network([2, 3, 3, 3, 1], ["tanh", pair, "tanh"], "identity", seed=0)
    with pytest.raises(dr.Diverged) as caught:
        net.fit(np.ones((4, 2)), np.ones(4), epochs=2, batch_size=4)
    assert (caught.value.epoch, caught.value.step, caught.value.layer) == (1, 1, layer)


def test_an_overflow_in_the_last_update_is_found_too():
    net = dr.Network([1, 1], output="identity", seed=0)
    with pytest.raises(dr.Diverged):
        net.fit(np.array([[1e30]]), np.array([1e8]), epochs=1, optimizer=dr.SGD(1e9))
    assert np.isfinite(net.W[1]).all()


def test_training_leaves_x_and_y_as_they_are_and_copies_nothing_it_need_not():
    x = np.random.default_rng(0).random((50, 3)).astype("float32")
    y = np.arange(50) % 2
    kept = x.copy(), y.copy()
    dr.Network([3, 4, 2], seed=0).fit(x, y, epochs=1)
    assert np.array_equal(x, kept[0])
    assert np.array_equal(y, kept[1])


def test_two_trainings_in_two_threads_give_what_each_gives_alone():
    x, y = dr.data.digits().train
    nets = [dr.Network([64, 30, 10], seed=seed) for seed in (0, 1)]
    threads = [threading.Thread(target=net.fit, args=(x, y), kwargs={"epochs": 20}) for net in nets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, net in enumerate(nets):
        alone = dr.Network([64, 30, 10], seed=seed)
        alone.fit(x, y, epochs=20)
        assert same_parameters(net, alone)


def test_the_lock_is_released_while_the_kernels_run(monkeypatch):
    monkeypatch.setattr(training, "CALL_SECONDS", 100.0)  # one compiled call for (nearly) all of the training
    x, y = dr.data.digits().train
    net = dr.Network([64, 200, 10], seed=0)
    worker = threading.Thread(target=net.fit, args=(x, y), kwargs={"epochs": 1000})
    started = last = time.perf_counter()
    longest = 0.0
    worker.start()
    while worker.is_alive():
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
        time.sleep(0.001)
    assert last - started > 0.8  # long enough for a held lock to show
    assert longest < 0.4


INTERRUPTED = """
    import numpy as np, deltarule as dr, signal, sys
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin without it
    x, y = dr.data.digits().train
    net = dr.Network([64, 200, 10], seed=0)
    net.fit(x, y, epochs=1)
    print("ready", flush=True)
    history = net.fit(x, y, epochs=10**6)
    whole = len(history.cost) == history.epochs
    print(history.stopped, 0 < history.epochs < 10**6, np.isfinite(net.W[1]).all(), whole)
"""


def test_ctrl_c_returns_the_network_with_its_history():
    command = [sys.executable, "-c", textwrap.dedent(INTERRUPTED)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "ready\n"
        time.sleep(1.0)
        os.kill(child.pid, signal.SIGINT)
        try:
            out, err = child.communicate(timeout=60)
        finally:
            child.kill()
    assert out == "interrupted True True True\n", err


def test_no_bar_where_there_is_no_terminal(capfd):
    x, y = dr.data.digits().train
    dr.Network([64, 5, 10], seed=0).fit(x, y, epochs=2, progress=True)
    assert capfd.readouterr() == ("", "")


def test_a_bar_on_a_terminal():
    import pty

    script = """
        import deltarule as dr
        x, y = dr.data.digits().train
        dr.Network([64, 100, 10], seed=0).fit(x, y, epochs=30, progress={wanted})
    """
    shown = {}
    for wanted in (True, False):
        here, there = pty.openpty()
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script.format(wanted=wanted))],
            stderr=there, stdout=there, env={**os.environ, "TERM": "xterm"},
        )  # fmt: skip
        os.close(there)
        output = b""
        try:
            while chunk := os.read(here, 65536):
                output += chunk
        except OSError:
            pass  # Linux's answer when the other side has gone
        assert child.wait() == 0
        os.close(here)
        shown[wanted] = output
    assert b"epoch" in shown[True]
    assert b"epoch" not in shown[False]


def test_ctrl_c_while_judging_leaves_a_history_that_is_whole(monkeypatch):
    split = dr.data.digits()
    net = dr.Network([64, 5, 10], seed=0)
    judged = []

    def evaluate(x, y):
        judged.append(1)
        if len(judged) == 3:
            raise KeyboardInterrupt
        return 1.0, 0.5

    monkeypatch.setattr(net, "_evaluate", evaluate)
    history = net.fit(*split.train, epochs=9, validation=split.validation)
    assert history.stopped == "interrupted"
    assert {len(v) for v in (history.cost, history.validation.cost, history.eta, history.seconds)} == {2}
    assert "interrupted" in str(history)


def test_compiling_is_not_part_of_an_epochs_time(tmp_path):
    # In a process that has to compile, the first epoch of a tiny network still takes no tenth of a second.
    script = """
        import numpy as np, deltarule as dr
        print(sum(dr.Network([2, 2], seed=0).fit(np.ones((4, 2)), [0, 1, 0, 1], epochs=1).seconds) < 0.1)
    """
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], env=env, capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr
    assert "compiling" in done.stderr
