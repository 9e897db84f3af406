"""The compiled twins against the reference: every activation, cost, depth, width, batch and dtype."""

from __future__ import annotations

import itertools

import numba
import numpy as np
import pytest
from conftest import relative
from drawn import HIDDEN, PAIRS, network, samples
from hypothesis import example, given
from hypothesis import strategies as st
from test_reference import as_lists

from deltarule import reference
from deltarule.activations import ACTIVATIONS
from deltarule.kernels import elementwise, exponentials, layout, lengths, output, products

DEPTHS, WIDTHS, BATCHES = (1, 2, 3), (1, 5, 40), (1, 7, 33)
TOLERANCE = {"float64": 1e-10, "float32": 1e-4}


def assert_same_pass(net, x, y, tolerance):
    """Every value of the compiled pass, layer by layer, against the reference in float64."""
    trace = net.backprop(x, y)
    W, b, sigma = as_lists(net)
    right = reference.backprop(W, b, sigma, net.cost, x.astype(np.float64), y.astype(np.float64))
    what = (net.sizes, [s.name for s in net.activations], net.cost.name, len(x))
    assert relative(trace.cost, right.cost) < tolerance, ("cost", *what)
    for l in range(1, net.L + 1):
        for name in ("z", "a", "slope", "moved", "delta", "grad_W", "grad_b"):
            computed, true = getattr(trace, name)[l], getattr(right, name)[l]
            assert relative(computed, true, right.moved[l]) < tolerance, (name, l, *what)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("hidden", HIDDEN)
def test_a_compiled_pass_is_the_reference(hidden, dtype):
    for (last, cost), depth, width, N in itertools.product(PAIRS, DEPTHS, WIDTHS, BATCHES):
        n_out = {1: 1, 5: 3, 40: 10}[width]
        net = network([width, *[width] * (depth - 1), n_out], hidden, last, cost, dtype)
        if cost == "absolute" and dtype == "float32":
            continue  # the sign of a - y, where rounding may fall on either side; float64 tests it
        looser = 10 if last == "exp" else 1  # it turns z's rounding into as many parts of a
        assert_same_pass(net, *samples(net, N), TOLERANCE[dtype] * looser)


shapes = st.tuples(st.integers(1, 40), st.integers(1, 70), st.integers(1, 140))


@numba.njit
def three_products(A, W, b, D, Z, M, G, keep, scale, samples, n_out, n_in):
    packed = np.empty(layout.PACKED, A.dtype)
    products.weighted_input(packed, A, 0, W, 0, b, 0, Z, 0, samples, n_out, n_in)
    products.through_weights(D, 0, W, 0, M, 0, samples, n_out, n_in)
    products.weight_gradient(packed, D, 0, A, 0, G, 0, keep, scale, samples, n_out, n_in, 0, n_out)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(shape=shapes, seed=st.integers(0, 10))
@example(shape=(6, 4, 64), seed=0)
@example(shape=(1, 1, 1), seed=0)
@example(shape=(13, 9, 65), seed=0)
@example(shape=(11, 64, 48), seed=0)  # W is turned in whole blocks
@example(shape=(9, 70, 3), seed=0)  # A^T delta is computed in place of delta^T A
@example(shape=(7, 300, 1000), seed=0)  # more of W than stays in a cache
@example(shape=(7, 1100, 70), seed=0)  # more terms of the error than are added up at once
@example(shape=(1100, 9, 140), seed=0)  # more samples
def test_the_products_of_a_layer_of_any_shape(dtype, shape, seed):
    N, n_out, n_in = shape
    rng = np.random.default_rng(seed)
    A, W, D, G = (rng.normal(size=s).astype(dtype) for s in [(N, n_in), (n_out, n_in), (N, n_out), (n_out, n_in)])
    b = rng.normal(size=n_out).astype(dtype)
    guard = dtype(7)  # past its end, no buffer may be written
    Z, M = np.full(N * n_out + 1, guard), np.full(N * n_in + 1, guard)
    G_kept = np.append(G.ravel(), guard)
    three_products(A.ravel(), W.ravel(), b, D.ravel(), Z, M, G_kept, dtype(0.5), dtype(-2), N, n_out, n_in)
    tolerance = 1e-5 if dtype is np.float32 else 1e-13
    assert relative(Z[:-1].reshape(N, n_out), A.astype(float) @ W.T + b) < tolerance * 10
    assert relative(M[:-1].reshape(N, n_in), D.astype(float) @ W) < tolerance * 10
    assert relative(G_kept[:-1].reshape(n_out, n_in), 0.5 * G - 2.0 * D.T.astype(float) @ A) < tolerance * 10
    assert Z[-1] == M[-1] == G_kept[-1] == guard


def test_a_gradient_that_keeps_nothing_does_not_read_what_was_there():
    for N, n_out, n_in in [(1, 1, 1), (4, 32, 2)]:
        A, W, b, D = np.ones((N, n_in)), np.ones((n_out, n_in)), np.ones(n_out), np.ones((N, n_out))
        Z, M, nan = np.empty(N * n_out), np.empty(N * n_in), np.full(n_out * n_in, np.nan)
        three_products(A.ravel(), W.ravel(), b, D.ravel(), Z, M, nan, 0.0, 1.0, N, n_out, n_in)
        assert (nan == N).all()


@numba.njit
def column_sums(X, C, keep, scale, rows, width):
    products.column_sums(np.ones(1, X.dtype), np.empty(layout.PACKED, X.dtype), X, 0, C, 0, keep, scale, rows, width)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(rows=st.integers(1, 200), width=st.integers(1, 90), keep=st.sampled_from([0.0, 0.5]))
@example(rows=150, width=4, keep=0.5)
@example(rows=150, width=4, keep=0.0)
def test_the_sums_over_the_samples_of_any_shape(dtype, rows, width, keep):
    rng = np.random.default_rng(rows)
    X, before = rng.normal(size=(rows, width)).astype(dtype), rng.normal(size=width).astype(dtype)
    C = np.append(before if keep else np.full(width, np.nan), 7).astype(dtype)
    column_sums(X.ravel(), C, dtype(keep), dtype(-2), rows, width)
    right = keep * before.astype(float) - 2 * X.astype(float).sum(axis=0)
    assert np.abs(C[:-1] - right).max() < (1e-4 if dtype is np.float32 else 1e-12)
    assert C[-1] == 7


@numba.njit
def through_activation(moved, slope, delta):
    return lengths.through_activation(moved, slope, delta)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [0, 1, 5000, 10_000])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e-19, 1e-37, 1e19, 1e37])
def test_the_lengths_of_the_error_are_right_where_squares_are_not(dtype, size, scale):
    rng = np.random.default_rng(0)
    moved = (rng.normal(size=size) * scale / 10).astype(dtype)
    slope, delta = rng.random(size).astype(dtype), np.empty(size, dtype)
    before, after = through_activation(moved, slope, delta)
    np.testing.assert_array_equal(delta, moved * slope)
    kept = moved.astype(float), delta.astype(float)
    assert (before, after) == pytest.approx([np.linalg.norm(one) for one in kept], rel=1e-6, abs=0)


def test_the_length_says_whether_a_value_is_not_finite():
    for bad, where in [(np.nan, 0), (np.inf, 4999), (-np.inf, 17)]:
        moved = np.ones(5000, np.float32)
        moved[where] = bad
        lengths_found = through_activation(moved, np.ones_like(moved), np.empty_like(moved))
        assert not np.isfinite(lengths_found).any()


@numba.njit
def exp_over(x, out):
    for i in range(x.size):
        out[i] = exponentials.exp(x[i])


def ulps(computed, true):
    """The error in units of the last place of the true value, subnormals included."""
    unit = np.spacing(np.abs(true.astype(computed.dtype))).astype(np.float64)
    return np.abs(computed.astype(true.dtype) - true) / unit


def test_exp_is_right_to_two_units_in_the_last_place_over_float32():
    x = np.arange(0, 2**32, 1009, dtype=np.uint64).astype(np.uint32).view(np.float32)
    x = x[np.isfinite(x) & (x > -103) & (x < 88.7)]
    out = np.empty_like(x)
    exp_over(x, out)
    assert ulps(out, np.exp(x.astype(np.float64))).max() <= 2


def test_exp_is_right_in_float64_and_at_its_ends():
    x = np.random.default_rng(0).uniform(-740, 709, 200_000)
    out = np.empty_like(x)
    exp_over(x, out)
    assert ulps(out, np.exp(x)).max() <= 3
    for dtype in (np.float32, np.float64):
        ends = np.array([-np.inf, -1e4, 0, 1e4, np.inf, np.nan], dtype)
        out = np.empty_like(ends)
        exp_over(ends, out)
        np.testing.assert_array_equal(out, np.array([0, 0, 1, np.inf, np.inf, np.nan], dtype))


@numba.njit
def activate(code, z, a, slope, width):
    elementwise.activate(code, 0, z, a, slope, width)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_keeps_its_relative_accuracy_in_the_tails(name, dtype):
    z = np.concatenate([np.linspace(-80, 80, 4001), np.geomspace(1e-30, 1, 200), -np.geomspace(1e-30, 1, 200)])
    z = z[: len(z) // 7 * 7].astype(dtype)
    a, slope = np.empty_like(z), np.empty_like(z)
    activate(elementwise.CODES[name], z, a, slope, 7)
    rows = z.astype(np.float64).reshape(-1, 7)
    sigma = ACTIVATIONS[name]
    tiny = np.finfo(dtype).tiny
    for computed, true in ((a, sigma.sigma(rows).ravel()), (slope, sigma.slope(rows).ravel())):
        # gelu's and silu's slopes pass through zero: there the scale is that of their terms
        scale = np.abs(true) + (np.abs(true).max() * 1e-2 if name in ("gelu", "silu") else 0)
        off = np.abs(computed - true) / np.maximum(scale, tiny)
        assert off[scale > tiny].max() < 60 * np.finfo(dtype).eps


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name != "identity"])
def test_a_nan_is_passed_on_not_hidden(name):
    z = np.array([0.5, np.nan, 1.0])
    a, slope = np.empty_like(z), np.empty_like(z)
    activate(elementwise.CODES[name], z, a, slope, 3)
    assert np.isnan(a[1])
    assert np.isnan(slope[1])


def test_the_tables_of_codes_hold_the_same_names_as_the_reference():
    assert set(elementwise.CODES) == set(ACTIVATIONS)
    assert set(output.CODES) == {cost for _, cost in PAIRS}


def test_a_pair_of_the_users_own_is_compiled_for_numbers_and_for_arrays():
    import math

    def bent(z):
        return math.log1p(z * z) if z > 0 else -math.log1p(z * z)

    def bent_slope(z):
        return abs(2 * z / (1 + z * z))

    by_number = network([3, 4, 2], [(bent, bent_slope)], "identity", "quadratic")
    by_array = network(
        [3, 4, 2],
        [(lambda z: np.sign(z) * np.log1p(z * z), lambda z: np.abs(2 * z / (1 + z * z)))],
        "identity",
        "quadratic",
    )
    x, y = samples(by_number, 5)
    assert_same_pass(by_number, x, y, 1e-10)
    assert_same_pass(by_array, x, y, 1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_saturated_sigmoid_keeps_the_moved_error_of_the_reference(dtype):
    net = network([1, 6], "sigmoid", "sigmoid", "cross_entropy", dtype)
    net.W[1][:] = np.array([[800], [-800], [800], [-800], [1], [30]])
    net.b[1][:] = 0
    x, y = np.ones((1, 1)), np.array([[1, 0, 0, 1, 1, 1.0]])
    trace = net.backprop(x, y)
    np.testing.assert_array_equal(trace.moved[1][0, :4], [-1, 1, np.inf, -np.inf])  # dC/da where the slope is 0
    np.testing.assert_array_equal(trace.delta[1][0, :4], [0, 0, 1, -1])
    assert trace.moved[1][0, 4] == pytest.approx(-1 - np.exp(-1), rel=1e-6)
    assert trace.cost[0] == pytest.approx(1600 + np.log1p(np.exp(-1)), rel=1e-6)
