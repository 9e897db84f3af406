"""The compiled e^x, ln(1 + t), normal tail, and what is made of them, to the units in the last place they state.

float32 is walked over in strides, from the smallest subnormal on; float64 is drawn at random.
"""

from __future__ import annotations

import numba
import numpy as np
import pytest
from scipy.special import erfcx
from test_kernels import activate, ulps

from deltarule.kernels import elementwise, exponentials, output

NAMES_AND_ERRORS = [("sigmoid", 2, 2), ("tanh", 2, 2), ("softplus", 3, 3), ("gelu", 6, 5)]


def every_float32(stride=1009):
    z = np.arange(0, 2**32, stride, dtype=np.uint64).astype(np.uint32).view(np.float32)
    return z[np.isfinite(z)]


def drawn_float64():
    if np.finfo(np.longdouble).eps > 1e-18:
        pytest.skip("this machine has no long double to hold float64 against")
    rng = np.random.default_rng(0)
    small = np.geomspace(5e-324, 1, 3000)
    return np.concatenate([rng.normal(0, 3, 30_000), rng.uniform(-800, 800, 30_000), small, -small])


def through(name, z):
    a, slope = np.empty_like(z), np.empty_like(z)
    activate(elementwise.CODES[name], z, a, slope, 1)
    return a, slope


@np.errstate(under="ignore")
def right(name, z):
    """a, the slope, and the size of the slope's terms, in long double."""
    z = np.longdouble(z)
    if name == "tanh":
        t = np.exp(-2 * abs(z))
        slope = 4 * t / (1 + t) ** 2
        return np.sign(z) * -np.expm1(-2 * abs(z)) / (1 + t), slope, slope
    t = np.exp(-abs(z))
    s = np.where(z >= 0, 1, t) / (1 + t)
    if name == "sigmoid":
        return s, t / (1 + t) ** 2, t / (1 + t) ** 2
    if name == "softplus":
        return np.maximum(z, 0) + np.log1p(t), s, s
    w = np.minimum(abs(z), 1000)
    density = np.exp(-w * w / 2) / np.sqrt(2 * np.longdouble(np.pi))
    M = erfcx((w / np.sqrt(np.longdouble(2))).astype(float)) * np.sqrt(np.longdouble(np.pi) / 2)
    a = np.where(z < 0, -density * (w * M), z * (1 - density * M))
    slope = np.where(z < 0, density * (M - w), 1 - density * M + w * density)
    return a, slope, np.where(z < 0, density * (M + w), slope)


@pytest.mark.parametrize("numbers", [every_float32, drawn_float64])
@pytest.mark.parametrize(("name", "off_a", "off_slope"), NAMES_AND_ERRORS)
def test_an_activation_and_its_slope_are_right_to_the_units_stated(name, off_a, off_slope, numbers):
    if name == "gelu" and numbers is drawn_float64:
        pytest.skip("SciPy's erfcx is not exact enough in float64: the next test asks mpmath")
    off_a += name == "tanh" and numbers is drawn_float64
    z = numbers()
    computed = through(name, z)
    a, slope, terms = right(name, z)
    assert ulps(computed[0], a).max() <= off_a
    unit = np.spacing(terms.astype(z.dtype)).astype(np.longdouble)
    assert (abs(computed[1] - slope) / unit).max() <= off_slope


def test_gelu_and_its_slope_are_right_in_float64_against_mpmath():
    mpmath = pytest.importorskip("mpmath")
    z = np.concatenate([np.random.default_rng(1).uniform(-38.7, 9, 1500), -np.geomspace(1e-8, 38.7, 100)])
    a, slope = through("gelu", z)
    with mpmath.workdps(40):
        for computed_a, computed_slope, x in zip(a, slope, z, strict=True):
            exact = mpmath.mpf(float(x))
            below, density = mpmath.erfc(-exact / mpmath.sqrt(2)) / 2, mpmath.npdf(exact)
            unit = np.spacing(float(abs(exact * below)))
            assert abs(mpmath.mpf(float(computed_a)) - exact * below) <= 8 * unit, x
            unit = np.spacing(float(below + abs(exact) * density))
            assert abs(mpmath.mpf(float(computed_slope)) - below - exact * density) <= 5 * unit, x


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_ends_are_right(dtype):
    z = np.array([-np.inf, -1e4, -0.0, 0.0, 1e4, np.inf, np.nan], dtype)
    ends = {
        "sigmoid": ([0, 0, 0.5, 0.5, 1, 1, np.nan], [0, 0, 0.25, 0.25, 0, 0, np.nan]),
        "tanh": ([-1, -1, -0.0, 0, 1, 1, np.nan], [0, 0, 1, 1, 0, 0, np.nan]),
        "gelu": ([0, 0, 0, 0, 1e4, np.inf, np.nan], [0, 0, 0.5, 0.5, 1, 1, np.nan]),
    }
    for name, expected in ends.items():
        unit = np.finfo(dtype).eps
        np.testing.assert_allclose(through(name, z), np.array(expected, dtype), rtol=unit, atol=0, err_msg=name)
    a, slope = through("softplus", z)
    np.testing.assert_array_equal(a[[0, 1, 4, 5, 6]], np.array([0, 0, 1e4, np.inf, np.nan], dtype))
    np.testing.assert_array_equal(slope, np.array(ends["sigmoid"][0], dtype))


@numba.njit
def log1p_over(t, out):
    for i in range(t.size):
        out[i] = exponentials.log1p(t[i])


@pytest.mark.parametrize("numbers", [every_float32, drawn_float64])
def test_log1p_is_right_to_two_units(numbers):
    t = abs(numbers())
    t = t[t <= 1]
    out = np.empty_like(t)
    log1p_over(t, out)
    assert ulps(out, np.log1p(t.astype(np.longdouble))).max() <= 2


@numba.njit
def ln_over(x, out):
    for i in range(x.size):
        out[i] = exponentials.ln(x[i])


@pytest.mark.parametrize("numbers", [every_float32, drawn_float64])
def test_ln_is_right_to_two_units(numbers):
    x = numbers()
    x = np.concatenate([x[x > 0], 1 + np.linspace(-0.4, 0.6, 20_000).astype(x.dtype)])
    out = np.empty_like(x)
    ln_over(x, out)
    assert ulps(out, np.log(x.astype(np.longdouble))).max() <= 2
    ends = np.array([0, -1, -np.inf, np.inf, np.nan], x.dtype)
    out = np.empty_like(ends)
    ln_over(ends, out)
    np.testing.assert_array_equal(out, [-np.inf, np.nan, np.nan, np.inf, np.nan])


@numba.njit
def log_cosh_over(d, value, slope):
    for i in range(d.size):
        value[i], slope[i] = output._log_cosh(d[i])


@pytest.mark.parametrize("numbers", [every_float32, drawn_float64])
def test_log_cosh_and_tanh_are_right_to_the_units_stated(numbers):
    d = numbers()
    d = d[abs(d) > np.sqrt(np.finfo(d.dtype).tiny)]  # a square below the least normal number is lost, as it must be
    value, slope = np.empty_like(d), np.empty_like(d)
    log_cosh_over(d, value, slope)
    exact = np.longdouble(d)
    size = np.minimum(abs(exact), 20)
    near = np.log1p(np.sinh(size / 2) ** 2 * 2)
    far = abs(exact) + np.log1p(np.exp(-2 * abs(exact))) - np.log(np.longdouble(2))
    assert ulps(value, np.where(size < 1, near, far)).max() <= 6
    assert ulps(slope, np.tanh(exact)).max() <= 5


def cheb(mpmath, low, high, n):
    """Chebyshev's n points of an interval."""
    return [(low + high) / 2 + (high - low) / 2 * mpmath.cos((2 * i + 1) * mpmath.pi / (2 * n)) for i in range(n)]


def polynomial(mpmath, f, low, high, n):
    points = cheb(mpmath, mpmath.mpf(low), mpmath.mpf(high), n)
    A = mpmath.matrix([[x**j for j in range(n)] for x in points])
    return list(mpmath.lu_solve(A, mpmath.matrix([f(x) for x in points])))


def quotient(mpmath, f, end, middle, n):
    """Coefficients of degree n - 2 over n - 1, whose first below is 1, at points dense near 0: see `middle`."""
    high = (end - middle) / (end + middle)
    points = [middle * (1 + y) / (1 - y) for y in cheb(mpmath, mpmath.mpf(-1), high, 2 * n - 2)]
    rows = [[x**j for j in range(n - 1)] + [-f(x) * x**j for j in range(1, n)] for x in points]
    solved = list(mpmath.lu_solve(mpmath.matrix(rows), mpmath.matrix([f(x) for x in points])))
    return solved[: n - 1], [1, *solved[n - 1 :]]


@pytest.mark.parametrize(("width", "digits"), [(32, 1e-8), (64, 3e-16)])
def test_the_coefficients_are_those_of_their_functions(width, digits):
    mpmath = pytest.importorskip("mpmath")

    def exp_rest(r):
        return (mpmath.expm1(r) - r) / r**2 if abs(r) > 1e-25 else mpmath.mpf("0.5")

    def log_rest(v):
        return (mpmath.atanh(mpmath.sqrt(v)) / mpmath.sqrt(v) - 1) / v

    def mills(w):
        return mpmath.exp(w * w / 2) * mpmath.sqrt(mpmath.pi / 2) * mpmath.erfc(w / mpmath.sqrt(2))

    with mpmath.workdps(60):
        tables = {
            "EXP": polynomial(mpmath, exp_rest, "-0.35", "0.35", len(exponentials.EXP[width])),
            "LOG": polynomial(mpmath, log_rest, 0, mpmath.mpf(1) / 9, len(exponentials.LOG[width])),
        }
        end, middle = mpmath.mpf(exponentials.END[width]), mpmath.mpf({32: 3, 64: 5}[width])
        above, below = quotient(mpmath, mills, end, middle, len(exponentials.MILLS_BELOW[width]))
        tables |= {"MILLS_ABOVE": above, "MILLS_BELOW": below}
        for name, exact in tables.items():
            written = getattr(exponentials, name)[width]
            assert len(written) == len(exact)
            for here, there in zip(written, exact, strict=True):
                assert abs(here - there) <= digits * abs(there), (name, here, there)
