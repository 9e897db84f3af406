"""MLPClassifier: labels in, probabilities and labels out."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels
from sklearn.utils.validation import validate_data

from deltarule.sklearn.callbacks import with_callbacks
from deltarule.sklearn.perceptron import Perceptron, ours

Array = npt.NDArray[Any]

LOSSES = {"squared_error": "quadratic", "absolute_error": "absolute", "huber": "huber", "log_cosh": "log_cosh"}


class MLPClassifier(ClassifierMixin, Perceptron):
    """scikit-learn's MLPClassifier on the compiled engine: the same arguments, attributes, numbers and errors.

    The parameters up to `max_fun`, and all attributes, are scikit-learn's and mean what they mean there. What
    follows is new.

    Parameters
    ----------
    activation : str, (sigma, slope), or list of these
        Besides scikit-learn's names any of :data:`deltarule.ACTIVATIONS`, a pair of functions of one number, or one
        of these for each hidden layer.
    solver : str or Optimizer
        Besides scikit-learn's names "momentum", "nesterov", "rmsprop", "adamw", or an object such as
        ``deltarule.RMSProp(1e-3)``, whose constants count in place of `learning_rate_init` and its like.
    class_weight : dict, "balanced", or list of dict, optional
        Of each class, multiplied into `sample_weight`; for multilabel targets one dict for each label.
    loss : "log_loss", "squared_error", "absolute_error", "huber", "log_cosh", or (value, grad)
        A pair of functions of one output and its target is your own.
    output_activation : str or pair, optional
        "softmax" for classes and "logistic" for two classes or labels, if not given.
    dropout : float, or one for each hidden layer
        The share of hidden units silenced in each step.
    rule : str, Rule, matrix or function
        What carries the error back; see :mod:`deltarule.rules`.
    scoring : str or callable, optional
        A scorer for early stopping in place of the accuracy.
    keep_optimizer : bool
        With `warm_start`, whether the next fit goes on with the optimiser's memory and learning rate.
    threads : int, optional
        How many threads share each step; by its size, if not given: one for a small network in usual batches.

    Attributes
    ----------
    validation_loss_curve_ : list or None
        The loss on the validation data after each epoch, without the penalty.
    stopped_ : bool
        Whether `partial_fit` with early stopping has stopped; it then holds the best weights and stays as it is.
    network_ : deltarule.Network
        Behind `coefs_` and `intercepts_`, whose memory it is.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier((16,), learning_rate_init=0.02, random_state=1).fit(X, y)
    >>> model.predict(X[[0, 60, 120]])
    array([0, 1, 2])
    >>> [delta.shape for delta in model.deltas(X, y)]
    [(150, 16), (150, 3)]
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **Perceptron._parameter_constraints,
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
        "loss": [StrOptions({"log_loss", *LOSSES}), tuple],
    }

    def __init__(
        self,
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
        class_weight: Any = None,
        loss: Any = "log_loss",
        output_activation: Any = None,
        dropout: Any = 0.0,
        rule: Any = "transpose",
        scoring: Any = None,
        keep_optimizer: bool = False,
        threads: int | None = None,
    ) -> None:
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
        self.class_weight = class_weight
        self.loss = loss
        self.output_activation = output_activation
        self.dropout = dropout
        self.rule = rule
        self.scoring = scoring
        self.keep_optimizer = keep_optimizer
        self.threads = threads

    # Targets.

    def _validate_input(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Array, Array]:
        X, y = validate_data(
            self, X, y, accept_sparse=["csr", "csc"], multi_output=True, dtype=(np.float64, np.float32), reset=reset
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            self._require_known(unique_labels(y))
        return X, y, self._binarized(y)

    def _binarized(self, y: Array) -> Array:
        """Labels that are known, coded: one-hot, or one column for two classes. (N, n_L), bool.

        What the binarizer returns, without its checks, which cost more than a small network's training.
        """
        if self._label_binarizer.y_type_.startswith("multilabel"):
            return np.asarray(self._label_binarizer.transform(y), bool)
        codes = np.searchsorted(self.classes_, y)
        columns = np.arange(len(self.classes_)) if len(self.classes_) > 2 else np.array([1])
        return np.asarray(codes[:, None] == columns)

    def _require_known(self, classes: Array) -> None:
        """Refuse classes that the weights were not made for."""
        if self.warm_start:
            if set(classes) != set(self.classes_):
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                    f"Previously got {self.classes_}, `y` has {classes}"
                )
        elif len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {classes}."
            )

    def _coded(self, y: Any, N: int) -> Array:
        y = np.asarray(y)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if np.issubdtype(y.dtype, np.floating) and not np.isfinite(y).all():
            raise ValueError("Input y contains NaN.")
        if len(y) != N:
            raise ValueError(f"Found input variables with inconsistent numbers of samples: [{N}, {len(y)}]")
        unknown = np.setdiff1d(unique_labels(y), self.classes_)
        if len(unknown):
            raise ValueError(f"y has classes {unknown} that were not fitted: {self.classes_}")
        return self._binarized(y)

    def _sample_weight(self, y: Any, weight: Array | None, incremental: bool) -> Array | None:
        if self.class_weight is None:
            return weight
        if incremental and isinstance(self.class_weight, str):
            raise ValueError(
                "class_weight='balanced' counts the classes of all data, which partial_fit does not see: use "
                "compute_class_weight('balanced', classes=..., y=...) on the whole and give its dict"
            )
        by_class: Array = compute_sample_weight(self.class_weight, y)
        return by_class if weight is None else by_class * weight

    # What the engine is told.

    def _usual_output(self) -> str:
        return "softmax" if self._label_binarizer.y_type_ == "multiclass" else "logistic"

    def _cost(self) -> Any:
        if isinstance(self.loss, tuple):
            return self.loss
        output = ours(self.out_activation_)
        return LOSSES.get(self.loss) or ("log_likelihood" if output == "softmax" else "cross_entropy")

    def _loss_scale(self) -> float:
        return 1.0

    def _agreement(self, y: Array, out: Array, weight: Array | None) -> float:
        if self._label_binarizer.y_type_ == "multiclass":
            right = y.argmax(axis=1) == out.argmax(axis=1)
        else:
            right = ((out > 0.5) == (y > 0.5)).all(axis=1)
        return float(np.average(right, weights=weight))

    # The public methods.

    def predict(self, X: Any) -> Array:
        """The class of each sample: (n_samples,), or (n_samples, n_classes) of 0 and 1 for multilabel."""
        out = self._output(X)
        labels: Array = self._label_binarizer.inverse_transform(out.ravel() if self.n_outputs_ == 1 else out)
        return labels

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, (n_samples, n_classes), in the order of `classes_`."""
        out = self._output(X)
        return np.hstack([1 - out, out]) if self.n_outputs_ == 1 else out

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithm of `predict_proba`."""
        out = self.predict_proba(X)
        return np.asarray(np.log(out, out=out))

    @available_if(lambda estimator: estimator._stochastic())
    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None, *, validation: Any = None
    ) -> Any:
        """Train for one epoch over these data and keep the rest for the next call.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), optional
        classes : array of shape (n_classes,)
            All classes that any call may hold; needed in the first call.
        validation : (X, y) or (X, y, sample_weight), optional
            Judged after the call. With early_stopping, calls after the one that stops (`stopped_`) change nothing.
        """
        if _check_partial_fit_first_call(self, classes):
            multilabel = type_of_target(y).startswith("multilabel")
            self._label_binarizer = LabelBinarizer().fit(y if multilabel else classes)
        return self._fit(X, y, sample_weight, validation, incremental=True)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
