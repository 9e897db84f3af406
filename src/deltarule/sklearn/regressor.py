"""MLPRegressor: amounts in, amounts out."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from sklearn.base import RegressorMixin, _fit_context
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import validate_data

from deltarule.sklearn.callbacks import with_callbacks
from deltarule.sklearn.perceptron import Perceptron

Array = npt.NDArray[Any]

LOSSES = {
    "squared_error": "quadratic",
    "poisson": "poisson_deviance",
    "absolute_error": "absolute",
    "huber": "huber",
    "log_cosh": "log_cosh",
}


class MLPRegressor(RegressorMixin, Perceptron):
    """scikit-learn's MLPRegressor on the compiled engine: the same arguments, attributes, numbers and errors.

    The parameters up to `max_fun`, and all attributes, are scikit-learn's and mean what they mean there. What
    follows is new; the rest is as with :class:`MLPClassifier`.

    Parameters
    ----------
    loss : "squared_error", "poisson", "absolute_error", "huber", "log_cosh", or (value, grad)
        A pair of functions of one output and its target is your own. As in scikit-learn the loss that is shown is a
        mean over the outputs (for "poisson" a sum) and the gradient that of the sum.
    output_activation : str or pair, optional
        "identity", and "exp" for the Poisson loss, if not given.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.preprocessing import scale
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = MLPRegressor(hidden_layer_sizes=(16,), learning_rate_init=0.01, tol=1e-3, random_state=0)
    >>> model.fit(scale(X), scale(y)).score(scale(X), scale(y)) > 0.5
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **Perceptron._parameter_constraints,
        "loss": [StrOptions(set(LOSSES)), tuple],
    }

    def __init__(
        self,
        loss: Any = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: int = 15000,
        output_activation: Any = None,
        dropout: Any = 0.0,
        rule: Any = "transpose",
        scoring: Any = None,
        keep_optimizer: bool = False,
        threads: int | None = None,
    ) -> None:
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.output_activation = output_activation
        self.dropout = dropout
        self.rule = rule
        self.scoring = scoring
        self.keep_optimizer = keep_optimizer
        self.threads = threads

    def _validate_input(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Array, Array]:
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse=["csr", "csc"],
            multi_output=True,
            y_numeric=True,
            dtype=(np.float64, np.float32),
            reset=reset,
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y, y.reshape(len(y), -1)

    def _coded(self, y: Any, N: int) -> Array:
        y = np.asarray(y)
        if len(y) != N:
            raise ValueError(f"Found input variables with inconsistent numbers of samples: [{N}, {len(y)}]")
        coded: Array = y.reshape(N, -1)
        return coded

    def _usual_output(self) -> str:
        return "exp" if self.loss == "poisson" else "identity"

    def _cost(self) -> Any:
        return self.loss if isinstance(self.loss, tuple) else LOSSES[self.loss]

    def _loss_scale(self) -> float:
        return 1.0 if self.loss == "poisson" else 1.0 / self.n_outputs_

    def _agreement(self, y: Array, out: Array, weight: Array | None) -> float:
        w = np.ones(len(y)) if weight is None else weight
        missed = np.average((y - out) ** 2, axis=0, weights=w)
        spread = np.average((y - np.average(y, axis=0, weights=w)) ** 2, axis=0, weights=w)
        flat = spread == 0
        score = np.where(flat, np.where(missed == 0, 1.0, 0.0), 1 - missed / np.where(flat, 1, spread))
        return float(np.mean(score))

    def predict(self, X: Any) -> Array:
        """The amounts for each sample: (n_samples,) or (n_samples, n_outputs)."""
        out = self._output(X)
        return np.asarray(out.ravel() if out.shape[1] == 1 else out)

    @available_if(lambda estimator: estimator._stochastic())
    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, *, validation: Any = None) -> Any:
        """Train for one epoch over these data and keep the rest for the next call.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), optional
        validation : (X, y) or (X, y, sample_weight), optional
            Judged after the call. With early_stopping, calls after the one that stops (`stopped_`) change nothing.
        """
        return self._fit(X, y, sample_weight, validation, incremental=True)
