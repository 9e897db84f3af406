"""L-BFGS: SciPy's minimiser on the engine's loss and gradient over all samples."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from deltarule.kernels.update import STILL
from deltarule.network import Network
from deltarule.optimizers import Momentum
from deltarule.sklearn.descent import prepared

Array = npt.NDArray[Any]


def minimise(estimator: Any, net: Network, x: Array, y: Array, weight: Array | None) -> None:
    """Find the weights of least loss; they are written into the network, the course onto the estimator.

    loss = sum w_i C_i / sum w_i + alpha / 2 sum W^2 / sum w_i. One step of the training whose optimiser stands still
    computes it and its gradient.
    """
    from scipy.optimize import minimize
    from sklearn.utils.optimize import _check_optimize_result

    if weight is not None and weight.sum() == 0:
        raise ZeroDivisionError("Weights sum to zero, can't be normalized")
    training = prepared(estimator, net, x, y, weight, len(x), Momentum())
    training.optimiser = training.optimiser._replace(code=STILL)
    course = training.course._replace(penalty=np.zeros(1), strict=False)
    scale = estimator._loss_scale()

    def loss_and_gradient(theta: Array) -> tuple[float, Array]:
        net.theta[:] = theta
        course.counts[:] = 0
        step(1)
        return course.cost[0] * scale + course.penalty[0], training.optimiser.grad[0] * 1.0

    def report(intermediate_result: Any) -> None:
        report.iteration += 1  # type: ignore[attr-defined]
        print(f"Iteration {report.iteration}, loss = {intermediate_result.fun:.8f}")  # type: ignore[attr-defined]

    report.iteration = 0  # type: ignore[attr-defined]
    with ThreadPoolExecutor(training.team.size) as pool:
        step = training.stepper(course, pool)
        found = minimize(
            loss_and_gradient,
            net.theta.copy(),
            method="L-BFGS-B",
            jac=True,
            callback=report if estimator.verbose else None,
            options={"maxfun": estimator.max_fun, "maxiter": estimator.max_iter, "gtol": estimator.tol},
        )
    estimator.n_iter_ = _check_optimize_result("lbfgs", found, estimator.max_iter)
    estimator.loss_ = found.fun
    net.theta[:] = found.x
