"""What carries the error back into a hidden layer: the transpose, and the rules that have been put in its place.

moved^l = rule(delta^{l+1}, W^{l+1}), then delta^l = moved^l * sigma'(z^l) as in BP2. Only the transpose makes
delta^l the derivative dC/dz^l; every other rule sends a signal that is followed as if it were one. Forward pass,
BP1, BP3 and BP4 stay as they are.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from deltarule.calls import Call
from deltarule.errors import BadInput, is_number, require, unknown
from deltarule.records import ByLayer

if TYPE_CHECKING:
    from deltarule.kernels.layout import Feedback
    from deltarule.network import Network

Array = npt.NDArray[Any]


class Rule:
    """The base of the rules: a name, who proposed it, and the matrix B that stands in the place of W^{l+1}."""

    name: ClassVar[str] = "rule"
    citation: ClassVar[str] = "given"

    def matrix(self, net: Network, l: int) -> Array | None:
        """B into layer l, as W^{l+1} is laid out: (n_{l+1}, n_l); None where the rule needs none."""
        return None

    def settings(self) -> dict[str, Any]:
        """What must be the same for a training that goes on."""
        return {"name": self.name}

    def __repr__(self) -> str:
        more = ", ".join(f"{key}={value!r}" for key, value in self.settings().items() if key != "name")
        return f"{type(self).__name__}({more})"


class Transpose(Rule):
    """moved^l = (W^{l+1})^T delta^{l+1}: backpropagation itself.

    Rumelhart, Hinton, Williams, Learning representations by back-propagating errors, Nature 1986.
    """

    name = "transpose"
    citation = "Rumelhart, Hinton, Williams 1986"


class Inverse(Rule):
    """moved^l = (W^{l+1})^+ delta^{l+1}: the pseudo-inverse, computed anew in every step.

    The matrix that readers of BP2 expect. It answers another question: which change of a^l would make the change
    delta^{l+1} of z^{l+1}. Training with such a signal is studied as Gauss-Newton target propagation in Meulemans
    et al., A theoretical framework for target propagation, NeurIPS 2020.
    """

    name = "inverse"
    citation = "the pseudo-inverse; compare Meulemans et al. 2020"


class _Drawn(Rule):
    """A fixed random B: N(0, scale^2 / n_l), so that with scale 1 the move keeps the error's length on average."""

    def __init__(self, scale: float = 1.0, seed: int = 0) -> None:
        require("scale", scale, is_number(scale, 0) and scale != 0, "a number above 0")
        good = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool) and seed >= 0
        require("seed", seed, good, "an integer from 0 up")
        self.scale, self.seed = float(scale), int(seed)

    def source(self, net: Network, l: int) -> int:
        """The layer whose error comes to layer l."""
        return l + 1

    def matrix(self, net: Network, l: int) -> Array | None:
        rng = np.random.default_rng((self.seed, l))
        shape = (net.sizes[self.source(net, l)], net.sizes[l])
        return np.asarray(rng.standard_normal(shape) * (self.scale / np.sqrt(net.sizes[l])))

    def settings(self) -> dict[str, Any]:
        return {"name": self.name, "scale": self.scale, "seed": self.seed}


class RandomFeedback(_Drawn):
    """moved^l = B^T delta^{l+1} with a fixed random B: feedback alignment.

    B ~ N(0, scale^2 / n_l); the same seed gives the same B, in every fit and for every layer its own.

    Lillicrap, Cownden, Tweed, Akerman, Random synaptic feedback weights support error backpropagation for deep
    learning, Nature Communications 2016.

    >>> RandomFeedback(seed=3)
    RandomFeedback(scale=1.0, seed=3)
    """

    name = "random"
    citation = "Lillicrap et al. 2016"


class DirectFeedback(_Drawn):
    """moved^l = B^T delta^L with a fixed random B: the output's error straight to every hidden layer.

    Nokland, Direct feedback alignment provides learning in deep neural networks, NeurIPS 2016.
    """

    name = "direct"
    citation = "Nokland 2016"

    def source(self, net: Network, l: int) -> int:
        return net.L


class Sign(Rule):
    """moved^l = B^T delta^{l+1}, B the signs of W^{l+1} times the root mean square of its values: sign symmetry.

    B is taken from W anew in every step. Liao, Leibo, Poggio, How important is weight symmetry in
    backpropagation?, AAAI 2016.
    """

    name = "sign"
    citation = "Liao, Leibo, Poggio 2016"


class KolenPollack(_Drawn):
    """moved^l = B^T delta^{l+1} where B begins at random and is changed by what changes W: they become alike.

    W <- (1 - eta decay) W + step;  B <- (1 - eta decay) B + the same step, so B - W shrinks by 1 - eta decay in
    every step. The object keeps B for each network, so that 5 epochs and 5 more equal 10.

    Kolen and Pollack, Backpropagation without weight transport, 1994; Akrout, Wilson, Humphreys, Lillicrap, Tweed,
    Deep learning without weight transport, NeurIPS 2019.
    """

    name = "kolen_pollack"
    citation = "Kolen, Pollack 1994; Akrout et al. 2019"

    def __init__(self, decay: float = 1e-3, scale: float = 1.0, seed: int = 0) -> None:
        super().__init__(scale, seed)
        require("decay", decay, is_number(decay, 0), "a number from 0 up")
        self.decay = float(decay)
        self._kept: WeakKeyDictionary[Network, dict[int, Array]] = WeakKeyDictionary()

    def matrix(self, net: Network, l: int) -> Array | None:
        kept = self._kept.get(net, {})
        return kept[l] if l in kept else super().matrix(net, l)

    def keep(self, net: Network, l: int, B: Array) -> None:
        """Remember B as a training has left it."""
        self._kept.setdefault(net, {})[l] = B.copy()

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "decay": self.decay}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _kept=WeakKeyDictionary())


class Matrix(Rule):
    """moved^l = B^T delta^{l+1} with a fixed B of the user's own, (n_{l+1}, n_l) as W^{l+1} is."""

    name = "matrix"
    citation = "given"

    def __init__(self, B: Any) -> None:
        if np.iscomplexobj(B):
            raise BadInput("a rule's matrix has complex numbers; expected real ones")
        try:
            self.B = np.array(B, np.float64)
        except (ValueError, TypeError) as error:
            raise BadInput(f"a rule's matrix is not an array of numbers: {error}") from error
        if self.B.ndim != 2:
            raise BadInput(f"a rule's matrix has shape {self.B.shape}; expected two axes, as W has")
        if not np.isfinite(self.B).all():
            j, k = map(int, np.argwhere(~np.isfinite(self.B))[0])
            raise BadInput(f"a rule's matrix has {self.B[j, k]} in row {j}, column {k}; expected finite numbers")

    def matrix(self, net: Network, l: int) -> Array | None:
        expected = (net.sizes[l + 1], net.sizes[l])
        if self.B.shape != expected:
            flipped = " (transposed, it fits: B.T)" if self.B.shape == expected[::-1] else ""
            raise BadInput(
                f"the matrix of the rule into layer {l} has shape {self.B.shape}; expected {expected}, as W[{l + 1}] "
                f"has{flipped}"
            )
        return self.B

    def settings(self) -> dict[str, Any]:
        return {"name": self.name, "shape": list(self.B.shape), "checksum": zlib.crc32(self.B.tobytes())}


class Function(Rule):
    """moved^l = function(delta^{l+1}, W^{l+1}): (N, n_{l+1}) and (n_{l+1}, n_l) -> (N, n_l), rows are samples.

    Any Python function; it is called once a step and layer, and holds the interpreter's lock while it runs. What it
    is given cannot be written into. One that Numba has compiled (`numba.njit`) runs at kernel speed and holds no
    lock; it must leave what it is given as it is, and is tried on three samples first.
    """

    name = "function"
    citation = "given"

    def __init__(self, function: Callable[[Array, Array], Any]) -> None:
        self.function = function
        self._compiled: dict[str, tuple[Any, int]] = {}

    def call(self, net: Network, l: int) -> Call:
        """The function as compiled code calls it to bring the error to layer l."""
        if hasattr(self.function, "py_func"):
            return self._compiled_call(net, l)
        return Call(self.function, net.dtype, l)

    def _compiled_call(self, net: Network, l: int) -> Call:
        from numba.core.errors import NumbaError

        from deltarule.kernels.feedback import compile_function

        call = Call(None, net.dtype, l)
        W, dtype = net.W[l + 1], str(net.dtype)
        try:
            # An exception, or a wrong shape, could not leave compiled code: it is found here.
            call.check(self.function(np.zeros((3, len(W)), net.dtype), W.copy()), (3, W.shape[1]))
            if dtype not in self._compiled:
                self._compiled[dtype] = compile_function(self.function, net.dtype)
        except NumbaError as error:
            raise BadInput(
                f"the rule {self.settings()['function']} cannot be compiled as a function of (delta, W) that "
                f"returns moved. Numba says: {' '.join(str(error).strip().splitlines()[:6])}"
            ) from error
        except Exception as error:
            call.raised = error
            call.raise_kept()
        call.owner, call.address = self._compiled[dtype]
        return call

    def settings(self) -> dict[str, Any]:
        return {"name": self.name, "function": getattr(self.function, "__qualname__", repr(self.function))}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_compiled": {}}


RULES: dict[str, Callable[..., Rule]] = {
    kind.name: kind for kind in (Transpose, Inverse, RandomFeedback, DirectFeedback, Sign, KolenPollack)
}
"""The rules that have a name."""

KINDS = (Transpose, Inverse, RandomFeedback, DirectFeedback, Sign, KolenPollack, Matrix, Function)
"""All that the compiled code knows."""


def rule(given: Any) -> Rule:
    """The rule itself, or one by name, from a matrix, or from a function.

    >>> rule("random")
    RandomFeedback(scale=1.0, seed=0)
    >>> rule(np.ones((3, 2))).name, rule(lambda delta, W: delta @ W).name
    ('matrix', 'function')
    """
    if isinstance(given, KINDS):
        return given
    if isinstance(given, str):
        if given in RULES:
            return RULES[given]()
        raise unknown("rule", given, RULES, ", a matrix B in the place of W, or a function of (delta, W)")
    if isinstance(given, np.ndarray):
        return Matrix(given)
    if callable(given) and not isinstance(given, type):
        return Function(given)
    raise BadInput(
        f"a rule is a name ({', '.join(RULES)}), an object such as deltarule.rules.RandomFeedback(seed=1), a matrix "
        f"B of W's shape, or a function of (delta, W); got {given!r}"
    )


def by_layer(net: Network, given: Any) -> ByLayer:
    """The rule into each hidden layer 1..L-1: one for all, or a list with one for each."""
    hidden = net.L - 1
    if isinstance(given, ByLayer):
        given = list(given)
    if isinstance(given, Sequence) and not isinstance(given, str):
        if len(given) != hidden:
            raise BadInput(
                f"{len(given)} rules for {hidden} hidden layers; expected one for each (rule[0] carries the error "
                f"into layer 1), or one for all"
            )
        return ByLayer([rule(one) for one in given])
    first = rule(given)  # judged where there is no hidden layer too
    return ByLayer([first] * hidden)


def feedback(net: Network, carriers: ByLayer) -> tuple[Feedback, list[Call]]:
    """The rules as the compiled code reads them, and the calls of the user's own functions among them.

    The calls must be kept alive while compiled code runs, and asked afterwards what was raised.
    """
    from deltarule.kernels import feedback as kernel
    from deltarule.kernels import layout

    codes = {Transpose: kernel.TRANSPOSE, Inverse: kernel.INVERSE, RandomFeedback: kernel.FIXED,
             DirectFeedback: kernel.DIRECT, Sign: kernel.SIGN, KolenPollack: kernel.KOLEN_POLLACK,
             Matrix: kernel.FIXED, Function: kernel.FUNCTION}  # fmt: skip
    code, at, function = (np.zeros(net.L, np.int64) for _ in range(3))
    decay, matrices, calls, scratch = np.zeros(net.L), [np.empty(0, net.dtype)], [], 0
    for l, one in zip(carriers.layers, carriers, strict=True):
        code[l] = next(codes[kind] for kind in type(one).__mro__ if kind in codes)
        at[l] = sum(part.size for part in matrices)
        if isinstance(one, Function):
            calls.append(one.call(net, l))
            function[l] = calls[-1].address
        elif isinstance(one, (Sign, Inverse)):  # taken from W in every step
            matrices.append(np.zeros(net.W[l + 1].size, net.dtype))
        else:
            matrices.append(_matrix(net, l, one))
        if isinstance(one, Inverse):
            scratch = max(scratch, min(net.W[l + 1].shape) ** 2 + max(net.sizes))
        if isinstance(one, KolenPollack):
            decay[l] = one.decay
    B = layout.empty(sum(part.size for part in matrices), net.dtype)
    B[:] = np.concatenate(matrices)
    return layout.Feedback(code, at, function, decay, B, np.empty(scratch)), calls


def _matrix(net: Network, l: int, one: Rule) -> Array:
    """The rule's B into layer l, flat, in the network's dtype; empty where it has none."""
    B = one.matrix(net, l)
    if B is None:
        return np.empty(0, net.dtype)
    source = one.source(net, l) if isinstance(one, _Drawn) else l + 1
    expected = (net.sizes[source], net.sizes[l])
    if B.shape != expected:
        raise BadInput(f"the matrix of {one!r} into layer {l} has shape {B.shape}; expected {expected}")
    with np.errstate(over="ignore"):
        flat = B.ravel().astype(net.dtype)
    if not np.isfinite(flat).all():
        raise BadInput(f"the matrix of the rule into layer {l} has numbers that are too large for {net.dtype}")
    return flat


def keep(net: Network, carriers: ByLayer, given: Feedback) -> None:
    """Let the rules that learn remember their matrices as the training has left them."""
    for l, one in zip(carriers.layers, carriers, strict=True):
        if isinstance(one, KolenPollack):
            shape = net.W[l + 1].shape
            start = int(given.at[l])
            one.keep(net, l, given.B[start : start + shape[0] * shape[1]].reshape(shape))
