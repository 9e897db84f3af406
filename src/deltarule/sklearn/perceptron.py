"""What MLPClassifier and MLPRegressor share: checks, fit and partial_fit, prediction, and every layer's error."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from deltarule import forward
from deltarule.activations import ACTIVATIONS
from deltarule.errors import BadInput, NoSuchLayer
from deltarule.network import Network
from deltarule.optimizers import Optimizer
from deltarule.sklearn import validation as held_out
from deltarule.sklearn.callbacks import CallbackSupportMixin, EpochCallbacks, with_callbacks
from deltarule.sklearn.descent import Descent
from deltarule.sklearn.quasi_newton import minimise
from deltarule.sklearn.solvers import STOCHASTIC, Solver

if TYPE_CHECKING:
    from deltarule.flow import Flow
    from deltarule.trace import Trace

Array = npt.NDArray[Any]

SPARSE_ROWS = 1024
"""So many rows of sparse samples are made dense at once for a prediction."""

DENSE_NUMBERS = 1 << 25
"""Sparse samples of up to so many numbers are made dense once for a training, a quarter of a gigabyte in float64;
more of them a part at a time."""

HIDDEN = sorted({"logistic", *ACTIVATIONS} - {"softmax"})
OUTPUT = sorted({"logistic", *ACTIVATIONS})


def ours(name: Any) -> Any:
    """The engine's name for an activation, or the pair itself."""
    return "sigmoid" if isinstance(name, str) and name == "logistic" else name


def dense(X: Any, dtype: Any) -> Array:
    """Rows of numbers in this dtype, as the engine reads them; sparse ones are filled up."""
    return np.ascontiguousarray(X.toarray() if hasattr(X, "toarray") else X, dtype)


class Perceptron(CallbackSupportMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """The base of both estimators. Its parameters are described with them."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(HIDDEN)), list, tuple],
        "solver": [StrOptions({"lbfgs", *STOCHASTIC}), Optimizer],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left"), list, tuple],
        "output_activation": [StrOptions(set(OUTPUT)), tuple, None],
        "rule": "no_validation",
        "scoring": [str, callable, None],
        "keep_optimizer": ["boolean"],
        "threads": [Interval(Integral, 1, None, closed="left"), None],
    }

    # What an estimator says of its targets; each of the two has its own.

    def _validate_input(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Array, Array]:
        """X as rows, y as it was given and y coded; the classes are learned on the way."""
        raise NotImplementedError

    def _coded(self, y: Any, N: int) -> Array:
        """Targets of a validation set, (N, n_L)."""
        raise NotImplementedError

    def _usual_output(self) -> str:
        """scikit-learn's name of the output's activation, where none is asked for."""
        raise NotImplementedError

    def _cost(self) -> Any:
        """The engine's cost."""
        raise NotImplementedError

    def _loss_scale(self) -> float:
        """The factor from the engine's cost, a sum over the outputs, to scikit-learn's loss."""
        raise NotImplementedError

    def _agreement(self, y: Array, out: Array, weight: Array | None) -> float:
        """The score of outputs against coded targets."""
        raise NotImplementedError

    def _sample_weight(self, y: Any, weight: Array | None, incremental: bool) -> Array | None:
        """The weights of the samples, those of their classes included."""
        return weight

    # The network behind coefs_ and intercepts_.

    def _take(self, net: Network) -> None:
        """Let coefs_ and intercepts_ be this network's memory, W^l transposed as scikit-learn lays it out."""
        self._net = net
        self.coefs_ = [W.T for W in net.W]
        self.intercepts_ = list(net.b)
        self._views = [*self.coefs_, *self.intercepts_]
        self._made_of = (self.activation, self.out_activation_, self._cost())

    def _built(self, sizes: Sequence[int], dtype: Any) -> Network:
        hidden: Any = self.activation
        if isinstance(hidden, (list, tuple)) and not all(callable(one) for one in hidden):
            hidden = [ours(one) for one in hidden]
        else:
            hidden = ours(hidden)
        net = Network(sizes, hidden, ours(self.out_activation_), self._cost(), "zeros", dtype, seed=0)
        least = np.finfo(
            net.dtype
        ).eps  # probabilities count in the loss as no nearer to 0 and 1: scikit-learn's clip
        net._layers = net._layers._replace(bounds=np.array([-np.log(1 - least), -np.log(least)], net.dtype))
        return net

    @property
    def network_(self) -> Network:
        """The fitted :class:`deltarule.Network`; it shares its memory with `coefs_` and `intercepts_`."""
        check_is_fitted(self, "coefs_")
        net: Network | None = self.__dict__.get("_net")
        now = [*self.coefs_, *self.intercepts_]
        same = net is not None and len(now) == len(self._views)
        if same and self._made_of == (self.activation, self.out_activation_, self._cost()):
            changed = [l for l, (one, view) in enumerate(zip(now, self._views, strict=True)) if one is not view]
            if not changed:
                return net  # type: ignore[return-value]
        net = self._built([len(self.coefs_[0]), *(np.shape(b)[0] for b in self.intercepts_)], self.coefs_[0].dtype)
        for l, (W, b) in enumerate(zip(self.coefs_, self.intercepts_, strict=True), 1):
            net.W[l], net.b[l] = np.asarray(W).T, b
        self._take(net)
        return net

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        for name in ("_net", "_views", "_made_of"):
            state.pop(name, None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "coefs_" in self.__dict__:
            _ = self.network_  # builds it, so that predict changes nothing

    # Training.

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, validation: Any = None) -> Any:
        """Fit the model to X and y.

        Parameters
        ----------
        X : ndarray or sparse matrix of shape (n_samples, n_features)
            Sparse samples are made dense: up to a quarter of a gigabyte at once, more of them some batches at a time.
            What is held out for validation, and all samples with solver "lbfgs", are made dense at once.
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), optional
        validation : (X, y) or (X, y, sample_weight), optional
            Judged after each epoch: `validation_scores_`, `validation_loss_curve_`. With early_stopping nothing is
            then held out of X. Stochastic solvers only.

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, validation, incremental=False)

    def _fit(self, X: Any, y: Any, sample_weight: Any, validation: Any, incremental: bool) -> Any:
        sizes = self._hidden_sizes()
        first = not hasattr(self, "coefs_") or (not self.warm_start and not incremental)
        X, y_given, y = self._validate_input(X, y, incremental, reset=first)
        weight = None if sample_weight is None else _check_sample_weight(sample_weight, X)
        weight = self._sample_weight(y_given, weight, incremental)
        self.n_outputs_ = y.shape[1]
        self._random_state = check_random_state(self.random_state)
        x = X
        if hasattr(X, "toarray"):
            small = self.solver == "lbfgs" or X.shape[0] * X.shape[1] <= DENSE_NUMBERS
            x = X.toarray() if small else X.tocsr()
        if first:
            self._initialize([x.shape[1], *sizes, y.shape[1]], x.dtype)
        net = self.network_
        if any(np.ravel(self.dropout)):
            net.rng = np.random.Generator(np.random.PCG64(self._random_state.randint(2**31)))
        if self.solver == "lbfgs":
            self._fit_lbfgs(net, x, y, weight, validation)
        else:
            self._fit_stochastic(x, y, y_given, weight, validation, incremental)
        if not all(np.isfinite(one).all() for one in (*self.coefs_, *self.intercepts_)):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to "
                "be preprocessed."
            )
        return self

    def _hidden_sizes(self) -> list[Any]:
        given = self.hidden_layer_sizes
        sizes = list(given) if hasattr(given, "__iter__") else [given]
        if np.any(np.array(sizes) <= 0):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return sizes

    def _initialize(self, sizes: list[int], dtype: Any) -> None:
        """Draw W and b as scikit-learn does (Glorot and Bengio 2010, uniform), and begin the record anew."""
        self.n_iter_ = self.t_ = 0
        self.n_layers_ = len(sizes)
        self.out_activation_ = self._usual_output() if self.output_activation is None else self.output_activation
        try:
            net = self._built(sizes, dtype)
        except BadInput as error:
            raise BadInput(
                f"with activation={self.activation!r}, loss={self.loss!r} and output_activation="
                f"{self.out_activation_!r}, in the engine's words: {error}"
            ) from error
        hidden = [sigma.name for sigma in net.activations][:-1] or [ours(self.activation)]
        for l in range(1, net.L + 1):
            factor = 2.0 if hidden[min(l, len(hidden)) - 1] == "sigmoid" else 6.0
            bound = np.sqrt(factor / (sizes[l - 1] + sizes[l]))
            net.W[l] = self._random_state.uniform(-bound, bound, (sizes[l - 1], sizes[l])).T
            net.b[l] = self._random_state.uniform(-bound, bound, sizes[l])
        self._take(net)
        self._n_features_out = sizes[-2]
        if self.solver != "lbfgs":
            self._begin_record()

    def _begin_record(self) -> None:
        self._best_theta = self.network_.theta.copy()
        self.loss_curve_: list[float] = []
        self._no_improvement_count = 0
        self.validation_scores_: list[float] | None = [] if self.early_stopping else None
        self.validation_loss_curve_: list[float] | None = [] if self.early_stopping else None
        self.best_validation_score_ = -np.inf if self.early_stopping else None
        self.best_loss_ = None if self.early_stopping else np.inf
        self.stopped_ = False

    def _fit_lbfgs(self, net: Network, x: Array, y: Array, weight: Array | None, validation: Any) -> None:
        if validation is not None:
            raise BadInput("solver 'lbfgs' has no epochs to judge: validation goes with the stochastic solvers")
        if any(np.ravel(self.dropout)):
            raise BadInput(
                "solver 'lbfgs' needs the same loss at each look, and dropout draws: take a stochastic one"
            )
        if net.dtype != np.float64:  # the minimiser counts in float64
            wide = self._built(net.sizes, np.float64)
            for l in range(1, net.L + 1):
                wide.W[l], wide.b[l] = net.W[l], net.b[l]
            net = wide
        minimise(self, net, np.ascontiguousarray(x, np.float64), y, weight)
        self._take(net)

    def _fit_stochastic(
        self, x: Array, y: Array, y_given: Any, weight: Array | None, validation: Any, incremental: bool
    ) -> None:
        net = self.network_
        new = not (incremental or (self.warm_start and self.keep_optimizer)) or not hasattr(self, "_optimizer")
        if new:
            self._optimizer = Solver(self)
        if not hasattr(self, "loss_curve_"):
            self._begin_record()
        if self.early_stopping and self.best_validation_score_ is None:  # it was switched on after the last fit
            self.validation_scores_, self.validation_loss_curve_ = [], []
            self.best_validation_score_ = -np.inf
        if not self.early_stopping and self.best_loss_ is None:
            self.best_loss_ = np.inf
        if incremental and self.early_stopping and validation is None:
            raise ValueError(
                "partial_fit does not support early_stopping=True unless it is given what to judge by: "
                "partial_fit(X, y, validation=(X_val, y_val))"
            )
        if incremental and self.early_stopping and self.stopped_:
            return
        held = None
        if validation is not None:
            held = held_out.given(self, validation, net.dtype)
            if self.validation_scores_ is None:
                self.validation_scores_, self.validation_loss_curve_ = [], []
        elif self.early_stopping:
            rows, others = held_out.split(self, x, y, weight)
            held = held_out.drawn(self, dense(x[others], net.dtype), y, y_given, weight, others)
            x, y, weight = x[rows], y[rows], None if weight is None else weight[rows]
        x = x if hasattr(x, "toarray") else dense(x, net.dtype)
        epochs = 1 if incremental else self.max_iter
        callbacks = EpochCallbacks(self, x, y, epochs)
        descent = Descent(self, net, x, y, weight, held, judged=self.early_stopping)
        self.stopped_ = descent.run(incremental, callbacks)
        if self.early_stopping and (not incremental or self.stopped_):
            net.theta[:] = self._best_theta
        callbacks.close()

    # What the fitted network says.

    def _rows(self, X: Any, dtype: Any) -> Array:
        """X checked against what was fitted, as dense rows in this dtype."""
        X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        return dense(X, dtype)

    def _output(self, X: Any) -> Array:
        """a^L of each row."""
        check_is_fitted(self)
        net = self.network_
        X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        return self._forward(net, X)

    def _forward(self, net: Network, X: Any) -> Array:
        if not hasattr(X, "toarray"):
            return forward.outputs(net, dense(X, net.dtype))[0]
        X = X.tocsr()
        parts = (dense(X[i : i + SPARSE_ROWS], net.dtype) for i in range(0, X.shape[0], SPARSE_ROWS))
        return np.concatenate([forward.outputs(net, part)[0] for part in parts])

    def transform(self, X: Any, layer: int = -1) -> Array:
        """a^l of a hidden layer, (n_samples, n_l): what the network has made of the samples.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        layer : int
            1 is the first hidden layer, as in the book; -1 is the last, -2 the one before.
        """
        check_is_fitted(self)
        net = self.network_
        hidden = net.L - 1
        if not isinstance(layer, Integral):
            raise BadInput(f"layer is {layer!r}; expected the number of a hidden layer, 1..{hidden} or -1..-{hidden}")
        wanted = layer + hidden + 1 if layer < 0 else layer
        if not 1 <= wanted <= hidden:
            raise NoSuchLayer(f"hidden layer {layer}: the network has {hidden}, 1..{hidden} or -1..-{hidden}")
        X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        below = Network(net.sizes[: wanted + 1], list(net.activations)[: wanted - 1], net.activations[wanted],
                        "quadratic", "zeros", net.dtype, seed=0)  # fmt: skip
        for l in range(1, wanted + 1):
            below.W[l], below.b[l] = net.W[l], net.b[l]
        return self._forward(below, X)

    def backprop(self, X: Any, y: Any) -> Trace:
        """Every z, a, slope, moved, delta and gradient for these samples, as :meth:`deltarule.Network.backprop`."""
        check_is_fitted(self)
        net = self.network_
        x = self._rows(X, net.dtype)
        return net.backprop(x, np.ascontiguousarray(self._coded(y, len(x)), net.dtype), rule=self.rule)

    def deltas(self, X: Any, y: Any) -> list[Array]:
        """The error of each layer per sample, delta^l = dC/dz^l: a list beside `coefs_`, each (n_samples, n_l)."""
        return list(self.backprop(X, y).delta)

    def flow(self, X: Any, y: Any) -> Flow:
        """Where the error goes between output and input, its verdict and remedies; see :mod:`deltarule.flow`."""
        return self.backprop(X, y).flow()

    def _stochastic(self) -> bool:
        """Whether partial_fit makes sense."""
        if self.solver == "lbfgs":
            raise AttributeError(
                f"partial_fit is only available for stochastic optimizers. {self.solver} is not stochastic."
            )
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
