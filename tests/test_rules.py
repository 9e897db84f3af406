"""The rules that replace the transpose: each by its definition, in one pass and trained, and what goes wrong."""

from __future__ import annotations

import pickle

import numba
import numpy as np
import pytest
from conftest import relative
from drawn import network, samples

import deltarule as dr
from deltarule import reference, rules

NAMES = list(rules.RULES)


def carried(net, rule, l, W, delta, delta_out, B):
    """moved^l by the rule's own equation; B is what the rule keeps for this layer."""
    if rule == "transpose":
        return delta @ W
    if rule == "inverse":
        return delta @ reference.inverse(W)
    if rule == "sign":
        return delta @ reference.signs(W)
    return (delta_out if rule == "direct" else delta) @ B


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("sizes", [[4, 5, 3, 2], [3, 1, 1, 1], [2, 40, 40, 3], [5, 7, 7, 30, 4]])
@pytest.mark.parametrize("batch", [1, 7, 33])
@pytest.mark.parametrize("name", NAMES)
def test_a_pass_is_what_the_rule_says(name, batch, sizes, dtype):
    net = network(sizes, "tanh", "sigmoid", "quadratic", dtype, scale=1.0)
    x, y = samples(net, batch)
    trace = net.backprop(x, y, rule=name)
    true = net.backprop(x, y)
    tolerance = 1e-4 if dtype == "float32" else 1e-6 if name == "inverse" else 1e-12
    np.testing.assert_array_equal(trace.delta[net.L], true.delta[net.L])
    for l in range(net.L - 1, 0, -1):
        W, delta, out = (v.astype(float) for v in (net.W[l + 1], trace.delta[l + 1], trace.delta[net.L]))
        moved = carried(net, name, l, W, delta, out, rules.rule(name).matrix(net, l))
        assert relative(trace.moved[l], moved) < tolerance
        assert relative(trace.delta[l], moved * trace.slope[l]) < tolerance  # BP2's second move stays
        assert relative(trace.grad_W[l], trace.delta[l].T.astype(float) @ trace.a[l - 1] / batch) < tolerance
    assert list(trace.rules) == [name] * (net.L - 1)


def test_a_rule_for_each_layer():
    net = network([4, 5, 3, 2], "tanh", "sigmoid", "quadratic")
    x, y = samples(net, 6)
    trace = net.backprop(x, y, rule=["random", "sign"])
    assert list(trace.rules) == ["random", "sign"]
    assert relative(trace.moved[2], trace.delta[3] @ reference.signs(net.W[3])) < 1e-12
    assert relative(trace.moved[1], trace.delta[2] @ rules.RandomFeedback().matrix(net, 1)) < 1e-12
    assert "carried back by random, sign" in str(trace)


def test_the_flow_names_the_rule():
    net = network([4, 5, 3, 2], "tanh", "sigmoid", "quadratic")
    x, y = samples(net, 6)
    text = str(net.backprop(x, y, rule=["random", "inverse"]).flow())
    assert "(W^3)^+" in text
    assert "B^T" in text
    assert "(W^1)^T" in text  # into the input: no rule's business
    weak = net.backprop(x, y, rule=lambda delta, W: 1e-6 * delta @ W).flow()
    assert weak.verdict == "vanishing"
    assert "the rule 'function' into layer" in weak.verdicts[0].why
    assert weak.remedy is None
    assert dr.Flow.from_dict(weak.to_dict()) == weak


def by_hand(net, x, y, name, optimizer, epochs, batch, decay, l2=0.0):
    """The same training in NumPy, every matrix written out. Returns W, b, B by layer (entry 0 unused)."""
    W, b = [None, *(w.copy() for w in net.W)], [None, *(v.copy() for v in net.b)]
    sigma, L, t = [None, *net.activations], net.L, 0
    B = {l: rules.rule(name).matrix(net, l) for l in range(1, L)}
    memory = {}

    def step(key, g, value):
        if optimizer.name == "sgd":
            return value - optimizer.eta * g
        m, v = memory.get(key, (0 * g, 0 * g))
        if optimizer.name == "momentum":
            m = optimizer.first * m - optimizer.eta * g
            memory[key] = m, v
            return value + m
        m = optimizer.first * m + (1 - optimizer.first) * g
        v = optimizer.second * v + (1 - optimizer.second) * g**2
        memory[key] = m, v
        m_hat, v_hat = m / (1 - optimizer.first**t), v / (1 - optimizer.second**t)
        return value - optimizer.eta * m_hat / (np.sqrt(v_hat) + optimizer.epsilon)

    for _ in range(epochs):
        for start in range(0, len(x), batch):
            t += 1
            xs, ys = x[start : start + batch], y[start : start + batch]
            z, a = reference.forward(W, b, sigma, xs)
            delta = {L: reference.output_error(sigma[L], net.cost, z[L], a[L], ys)}
            for l in range(L - 1, 0, -1):
                moved = carried(net, name, l, W[l + 1], delta[l + 1], delta[L], B[l])
                delta[l] = moved * sigma[l].slope(z[l])
            for l in range(1, L + 1):
                g = delta[l].T @ a[l - 1] / len(xs) + l2 * W[l]
                kept = 1 - optimizer.eta * decay if name == "kolen_pollack" and l > 1 else 1.0
                new = step(("W", l), g + (kept - 1) * l2 * W[l], kept * W[l])
                if name == "kolen_pollack" and l > 1:
                    B[l - 1] = kept * B[l - 1] + (new - kept * W[l])  # the same step, the same decay
                W[l] = new
                b[l] = step(("b", l), delta[l].mean(axis=0), b[l])
    return W, b, B


@pytest.mark.parametrize("optimizer", [dr.SGD(0.3), dr.Momentum(0.1, 0.8), dr.Adam(0.02)], ids=repr)
@pytest.mark.parametrize("l2", [0.0, 0.01])
@pytest.mark.parametrize("name", NAMES)
def test_training_is_what_the_rule_says(name, l2, optimizer):
    net = network([5, 7, 4, 3], ["tanh", "sigmoid"], "softmax", "log_likelihood", scale=1.0)
    x, y = samples(net, 23)  # three whole batches of 7 and one of 2
    given = rules.rule(name)
    W, b, B = by_hand(net, x, y, name, optimizer, 3, 7, getattr(given, "decay", 0.0), l2)
    net.fit(x, y, epochs=3, batch_size=7, optimizer=optimizer, rule=given, l2=l2, shuffle=False)
    tolerance = 1e-6 if name == "inverse" else 1e-9
    for l in range(1, 4):
        assert relative(net.W[l], W[l]) < tolerance
        assert relative(net.b[l], b[l]) < tolerance
    if name == "kolen_pollack":
        assert relative(given.matrix(net, 2), B[2]) < 1e-9


def test_kolen_and_pollacks_matrices_grow_alike_at_the_stated_rate():
    net = network([6, 9, 8, 3], "tanh", "softmax", "log_likelihood", scale=1.0)
    x, y = samples(net, 40)
    rule = rules.KolenPollack(decay=0.2)
    before = np.linalg.norm(rule.matrix(net, 1) - net.W[2])
    net.fit(x, y, epochs=10, batch_size=10, optimizer=dr.SGD(0.1), rule=rule)
    after = np.linalg.norm(rule.matrix(net, 1) - net.W[2])
    assert after / before == pytest.approx((1 - 0.1 * 0.2) ** 40, rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_five_epochs_and_five_more_are_ten(name):
    x, y = dr.data.digits().train

    def trained(*epochs):
        net = dr.Network([64, 20, 15, 10], output="softmax", cost="log_likelihood", seed=3)
        rule, optimizer = rules.rule(name), dr.Momentum(0.1)
        histories = [net.fit(x, y, epochs=n, optimizer=optimizer, rule=rule) for n in epochs]
        return net, [angle for history in histories for angle in history.angle]

    (once, angles), (twice, angles_twice) = trained(6), trained(3, 3)
    assert np.array_equal(once.theta, twice.theta)
    assert angles == angles_twice


def test_the_angle_is_recorded_and_feedback_alignment_aligns():
    split = dr.data.digits()
    net = dr.Network([64, 60, 40, 10], output="softmax", cost="log_likelihood", seed=0)
    some = np.linspace(0, len(split.train.x) - 1, 100).astype(int)
    x, y = split.train.x[some], split.train.y[some]

    def angle():
        return net.backprop(x, y, rule="random").angle(net.backprop(x, y))

    at_start = angle()
    history = net.fit(*split.train, epochs=20, optimizer=dr.SGD(0.5), rule="random")
    assert at_start[1] > 75
    assert at_start[2] > 75
    assert len(history.angle) == 20
    assert history.angle[-1] == pytest.approx(list(angle())[:2])
    assert max(history.angle[-1]) < 60  # W has turned towards B: Lillicrap's finding
    assert net.score(*split.test) > 0.9
    assert "angle 1" in str(history)
    assert dr.History.from_dict(history.to_dict()) == history
    assert net.fit(*split.train, epochs=1).angle == ()


def test_the_angle_of_known_vectors():
    net = network([2, 3, 2], "tanh", "identity", "quadratic")
    x, y = samples(net, 4)
    true = net.backprop(x, y)
    assert net.backprop(x, y, rule=lambda delta, W: -(delta @ W)).angle(true)[1] == pytest.approx(180)
    assert net.backprop(x, y, rule=lambda delta, W: 5 * delta @ W).angle(true)[1] == pytest.approx(0, abs=1e-6)
    assert np.isnan(net.backprop(x, y, rule=lambda delta, W: 0 * delta @ W).angle(true)[1])


def test_a_matrix_of_the_users_own():
    net = network([4, 5, 3], "tanh", "sigmoid", "quadratic")
    x, y = samples(net, 6)
    B = np.random.default_rng(0).normal(size=(3, 5))
    assert relative(net.backprop(x, y, rule=B).moved[1], net.backprop(x, y).delta[2] @ B) < 1e-12
    with pytest.raises(dr.BadInput, match=r"shape \(5, 3\); expected \(3, 5\), as W\[2\] has .*B\.T"):
        net.backprop(x, y, rule=B.T)
    with pytest.raises(dr.BadInput, match="finite"):
        net.backprop(x, y, rule=np.full((3, 5), np.nan))
    W = net.W[2].copy()
    one, other = (dr.Network([4, 5, 3], "tanh", dtype="float64", seed=1) for _ in range(2))
    one.fit(x, y, epochs=2, rule=B)
    other.fit(x, y, epochs=2, rule=lambda delta, W: delta @ B)
    assert relative(one.W[1], other.W[1]) < 1e-12
    assert np.array_equal(net.W[2], W)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_function_of_the_users_own_compiled_or_not(dtype):
    x, y = dr.data.digits(dtype).train

    def trained(rule):
        net = dr.Network([64, 20, 15, 10], dtype=dtype, seed=3)
        net.fit(x, y, epochs=2, optimizer=dr.SGD(1.0), rule=rule)
        return net.theta

    def halved(delta, W):
        moved = np.zeros((delta.shape[0], W.shape[1]), delta.dtype)
        for n in range(delta.shape[0]):
            for j in range(W.shape[0]):
                for k in range(W.shape[1]):
                    moved[n, k] += delta[n, j] * W[j, k] / 2
        return moved

    tolerance = 1e-4 if dtype == "float32" else 1e-10
    assert relative(trained(lambda delta, W: delta @ W), trained("transpose")) < tolerance
    assert relative(trained(numba.njit(halved)), trained(halved)) < tolerance
    assert relative(trained(halved), trained("transpose")) > 0.01


def test_a_function_that_fails_is_named_and_the_network_keeps_its_weights():
    net = network([4, 5, 3], "tanh", "sigmoid", "quadratic")
    x, y = samples(net, 40)
    calls = []

    def fails(delta, W):
        calls.append(len(delta))
        if len(calls) > 6:  # in the second epoch
            raise ZeroDivisionError("out of luck")
        return delta @ W

    with pytest.raises(dr.BadInput, match="rule into layer 1 failed: ZeroDivisionError: out of luck"):
        net.fit(x, y, epochs=3, batch_size=10, rule=fails)
    assert np.isfinite(net.theta).all()
    with pytest.raises(dr.BadInput, match=r"returned shape \(40, 3\); expected \(40, 5\)"):
        net.backprop(x, y, rule=lambda delta, W: delta)
    with pytest.raises(dr.BadInput, match="cannot be compiled"):
        net.backprop(x, y, rule=numba.njit(lambda delta, W: delta.words))

    def stopped(delta, W):
        raise KeyboardInterrupt

    assert net.fit(x, y, epochs=3, rule=stopped).stopped == "interrupted"


def test_weights_cannot_be_written_from_a_rule():
    net = network([4, 5, 3], "tanh", "sigmoid", "quadratic")

    def writes(delta, W):
        W[0, 0] = 7
        return delta @ W

    with pytest.raises(dr.BadInput, match="read-only"):
        net.backprop(*samples(net, 3), rule=writes)


def test_an_error_that_a_rule_blows_up_is_found():
    net = network([4, 5, 3], "tanh", "identity", "quadratic")
    x, y = samples(net, 20)
    with pytest.raises(dr.Diverged, match="layer 1"):
        net.fit(x, y, epochs=2, rule=lambda delta, W: delta @ W * np.inf)
    assert np.isfinite(net.theta).all()


def test_the_inverse_of_weights_that_have_none_is_the_pseudo_inverse():
    net = network([4, 6, 6, 3], "tanh", "identity", "quadratic", scale=1.0)
    net.W[2][1] = net.W[2][0]  # two neurons alike: no inverse
    x, y = samples(net, 5)
    trace = net.backprop(x, y, rule="inverse")
    assert relative(trace.moved[1], trace.delta[2] @ reference.inverse(net.W[2])) < 1e-4
    net.W[3][...] = 0
    assert not net.backprop(x, y, rule="inverse").moved[2].any()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("transpos", "Did you mean 'transpose'"),
        (["random"], "1 rules for 2 hidden layers"),
        (3, "a rule is a name"),
        (dict, "a rule is a name"),
        (np.zeros(3), "expected two axes"),
    ],
)
def test_what_is_no_rule_is_refused(given, words):
    net = network([4, 5, 4, 3], "tanh", "sigmoid", "quadratic")
    x, y = samples(net, 3)
    for door in (net.backprop, net.fit):
        with pytest.raises(dr.BadInput, match=words):
            door(x, y, rule=given)


@pytest.mark.parametrize(
    "make",
    [
        lambda: rules.RandomFeedback(scale=0),
        lambda: rules.RandomFeedback(seed=-1),
        lambda: rules.DirectFeedback(seed=1.5),
        lambda: rules.KolenPollack(decay=-1),
        lambda: rules.KolenPollack(decay=np.nan),
    ],
)
def test_constants_that_make_no_sense_are_refused(make):
    with pytest.raises(dr.BadInput, match="expected"):
        make()


def test_every_rule_has_its_citation_and_is_pickled():
    for kind in rules.RULES.values():
        assert any(letter.isdigit() for letter in kind.citation)
        assert repr(pickle.loads(pickle.dumps(kind()))) == repr(kind())


def test_a_network_without_hidden_layers_takes_any_rule():
    net = dr.Network([4, 3], seed=0)
    x, y = np.eye(4), [0, 1, 2, 0]
    assert net.fit(x, y, epochs=2, rule="random").angle == ()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda delta, W: None, "into layer 2 failed: it returned None; expected"),
        (lambda delta, W: delta @ W if len(W) == 2 else delta, r"into layer 1 failed: it returned shape \(6, 3\)"),
        (lambda delta, W: 1j * (delta @ W), "complex64; expected real numbers"),
        (numba.njit(lambda delta, W: delta), r"into layer 1 failed: it returned shape \(3, 3\); expected \(3, 5\)"),
        (numba.njit(lambda delta, W: delta[0]), r"it returned shape \(3,\)"),
        (numba.njit(lambda delta, W: 1.0), r"it returned 1.0; expected"),
        (np.ones((3, 5)) * 1j, "complex"),
        (np.ones((3, 5)) * 1e300, "too large for float32"),
        (np.full((3, 5), np.nan), "nan in row 0, column 0"),
        (rules.Rule(), r"deltarule.rules.RandomFeedback\(seed=1\)"),
    ],
)
def test_what_a_rule_gives_wrong_is_named_and_nothing_is_computed_with_it(given, words):
    net = network([4, 5, 3, 2], "tanh", "sigmoid", "quadratic", "float32")
    x, y = samples(net, 6)
    rule = given if "into layer 2" in words else [given, "transpose"]
    with pytest.raises(dr.BadInput, match=words):
        net.backprop(x, y, rule=rule)
    with pytest.raises(dr.BadInput, match=words):
        net.fit(x, y, epochs=1, batch_size=6, rule=rule)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Numba says what it was, on stderr
def test_a_compiled_function_that_raises_later_leaves_no_number():
    net = network([4, 5, 3], "tanh", "sigmoid", "quadratic")
    x, y = samples(net, 40)

    @numba.njit
    def fails(delta, W):
        if delta.shape[0] > 3:
            raise ValueError("no")
        return delta @ W

    assert np.isnan(net.backprop(x, y, rule=fails).moved[1]).all()
    with pytest.raises(dr.Diverged):
        net.fit(x, y, epochs=1, rule=fails)


def test_a_rule_of_ones_own_kind_is_the_rule_it_is_made_of():
    class Stronger(rules.RandomFeedback):
        def matrix(self, net, l):
            return 2 * super().matrix(net, l)

    class Wrong(rules.RandomFeedback):
        def matrix(self, net, l):
            return np.ones((2, 2))

    net = network([4, 5, 3], "tanh", "sigmoid", "quadratic")
    x, y = samples(net, 6)
    moved = [net.backprop(x, y, rule=one).moved[1] for one in (Stronger(), "random")]
    assert relative(moved[0], 2 * moved[1]) < 1e-12
    with pytest.raises(dr.BadInput, match=r"shape \(2, 2\); expected \(3, 5\)"):
        net.backprop(x, y, rule=Wrong())


@pytest.mark.parametrize("eta", [1e100, 1e308])  # in the midst of an epoch, and only seen in its weights at the end
def test_what_kolen_and_pollack_learned_does_not_outlive_a_training_that_diverged(eta):
    net = network([4, 5, 3], "tanh", "identity", "quadratic")
    x, y = samples(net, 40)
    rule = rules.KolenPollack(1.0)
    net.fit(x, y, epochs=5, rule=rule, optimizer=dr.SGD(0.1))

    def angle():
        return net.backprop(x, y, rule=rule).angle(net.backprop(x, y))[1]

    before = angle()
    with pytest.raises(dr.Diverged) as failed:
        net.fit(1e4 * x, 1e4 * y, epochs=2, batch_size=40 if eta > 1e200 else 4, rule=rule, optimizer=dr.SGD(eta))
    assert failed.value.epoch == 1
    assert angle() == before


def test_a_training_that_was_over_gives_its_matrices_back(tmp_path):
    x, y = samples(network([4, 5, 3], "tanh", "sigmoid", "quadratic"), 40)
    angles = []
    for _ in range(2):  # the second finds the checkpoint of the last epoch
        net, rule = network([4, 5, 3], "tanh", "sigmoid", "quadratic"), rules.KolenPollack(1.0)
        net.fit(x, y, epochs=20, rule=rule, optimizer=dr.SGD(0.3), checkpoint=tmp_path)
        angles.append(net.backprop(x, y, rule=rule).angle(net.backprop(x, y))[1])
    assert angles[0] == angles[1]
