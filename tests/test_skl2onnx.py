"""skl2onnx converts our estimators: in pipelines, float and double, every kind of label."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import onnxruntime
import pytest
import skl2onnx
from sklearn.datasets import load_iris, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import deltarule as dr
from deltarule.interop.skl2onnx import register
from deltarule.sklearn import MLPClassifier, MLPRegressor

X, Y = load_iris(return_X_y=True)
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
HIDDEN = [name for name in dr.ACTIVATIONS if name not in ("softmax", "exp")]


@pytest.fixture(autouse=True)
def registered():
    register()


def trained(model, x, y):
    """The model, trained a little."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(x, y)


def fitted(kind, y, **options):
    """A pipeline with a network in float64, as scikit-learn's."""
    model = kind(**{"hidden_layer_sizes": (8, 5), "solver": "lbfgs", "max_iter": 15, "random_state": 0, **options})
    return trained(make_pipeline(StandardScaler(), model), X, y)


def converted(model, rows, **options):
    onnx = skl2onnx.to_onnx(model, rows[:1], **options)
    session = onnxruntime.InferenceSession(onnx.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"X": rows})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ["logistic", *HIDDEN])
def test_every_activation_behind_a_scaler(activation, dtype):
    model = fitted(MLPClassifier, Y, activation=activation)
    rows = X.astype(dtype)
    label, probabilities = converted(model, rows, options={"zipmap": False})
    assert probabilities.dtype == dtype
    assert np.abs(probabilities - model.predict_proba(X)).max() < TOLERANCE[dtype] * 30
    assert (label == model.predict(X)).mean() > 0.99
    assert len(set(label.tolist())) == 3


@pytest.mark.parametrize("labels", [["setosa", "versicolor", "virginica"], [3, 5, 9]])
@pytest.mark.parametrize("count", [2, 3])
def test_labels_of_any_kind(labels, count):
    y = np.array(labels)[np.minimum(Y, count - 1)]
    model = fitted(MLPClassifier, y)
    label, probabilities = converted(model, X, options={"zipmap": False})
    assert label.tolist() == model.predict(X).tolist()
    assert probabilities.shape == (150, count)
    assert np.abs(probabilities - model.predict_proba(X)).max() < 1e-12


def test_zipmap_gives_a_dictionary_for_each_row():
    y = np.array(["a", "b", "c"])[Y]
    model = fitted(MLPClassifier, y)
    label, rows = converted(model, X.astype("float32"))
    assert set(rows[0]) == {"a", "b", "c"}
    assert rows[0][label[0]] == max(rows[0].values())


def test_multilabel():
    x, y = make_multilabel_classification(n_samples=80, n_features=4, n_classes=3, random_state=0)
    model = trained(MLPClassifier((6,), solver="lbfgs", max_iter=50, random_state=0), x, y)
    label, probabilities = converted(model, x, options={"zipmap": False})
    assert np.array_equal(label, model.predict(x))
    assert np.abs(probabilities - model.predict_proba(x)).max() < 1e-10


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [1, 2])
def test_a_regressor_with_one_target_and_with_more(width, dtype):
    y = X[:, 2] if width == 1 else X[:, 2:] * [1, 2]
    model = fitted(MLPRegressor, y, activation="gelu")
    (found,) = converted(model, X.astype(dtype))
    assert found.shape == (150, width)
    assert np.abs(found - model.predict(X).reshape(150, width)).max() < TOLERANCE[dtype] * 100


def test_two_of_them_in_one_model_do_not_meet():
    from sklearn.ensemble import VotingClassifier

    parts = [(name, MLPClassifier((5,), solver="lbfgs", max_iter=40, random_state=i)) for i, name in enumerate("ab")]
    model = trained(VotingClassifier(parts, voting="soft", flatten_transform=False), X, Y)
    label, probabilities = converted(model, X.astype("float32"), options={"zipmap": False})
    assert np.abs(probabilities - model.predict_proba(X)).max() < 1e-4
    assert (label == model.predict(X)).mean() > 0.99


def test_refusals(monkeypatch):
    model = fitted(MLPClassifier, Y)
    with pytest.raises(dr.BadInput, match="target_opset is 11"):
        converted(model, X, target_opset=11)
    own = fitted(MLPClassifier, Y, activation=(lambda z: z**3, lambda z: 3 * z**2), max_iter=2)
    with pytest.raises(dr.BadInput, match="activation of your own"):
        converted(own, X)
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(dr.MissingExtra, match=r'pip install "deltarule\[onnx\]"'):
        register()
