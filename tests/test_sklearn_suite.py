"""scikit-learn's own tests of its MLP, as installed, run against ours.

Its test module is loaded once more with our classes in the place of scikit-learn's; nothing of it is copied. Left out
is what no drop-in can pass:

test_gradient    calls `_loss_grad_lbfgs`, a private method, with the buffers that scikit-learn hands it; the gradient
                 itself is held against differences in test_check.py and against scikit-learn's in test_sklearn.py
"""

from __future__ import annotations

import importlib.util

import pytest
import sklearn.neural_network

import deltarule.sklearn

LEFT_OUT = {"test_gradient"}

# scikit-learn's tests let a training end before it has converged, and say so one by one.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def global_random_seed():
    """A fixture of scikit-learn's own configuration."""
    return 42


def with_ours():
    """scikit-learn's module of tests, made anew with our classes."""
    named = importlib.util.find_spec("sklearn.neural_network.tests.test_mlp")
    module = importlib.util.module_from_spec(named)
    names = ("MLPClassifier", "MLPRegressor")
    before = {name: getattr(sklearn.neural_network, name) for name in names}
    try:
        for name in names:
            setattr(sklearn.neural_network, name, getattr(deltarule.sklearn, name))
        named.loader.exec_module(module)
    finally:
        for name, one in before.items():
            setattr(sklearn.neural_network, name, one)
    assert module.MLPClassifier is deltarule.sklearn.MLPClassifier
    return module


THEIRS = {name: test for name, test in vars(with_ours()).items() if name.startswith("test_")}
globals().update({name: test for name, test in THEIRS.items() if name not in LEFT_OUT})


def test_nothing_is_left_out_that_is_not_there():
    assert set(THEIRS) >= LEFT_OUT
    assert len(THEIRS) > 30
