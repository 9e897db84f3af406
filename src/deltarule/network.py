"""Network: the parameters, the forward pass, and backprop, which returns every layer's error."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from deltarule import edits, forward, inputs
from deltarule.activations import Activation, activation
from deltarule.calls import raise_kept
from deltarule.costs import check_pair
from deltarule.costs import cost as cost_named
from deltarule.errors import BadInput, unknown
from deltarule.inits import init as init_named
from deltarule.kernels import layout
from deltarule.records import ByLayer
from deltarule.rules import by_layer, feedback
from deltarule.trace import Trace

if TYPE_CHECKING:
    from deltarule.history import History
    from deltarule.optimizers import Optimizer
    from deltarule.ranks import Ranks
    from deltarule.schedules import EarlyStopping, Schedule

Array = npt.NDArray[Any]
DTYPES = ("float32", "float64")
MOST_WEIGHTS = 2**48


class Parameters(ByLayer):
    """W or b by layer: views into the network's memory, so that what is written into them is used."""

    def __setitem__(self, l: int, values: Any) -> None:
        """Write the values into layer l; so `net.W[1] *= 2` and `net.W[1] = W` do what they say."""
        view, given = self[l], np.asarray(values)
        if given.shape != view.shape:
            raise BadInput(f"layer {l} takes shape {view.shape}; got {given.shape}")
        view[...] = given


class Network:
    """A dense feedforward network: z^l = W^l a^{l-1} + b^l, a^l = sigma(z^l), l = 1..L.

    Parameters
    ----------
    sizes : sequence of int
        n_0, n_1 .. n_L: the width of the input and of each layer.
    activation : str, pair, or sequence of these, one for each hidden layer
        A name from :data:`deltarule.activations.ACTIVATIONS`, or a pair (sigma, sigma') of functions of one
        number z, which is compiled.
    output : str or pair
        The activation of layer L.
    cost : str or pair
        "quadratic", "cross_entropy", "log_likelihood", "huber", "absolute", "log_cosh", "poisson",
        "poisson_deviance"; or a pair (value, grad) of functions of one output a and its target y, summed over the
        outputs, which is compiled. A cost that makes no sense behind the output is refused, with those that do.
    init : str
        A name from :data:`deltarule.inits.INITS`.
    dtype : "float32" or "float64"
    seed : int or None
        Of the generator for the weights and for training; the same seed gives the same bits.
    device : "cpu"
        There is no other yet; the error for one says how to train the same network on a GPU.

    Attributes
    ----------
    W, b : by layer 1..L
        W[l] is (n_l, n_{l-1}): w_jk goes from neuron k of layer l-1 to neuron j of layer l. Views: what is
        written into them is used.
    sizes, L, dtype, cost, output, activations, classes

    Raises
    ------
    BadInput
        For sizes that are not positive integers, unknown names, or a pair of output and cost that makes no sense.

    Examples
    --------
    >>> import deltarule as dr
    >>> net = dr.Network([4, 3, 2], activation="tanh", output="softmax", cost="log_likelihood", seed=0)
    >>> net.W[1].shape, net.b[2].shape
    ((3, 4), (2,))
    >>> net.predict(np.zeros((5, 4))).shape
    (5, 2)
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: Any = "sigmoid",
        output: Any = "sigmoid",
        cost: Any = "quadratic",
        init: str = "auto",
        dtype: Any = "float32",
        seed: int | None = None,
        device: str = "cpu",
    ) -> None:
        if device != "cpu":
            raise BadInput(
                f"device is {device!r}; deltarule computes on the processor, device='cpu'. For a GPU, "
                "deltarule.interop.to_torch(net) gives the same network to PyTorch, from_torch takes it back, and "
                "deltarule.lens watches its error there"
            )
        self.sizes = _checked_sizes(sizes)
        self.L = len(self.sizes) - 1
        self.activations = ByLayer(_activations(activation, output, self.L))
        self.output: Activation = self.activations[self.L]
        self.cost = cost_named(cost)
        check_pair(self.output, self.cost)
        name = getattr(dtype, "__name__", str(dtype))
        if name not in DTYPES:
            raise unknown("dtype", name, DTYPES)
        self.dtype = np.dtype(name)
        self.init = init
        draw = init_named(init)
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0):
            raise BadInput(f"seed is {seed!r}; expected an integer from 0 up, or None")
        self.seed = seed
        self.rng = np.random.Generator(np.random.PCG64(seed))
        self.classes: Array | None = None
        self._place_parameters()
        for l in range(1, self.L + 1):
            W, b = draw(self.rng, self.sizes[l], self.sizes[l - 1], self.activations[l])
            self.W[l][...], self.b[l][...] = W, b

    def _place_parameters(self) -> None:
        """theta, the flat vector of all parameters, and the views W and b into it."""
        W_at, b_at, count = layout.places(self.sizes, self.dtype)
        self._W_at, self._b_at = W_at, b_at
        self.theta = layout.empty(count, self.dtype)
        self.theta[:] = 0
        self.W, self.b = map(Parameters, self._views(self.theta))

    def _views(self, flat: Array) -> tuple[list[Array], list[Array]]:
        """A flat vector that is laid out like theta, seen by layer."""
        layers = range(1, self.L + 1)
        n = self.sizes
        W = [flat[self._W_at[l] : self._b_at[l]].reshape(n[l], n[l - 1]) for l in layers]
        b = [flat[self._b_at[l] : self._b_at[l] + n[l]] for l in layers]
        return W, b

    @cached_property
    def _pairs(self) -> dict[int, Any]:
        """The user's own activations, compiled, by layer."""
        from deltarule.kernels.elementwise import compile_pair

        return {
            l: compile_pair(sigma.name, sigma.pair, self.dtype)
            for l, sigma in zip(self.activations.layers, self.activations, strict=True)
            if sigma.pair is not None
        }

    @cached_property
    def _own_cost(self) -> Any:
        """The user's own cost, compiled; None for one from the table."""
        from deltarule.kernels.output import compile_cost

        return None if self.cost.pair is None else compile_cost(self.cost.name, self.cost.pair, self.dtype)

    @cached_property
    def _table(self) -> Array:
        """The layers as the compiled code reads them: a row each of sizes, W_at, b_at, sigma and pair."""
        from deltarule.kernels import elementwise

        codes = [elementwise.CODES.get(sigma.name, elementwise.OWN) for sigma in self.activations]
        pair = [self._pairs[l].address if l in self._pairs else 0 for l in range(self.L + 1)]
        return np.array([self.sizes, self._W_at, self._b_at, [0, *codes], pair], np.int64)

    @cached_property
    def _layers(self) -> layout.Layers:
        """The architecture as the compiled code reads it."""
        from deltarule.kernels import output

        sizes, W_at, b_at, sigma, pair = self._table
        return layout.Layers(
            sizes,
            W_at,
            b_at,
            sigma,
            pair,
            output.CODES.get(self.cost.name, output.OWN),
            0 if self._own_cost is None else self._own_cost.address,
            np.array([-np.inf, np.inf], self.dtype),
        )

    def predict(self, x: Any) -> Array:
        """a^L for every row of x: (N, n_L), in the network's dtype.

        Raises BadInput for a wrong width, an empty x, or a value that is not a finite number.
        """
        if inputs.is_ready(self, x):
            a, good = forward.outputs(self, x)
            if good:
                return a
        return forward.outputs(self, inputs.samples(self, x))[0]

    def classify(self, x: Any) -> Array:
        """The class of each row of x: that of the largest output, or of a single output above one half."""
        codes = _guesses(self.predict(x))
        return codes if self.classes is None else self.classes[codes]

    def score(self, x: Any, y: Any) -> float:
        """The share of rows classified right where y are labels (or one-hot rows), R^2 otherwise."""
        rows = inputs.samples(self, x)
        return self._score(self.predict(rows), inputs.targets(self, y, len(rows)))

    def _score(self, a: Array, y: inputs.Targets) -> float:
        if y.are_labels:
            return float((_guesses(a) == y.labels).mean())
        values = y.values.astype(np.float64)
        spread = ((values - values.mean(axis=0)) ** 2).sum()
        missed = ((values - a) ** 2).sum()
        if spread == 0:
            return 1.0 if missed == 0 else 0.0
        return float(1 - missed / spread)

    def mean_cost(self, x: Any, y: Any) -> float:
        """The mean of C over the samples, without penalties."""
        rows = inputs.samples(self, x)
        return self._evaluate(rows, inputs.targets(self, y, len(rows)))[0]

    def _evaluate(self, x: Array, y: inputs.Targets) -> tuple[float, float]:
        """Mean cost and score of samples that are already checked."""
        a, cost = forward.evaluation(self, x, y)
        return float(cost.mean(dtype=np.float64)), self._score(a, y)

    def backprop(
        self, x: Any, y: Any, *, rule: Any = "transpose", edit: Any = None, eta: float | None = None
    ) -> Trace:
        """One forward and one backward pass: every z, a, slope, moved, delta and gradient.

        delta^L = grad_a C * sigma'(z^L); delta^l = ((W^{l+1})^T delta^{l+1}) * sigma'(z^l);
        dC/db^l = delta^l; dC/dW^l = delta^l (a^{l-1})^T.

        Parameters
        ----------
        x : (N, n_0)
        y : (N, n_L) values, or (N,) integer or string labels
        rule : str, Rule, matrix or function, or a list with one for each hidden layer
            What carries the error back in the place of the transpose; see :mod:`deltarule.rules`.
        edit : dict, optional
            By layer, what delta^l is made into before it goes on: a number scales it (0 silences it), an array
            replaces it, a function of delta^l (N, n_l) returns it. All below, and the gradients, follow from it.
        eta : float, optional
            The length of the step whose predicted and actual change of the cost `trace.step` shows; 0.1 where only
            `edit` is given. The network stays as it is.

        Returns
        -------
        Trace
            Per sample, never divided by N; the gradients are means over the samples. The arrays are in the
            network's dtype.

        Raises
        ------
        BadInput
            Wrong width, N mismatch, empty data, a value that is not finite, a label out of range, a rule or an
            edit whose shape does not fit.

        Examples
        --------
        >>> import deltarule as dr
        >>> net = dr.Network([2, 3, 1], dtype="float64", seed=0)
        >>> trace = net.backprop([[0.5, -1.0]], [[1.0]])
        >>> by_hand = (trace.delta[2] @ net.W[2]) * trace.slope[1]        # BP2
        >>> np.allclose(trace.delta[1], by_hand)
        True
        >>> silenced = net.backprop([[0.5, -1.0]], [[1.0]], edit={1: 0})  # layer 1 is told nothing
        >>> bool(silenced.grad_W[1].any()), silenced.step.actual < 0      # layer 2 still learns
        (False, True)
        """
        from deltarule.kernels.passes import backprop

        rows = inputs.samples(self, x)
        values = inputs.coded(inputs.targets(self, y, len(rows)), self)
        changes = [] if edit is None else edits.checked(self, edit)
        carriers = by_layer(self, rule)
        given, calls = feedback(self, carriers)
        buffers, grad = self._pass(rows, values, given)
        raise_kept(calls)
        for l, how in changes:
            delta = self._rows(buffers, buffers.delta, len(rows), l)
            delta[...] = edits.apply(how, delta, l)
            backprop(self.theta, self._layers, given, buffers, grad, l)
            raise_kept(calls)
        grad_W, grad_b = map(ByLayer, self._views(grad))
        step = None
        if edit is not None or eta is not None:
            true = self.backprop(rows, values)
            step = edits.step(
                self, rows, values, (grad_W, grad_b), (true.grad_W, true.grad_b), 0.1 if eta is None else eta
            )

        def by(flat: Array, first: int = 1) -> ByLayer:
            layers = range(first, self.L + 1)
            return ByLayer([self._rows(buffers, flat, len(rows), l) for l in layers], first)

        return Trace(
            buffers.cost,
            by(buffers.z),
            by(buffers.a, 0),
            by(buffers.slope),
            by(buffers.moved, 0),
            by(buffers.delta),
            grad_W,
            grad_b,
            ByLayer([sigma.name for sigma in self.activations]),
            ByLayer([one.name for one in carriers]),
            step,
        )

    def _pass(self, rows: Array, values: Array, given: layout.Feedback) -> tuple[layout.Batch, Array]:
        """One forward and one backward pass: its buffers, and the gradients laid out like theta."""
        from deltarule.kernels.passes import backprop

        buffers = layout.batch(self.sizes, len(rows), self.dtype)
        buffers.a[: rows.size] = rows.ravel()
        buffers.y[:] = values.ravel()
        grad = np.zeros_like(self.theta)
        backprop(self.theta, self._layers, given, buffers, grad, 0)
        return buffers, grad

    def _rows(self, buffers: layout.Batch, flat: Array, N: int, l: int) -> Array:
        """Layer l of a buffer, a row a sample."""
        start, n = int(buffers.at[l]), self.sizes[l]
        return flat[start : start + N * n].reshape(N, n)

    def fit(
        self,
        x: Any,
        y: Any,
        *,
        epochs: int = 30,
        batch_size: int = 10,
        optimizer: str | Optimizer | None = None,
        validation: tuple[Any, Any] | None = None,
        l2: float = 0.0,
        l1: float = 0.0,
        dropout: float | Sequence[float] = 0.0,
        rule: Any = "transpose",
        watch: bool | int = False,
        early_stopping: bool | EarlyStopping | None = None,
        schedule: str | Schedule | None = None,
        checkpoint: str | Path | None = None,
        progress: bool = True,
        shuffle: bool = True,
        threads: int | None = None,
        sample_weight: Any = None,
        ranks: Ranks | None = None,
    ) -> History:
        """Train from the present weights and return the history.

        Each step takes the next batch in the epoch's order, computes delta of every layer (BP1, BP2) and the
        gradients (BP3, BP4, means over the batch), and lets the optimiser change W and b.

        Parameters
        ----------
        x : (N, n_0)
            Not copied where it is C-ordered and in the network's dtype; it may be memory-mapped.
        y : (N, n_L) values, or (N,) integer or string labels
            Labels are coded one-hot; their classes are kept as `net.classes`.
        epochs, batch_size : int
            The last batch of an epoch may be smaller.
        optimizer : Optimizer or str
            :class:`~deltarule.SGD`, Momentum, Nesterov, RMSProp, Adam (the default), AdamW. The object keeps
            its state for this network, so that 5 epochs and 5 more equal 10.
        validation : (x, y), optional
            Judged after every epoch.
        l2, l1 : float
            Add l2/2 sum W^2 and l1 sum |W| to the mean cost (the book's lambda is N l2). Weights only; they
            enter BP4's gradient, not delta.
        dropout : float, or one for each hidden layer
            The share of hidden units silenced in each step; the rest are scaled up.
        rule : str, Rule, matrix or function, or a list with one for each hidden layer
            What carries the error back: "transpose", or in its place "inverse", "random", "direct", "sign",
            "kolen_pollack" and your own; see :mod:`deltarule.rules`. With any but the transpose the history holds
            the angle of its delta to the true one, layer by layer, after every epoch.
        watch : bool or int
            Record the error's flow in every step, or in every k-th: `history.flow`. It takes 40 bytes a layer and
            recorded step.
        early_stopping : True or EarlyStopping
            Stop when the validation stops improving, and take the best weights.
        schedule : Schedule or str
            Constant, Inverse, Cosine or OnPlateau.
        checkpoint : folder
            Written after every epoch; a fit with the same arguments goes on from it to the same bits.
        progress : bool
            A bar, where stderr is a terminal. Ctrl-C ends the training; network and history stay as they are.
        shuffle : bool
            A new order of the samples in every epoch.
        threads : int, optional
            How many threads share each step; by the size of the step and the cores, if not given. Dropout, and a
            function as a rule, take one. The same number gives the same bits.
        sample_weight : (N,), optional
            w_i of each sample, from 0 up: a batch's means (the cost, BP3, BP4) are sum w_i (...) / sum w_i.
        ranks : Ranks, optional
            The processes that train this network together, each on its share of every batch; every one of them calls
            fit with the same arguments. :func:`deltarule.interop.distributed.ranks` gives them.

        Raises
        ------
        BadInput
            Wrong width, N mismatch, empty data, values that are not finite, labels out of range, settings
            that make no sense.
        Diverged
            A value became NaN or infinite: names epoch, step and layer; the last good weights are kept.

        Examples
        --------
        >>> import deltarule as dr
        >>> x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
        >>> net = dr.Network([2, 8, 2], activation="tanh", output="softmax", cost="log_likelihood", seed=1)
        >>> history = net.fit(x, x[:, 0] ^ x[:, 1], epochs=200, batch_size=4, optimizer=dr.Adam(0.05))
        >>> net.classify(x)
        array([0, 1, 1, 0])
        """
        from deltarule.training import Training, settings_for

        settings = settings_for(
            self,
            epochs=epochs,
            batch_size=batch_size,
            optimizer_given=optimizer,
            schedule_given=schedule,
            early_stopping=early_stopping,
            l2=l2,
            l1=l1,
            dropout=dropout,
            rule=rule,
            watch=watch,
            shuffle=shuffle,
            progress=progress,
            checkpoint=checkpoint,
            threads=threads,
        )
        if ranks is not None:
            from deltarule.shared import train

            return train(ranks, self, x, y, validation, settings, sample_weight)
        return Training(self, x, y, validation, settings, sample_weight).run()

    def save(self, path: str | Path) -> None:
        """Write the network to a safetensors file, whole or not at all. Read it with :func:`deltarule.load`."""
        from deltarule.store import save

        save(self, path)

    def copy(self, activation: Any = None) -> Network:
        """The same network in memory of its own; with other activations in the hidden layers, where they are given.

        `activation` is as in the constructor: one name or pair for all, or a list with one for each.
        """
        other = copy.deepcopy(self)
        if activation is not None:
            other.activations = ByLayer(_activations(activation, self.output, self.L))
        return other

    def astype(self, dtype: Any) -> Network:
        """A network with the same parameters in another dtype."""
        other = Network(
            self.sizes,
            list(self.activations)[:-1],
            self.output,
            self.cost,
            "zeros",
            dtype,
            self.seed,
        )
        other.init, other.classes = self.init, self.classes
        for l in range(1, self.L + 1):
            other.W[l][...], other.b[l][...] = self.W[l], self.b[l]
        return other

    def __getstate__(self) -> dict[str, Any]:
        kept = dict(self.__dict__)
        for name in ("W", "b", "_table", "_layers", "_pairs", "_own_cost"):  # views and compiled code are made again
            kept.pop(name, None)
        return kept

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        flat = self.theta
        self._place_parameters()
        self.theta[:] = flat

    def __repr__(self) -> str:
        names = [sigma.name for sigma in self.activations]
        layers = " -> ".join(
            [str(self.sizes[0]), *(f"{n} {name}" for n, name in zip(self.sizes[1:], names, strict=True))]
        )
        count = sum(W.size + b.size for W, b in zip(self.W, self.b, strict=True))
        return f"Network({layers}; cost {self.cost.name}, {self.dtype}, {count:,} parameters)"


def _guesses(a: Array) -> Array:
    return (a[:, 0] > 0.5).astype(np.int64) if a.shape[1] == 1 else a.argmax(axis=1)


def _checked_sizes(sizes: Any) -> list[int]:
    try:
        given = list(sizes)
    except TypeError:
        given = []
    good = [isinstance(n, (int, np.integer)) and not isinstance(n, bool) and n > 0 for n in given]
    if len(given) < 2 or not all(good):
        raise BadInput(
            f"sizes is {sizes!r}; expected at least two positive integers, the width of the input, of each "
            f"hidden layer and of the output: [784, 30, 10]"
        )
    if sum(int(n) * int(m) for n, m in pairwise(given)) > MOST_WEIGHTS:
        raise BadInput(f"sizes is {sizes!r}; these are more than {MOST_WEIGHTS:,} weights, the most that are counted")
    return [int(n) for n in given]


def _activations(hidden: Any, output: Any, L: int) -> list[Activation]:
    if isinstance(hidden, list) or (isinstance(hidden, tuple) and not _is_pair(hidden)):
        if len(hidden) != L - 1:
            raise BadInput(
                f"{len(hidden)} activations for {L - 1} hidden layers; expected one for each, or one name for all"
            )
        table = [activation(one) for one in hidden]
    else:
        table = [activation(hidden)] * (L - 1)
    for l, one in enumerate(table, 1):
        if one.name == "softmax":
            raise BadInput(f"softmax at hidden layer {l}: it stands at the output only (output='softmax')")
    return [*table, activation(output)]


def _is_pair(given: tuple[Any, ...]) -> bool:
    return len(given) == 2 and all(callable(one) for one in given)
