"""What is held out of a training, and how the network is judged on it after each epoch."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deltarule import forward
from deltarule.errors import BadInput
from deltarule.inputs import Targets
from deltarule.network import Network

Array = npt.NDArray[Any]


@dataclass
class Held:
    """Samples that the training does not see: as the network takes them, and as a scorer of the user's takes them."""

    x: Array
    y: Array  # (N, n_L), coded
    weight: Array | None
    given: tuple[Any, Any]

    def judge(self, estimator: Any, net: Network) -> tuple[float, float]:
        """(score, loss without the penalty): accuracy or R^2, or by `scoring`; NaN where an output is not finite."""
        values = np.ascontiguousarray(self.y, net.dtype)
        out, cost = forward.evaluation(net, self.x, Targets(np.empty(0, np.int64), values, None))
        loss = float(np.average(cost, weights=self.weight)) * estimator._loss_scale()
        if not np.isfinite(out).all():
            return float("nan"), loss
        if estimator.scoring is not None:
            return self._scored(estimator), loss
        return estimator._agreement(values, out, self.weight), loss

    def _scored(self, estimator: Any) -> float:
        from sklearn.metrics import get_scorer

        if hasattr(estimator, "feature_names_in_") and not hasattr(self.given[0], "columns"):
            estimator = copy.copy(estimator)  # the rows held out are an array that has lost the names
            del estimator.feature_names_in_
        scorer = get_scorer(estimator.scoring)
        weight = {} if self.weight is None else {"sample_weight": self.weight}
        return float(scorer(estimator, *self.given, **weight))


def split(estimator: Any, X: Any, y: Array, weight: Array | None) -> tuple[Array, Array]:
    """(rows to train on, rows held out), drawn as scikit-learn draws them: in the shares of two classes, if two."""
    from sklearn.base import is_classifier
    from sklearn.model_selection import train_test_split

    shares = y if is_classifier(estimator) and y.shape[1] == 1 else None
    rows, held = train_test_split(
        np.arange(len(y)),
        random_state=estimator._random_state,
        test_size=estimator.validation_fraction,
        stratify=shares,
    )
    if len(held) < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
        )
    return rows, held


def given(estimator: Any, validation: Any, dtype: Any) -> Held:
    """The user's own validation set, (X, y) or (X, y, sample_weight), checked and coded."""
    from sklearn.utils.validation import _check_sample_weight

    if not isinstance(validation, (tuple, list)) or len(validation) not in (2, 3):
        raise BadInput(f"validation is {type(validation).__name__}; expected a pair (X, y), or (X, y, sample_weight)")
    x = estimator._rows(validation[0], dtype)
    y = estimator._coded(validation[1], len(x))
    weight = None if len(validation) == 2 else _check_sample_weight(validation[2], x)
    return Held(x, y, weight, (validation[0], validation[1]))


def drawn(estimator: Any, x: Array, y: Array, y_given: Any, weight: Array | None, rows: Array) -> Held:
    """The rows x that were held out of the training data, with what belongs to them."""
    return Held(x, y[rows], None if weight is None else weight[rows], (x, np.asarray(y_given)[rows]))
