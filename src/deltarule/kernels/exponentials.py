"""e^x and its kin, compiled: logarithms, and the two tails of the normal distribution.

Nothing here has a branch, a table or a call into the mathematical library, so that the compiler turns a loop
over any of them into vector instructions. Nothing may be reassociated either: :data:`EXACT`. A NaN passes
through every line. The errors that the docstrings state are in units in the last place of the true value,
and the tests measure them, over all of float32 in strides.

Each polynomial is the one that meets its function at Chebyshev's points of an interval, each quotient of
polynomials likewise; ``tests/test_exponentials.py`` computes all coefficients again with mpmath.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, overload

from deltarule.kernels.compile import jit

EXACT: Any = {"fastmath": {"contract"}, "error_model": "numpy", "forceinline": True}
"""Sums are added in the order in which they are written."""

KINDS: dict[int, Any] = {32: np.float32, 64: np.float64}

# For each dtype: the bounds beyond which e^x is 0 (30 times it, too) or infinity; ln 2 in two parts, the first
# short enough that k times it is exact; 1.5 * 2^(mantissa bits), whose addition rounds to an integer and leaves
# that integer in the low bits; the mantissa bits; the exponent's bias; how far 2^k is lifted, or lowered.
_NUMBERS = {
    32: (-109.0, 89.0, 0.693359375, -2.12194440e-4, 12582912.0, 23, 127, 32),
    64: (-752.0, 710.0, 0.693145751953125, 1.42860682030941723212e-6, 6755399441055744.0, 52, 1023, 64),
}

LOG2E = 1.4426950408889634
LIFT = {32: 2.0**32, 64: 2.0**64}
"""What the parts of :func:`logistic` are lifted by: powers of two, whose products are exact."""

# (e^r - 1 - r) / r^2 for |r| <= 0.35
EXP = {
    32: (0.5, 0.166665734, 0.0416665502, 0.00836376702, 0.00139269181),
    64: (0.5000000000000001, 0.16666666666666669, 0.04166666666662068, 0.008333333333329796, 0.0013888888918918907,
         0.00019841269864364933, 2.4801518672268355e-05, 2.7557266442353424e-06, 2.7621324269313687e-07,
         2.5101335854788522e-08),
}  # fmt: skip
# (atanh(s) / s - 1) / v with v = s^2, for 0 <= v <= 1/9
LOG = {
    32: (0.333333337, 0.199998532, 0.14296179, 0.108532879, 0.116121646),
    64: (0.3333333333333333, 0.2000000000000729, 0.1428571428355438, 0.1111111135871393, 0.09090894718066429,
         0.07692785032479312, 0.06657072104827468, 0.06000536404795356, 0.04400369243072337, 0.08082022805971766),
}  # fmt: skip
# Mills' ratio for 0 <= w <= 15 (float64: 39), above and below its stroke
MILLS_ABOVE = {
    32: (1.25331414, 1.0995933, 0.459895755, 0.102019925, 0.0103336458),
    64: (1.2533141373155003, 2.1027715451534763, 1.7469758901609829, 0.9296672930442172, 0.3478348166092903,
         0.09520853346001996, 0.019288288720768636, 0.0028605174252277006, 0.00029850481037878616,
         1.9949692940082323e-05, 6.575724627231351e-07),
}  # fmt: skip
MILLS_BELOW = {
    32: (1.0, 1.67523342, 1.20358243, 0.470084305, 0.102026065, 0.0103335341),
    64: (1.0, 2.47565351157641, 2.8691708056384755, 2.0591690324084606, 1.01935437769689, 0.3665326671458766,
         0.09802915166130312, 0.0195854783815604, 0.002880467118265897, 0.0002991623828400944, 1.994969294009475e-05,
         6.575724627230853e-07),
}  # fmt: skip
END = {32: 15.0, 64: 39.0}
"""From here on the normal density is 0."""


def _polynomial(coefficients: dict[int, tuple[float, ...]], by: int) -> Any:
    """The compiled polynomial c0 + c1 x + .. by Horner's rule.

    By 1, each step waits for the one before, and little is lost; by 2, it goes in powers of x^2, whose coefficients
    c0 + c1 x, c2 + c3 x, .. do not wait for each other.
    """

    @intrinsic
    def value(typing, x):
        def emit(context, builder, signature, args):
            def fma(x, y, z):
                return builder.fadd(builder.fmul(x, y, flags=("contract",)), z, flags=("contract",))

            c = [args[0].type(number) for number in coefficients[x.bitwidth]]
            power = args[0]
            if by == 2:
                c = [fma(power, c[i + 1], c[i]) if i + 1 < len(c) else c[i] for i in range(0, len(c), 2)]
                power = builder.fmul(power, power)
            *rest, total = c
            for coefficient in reversed(rest):
                total = fma(power, total, coefficient)
            return total

        return x(x), emit

    return value


_exp_rest, _log_rest = _polynomial(EXP, 2), _polynomial(LOG, 2)
_mills_above, _mills_below = _polynomial(MILLS_ABOVE, 1), _polynomial(MILLS_BELOW, 1)


@intrinsic
def _power_of_two(typing, shifted):
    """2^k, from k + bias in the low bits of the sum with the rounder."""

    def emit(context, builder, signature, args):
        integer = ir.IntType(shifted.bitwidth)
        mantissa = _NUMBERS[shifted.bitwidth][5]
        return builder.bitcast(builder.shl(builder.bitcast(args[0], integer), integer(mantissa)), args[0].type)

    return shifted(shifted), emit


@intrinsic
def _short(typing, x):
    """x without the lower half of its digits: the square of what is left is exact."""

    def emit(context, builder, signature, args):
        integer = ir.IntType(x.bitwidth)
        lower = {32: 12, 64: 27}[x.bitwidth]
        kept = builder.and_(builder.bitcast(args[0], integer), integer(-(1 << lower)))
        return builder.bitcast(kept, args[0].type)

    return x(x), emit


@intrinsic
def fma(typing, x, y, z):
    """x y + z, rounded once."""

    def emit(context, builder, signature, args):
        number = args[0].type
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(number, [number] * 3), f"llvm.fma.f{x.bitwidth}"
        )
        return builder.call(function, args)

    return x(x, x, x), emit


def exp_parts(x: Any, less: Any = 0.0) -> Any:
    """(q, s, t) with e^(x - less) = (q + 1) s t: x - less = k ln 2 + r, q = e^r - 1, s t = 2^k.

    `less` is what x has lost to rounding, at most 0.1. The factor t is a constant on each side of x = 0, and s is
    in the middle of the range, so that results down to the last subnormal, and up to infinity, are right: multiply
    by t last.
    """
    raise NotImplementedError("compiled code only")


@overload(exp_parts, jit_options=EXACT)
def _exp_parts(x, less=0.0):
    kind = KINDS[x.bitwidth]
    low, high, ln2, ln2_rest, rounder = map(kind, _NUMBERS[x.bitwidth][:5])
    bias, lift = _NUMBERS[x.bitwidth][6:]
    log2e, zero = kind(LOG2E), kind(0)
    lifted, after_lifted = rounder + kind(bias + lift), kind(2.0**-lift)
    lowered, after_lowered = rounder + kind(bias - lift), kind(2.0**lift)

    def parts(x, less=0.0):
        to_bits, t = (lowered, after_lowered) if x > zero else (lifted, after_lifted)
        x = low if x < low else x
        x = high if x > high else x
        shifted = x * log2e + to_bits
        k = shifted - to_bits
        r = ((x - k * ln2) - kind(less)) - k * ln2_rest
        return r + r * r * _exp_rest(r), _power_of_two(shifted), t

    return parts


def logistic(x: Any) -> Any:
    """(q, s, t, r, rest, p, g) of x <= 0, lifted by C = :data:`LIFT`.

    t = (q + 1) s = C e^x; r + rest = 1 / (C + t), the rest being what r has lost, and p their rounded sum;
    e^x / (1 + e^x)^2 = g (C s), to two units. C and s are powers of two, and round nothing: multiply by (C s) last,
    for the product may be subnormal.
    """
    raise NotImplementedError("compiled code only")


@overload(logistic, jit_options=EXACT)
def _logistic(x):
    kind = KINDS[x.bitwidth]
    low, _, ln2, ln2_rest, rounder = map(kind, _NUMBERS[x.bitwidth][:5])
    bias, lift = _NUMBERS[x.bitwidth][6:]
    log2e, one, lifted, C = kind(LOG2E), kind(1), rounder + kind(bias + lift), kind(LIFT[x.bitwidth])

    def parts(x):
        x = low if x < low else x
        shifted = x * log2e + lifted
        k = shifted - lifted
        r = (x - k * ln2) - k * ln2_rest
        q, s = r + r * r * _exp_rest(r), _power_of_two(shifted)
        t = q * s + s
        D = C + t
        lost = t - (D - C)  # D is short of C + t by this
        r = one / D
        share = fma(-lost, r, fma(-D, r, one))
        rest = r * share
        h = q * r + r
        return q, s, t, r, rest, fma(r, share, r), fma(h, r, h * (rest + rest))

    return parts


@jit
def exp(x):
    """e^x. Error: 2 units."""
    q, s, t = exp_parts(x)
    return (q * s + s) * t


def log1p(t: Any) -> Any:
    """ln(1 + t) = 2 atanh(t / (2 + t)) for t from 0 to 1. Error: 2 units."""
    raise NotImplementedError("compiled code only")


@overload(log1p, jit_options=EXACT)
def _log1p(t):
    two = KINDS[t.bitwidth](2)

    def value(t):
        s = t / (two + t)
        v = s * s
        s = s + s
        return s + s * v * _log_rest(v)

    return value


@intrinsic
def _exponent_and_mantissa(typing, x):
    """(k, m) with x = 2^k m and m from the root of 1/2 to that of 2, for a normal x > 0."""

    def emit(context, builder, signature, args):
        width = x.bitwidth
        integer, number = ir.IntType(width), args[0].type
        mantissa = integer(_NUMBERS[width][5])
        least = integer({32: 0x3F3504F3, 64: 0x3FE6A09E667F3BCD}[width])  # the root of 1/2
        bits = builder.bitcast(args[0], integer)
        k = builder.ashr(builder.sub(bits, least), mantissa)
        m = builder.bitcast(builder.sub(bits, builder.shl(k, mantissa)), number)
        return context.make_tuple(builder, signature.return_type, (builder.sitofp(k, number), m))

    return types.UniTuple(x, 2)(x), emit


def ln(x: Any) -> Any:
    """ln x = k ln 2 + 2 atanh((m - 1) / (m + 1)) with x = 2^k m. Error: 2 units. NaN below 0, -infinity at 0."""
    raise NotImplementedError("compiled code only")


@overload(ln, jit_options=EXACT)
def _ln(x):
    kind = KINDS[x.bitwidth]
    one, zero, infinity = kind(1), kind(0), kind(np.inf)
    least, lift, lifted = kind(np.finfo(kind).tiny), kind(LIFT[x.bitwidth]), kind(np.log2(LIFT[x.bitwidth]))
    ln2, ln2_rest = map(kind, _NUMBERS[x.bitwidth][2:4])

    def value(x):
        subnormal = x < least
        k, m = _exponent_and_mantissa(x * lift if subnormal else x)
        k = k - lifted if subnormal else k
        s = (m - one) / (m + one)
        v = s * s
        s = s + s
        found = k * ln2 + (s + (s * v * _log_rest(v) + k * ln2_rest))
        found = found if x > zero else (-infinity if x == zero else x - x if x != x else infinity - infinity)
        return x if x == infinity else found

    return value


def normal_tail(w: Any) -> Any:
    """(phi, M, t), where phi t is the normal density at w >= 0 and phi t M the normal probability beyond w.

    M is Mills' ratio, between 1 / w and 1.26. The density keeps its relative accuracy where w^2 is large: the
    square of w's upper half is exact, and what is missing goes into the exponential by itself. Error: 3 units in
    phi, 3 in M. From :data:`END` on M is not right and phi is 0 once it is multiplied by t.
    """
    raise NotImplementedError("compiled code only")


@overload(normal_tail, jit_options=EXACT)
def _normal_tail(w):
    kind = KINDS[w.bitwidth]
    half, scale = kind(0.5), kind(0.3989422804014327)

    def parts(w):
        h = _short(w)
        q, s, t = exp_parts(-abs(half * h * h), half * (w - h) * (w + h))
        return (q * s + s) * scale, _mills_above(w) / _mills_below(w), t

    return parts
