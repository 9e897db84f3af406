"""MLPClassifier and MLPRegressor beside scikit-learn's: the same numbers from the same seed."""

from __future__ import annotations

import inspect
import itertools
import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse
import sklearn.neural_network as theirs
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import scale

import deltarule.sklearn as ours

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, LABELS = load_iris(return_X_y=True)
X = scale(X)
AMOUNTS = scale(X[:, 3] + np.sin(3 * X[:, 2]))
KINDS = {"MLPClassifier": LABELS, "MLPRegressor": AMOUNTS}
SOLVERS = {
    "sgd": {"solver": "sgd", "learning_rate_init": 0.01},
    "plain sgd": {"solver": "sgd", "momentum": 0, "learning_rate_init": 0.05},
    "classical momentum": {"solver": "sgd", "nesterovs_momentum": False},
    "adam": {"solver": "adam"},
    "lbfgs": {"solver": "lbfgs"},
}


def pair(kind, **parameters):
    """Theirs and ours, not fitted."""
    return [getattr(module, kind)(**parameters) for module in (theirs, ours)]


def both(kind, X, y, fit=None, **parameters):
    """Theirs and ours, fitted."""
    return [one.fit(X, y, **(fit or {})) for one in pair(kind, **{"random_state": 3, **parameters})]


def off(one, other):
    """The largest difference of a weight or bias."""
    sides = [[*model.coefs_, *model.intercepts_] for model in (one, other)]
    assert [a.shape for a in sides[0]] == [a.shape for a in sides[1]]
    return max(float(np.abs(a - b).max()) for a, b in zip(*sides, strict=True))


def assert_same(one, other, tolerance=1e-8, of_loss=1e-8):
    assert off(one, other) < tolerance
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(one, name) == getattr(other, name), name
    assert one.loss_ == pytest.approx(other.loss_, rel=of_loss)
    if one.solver != "lbfgs":
        for name in ("loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_"):
            their, our = getattr(one, name), getattr(other, name)
            assert our == (None if their is None else pytest.approx(their, rel=of_loss)), name


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", KINDS)
def test_five_epochs_reach_the_same_weights(kind, solver, activation):
    for weighted, alpha in itertools.product((False, True), (0.0, 0.5)):
        fit = {"sample_weight": np.random.default_rng(0).uniform(0.1, 3, len(X))} if weighted else {}
        assert_same(
            *both(kind, X, KINDS[kind], fit, activation=activation, hidden_layer_sizes=(9, 6), alpha=alpha,
                  batch_size=32, max_iter=5, **SOLVERS[solver])
        )  # fmt: skip


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_two_classes_labels_and_several_outputs(solver):
    many, Y = make_multilabel_classification(n_samples=60, random_state=0)
    two = load_breast_cancer(return_X_y=True)
    for kind, x, y in (
        ("MLPClassifier", *two),  # not scaled: the loss meets its clip
        ("MLPClassifier", many, Y),
        ("MLPRegressor", many, Y[:, :3] * 1.5 - 1.0),
        ("MLPClassifier", X, np.array(["setosa", "versicolor", "virginica"])[LABELS]),
        ("MLPClassifier", X, np.array(["no", "yes"], object)[LABELS // 2]),
    ):
        mine = both(kind, x, y, hidden_layer_sizes=(8,), max_iter=5, solver=solver)
        # theirs takes the logarithm of 1 - a once a has been rounded; unscaled data saturate
        assert_same(*mine, 1e-7, 1e-3 if x is two[0] else 1e-8)
        assert np.array_equal(mine[0].predict(x), mine[1].predict(x)) or kind == "MLPRegressor"
        assert mine[0].score(x, y) == pytest.approx(mine[1].score(x, y))


def test_poisson_is_the_deviance_behind_an_exponential():
    y = np.random.default_rng(0).poisson(np.exp(X[:, 0])).astype(float)
    for solver, weighted in itertools.product(("adam", "sgd", "lbfgs"), (False, True)):
        fit = {"sample_weight": np.arange(1.0, 151)} if weighted else {}
        one, other = both(
            "MLPRegressor", X, y, fit, loss="poisson", hidden_layer_sizes=(6,), max_iter=5, solver=solver
        )
        assert_same(one, other)
        assert other.out_activation_ == "exp"


@pytest.mark.parametrize("options", [
    {},
    {"shuffle": False},
    {"batch_size": 7, "tol": 1e-2},
    {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.3},
    {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.1, "tol": 1e-2},
    {"early_stopping": True, "validation_fraction": 0.3},
    {"early_stopping": True, "batch_size": 20, "n_iter_no_change": 3},
    {"n_iter_no_change": np.inf, "max_iter": 70},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_training_stops_where_theirs_stops(kind, options):
    generators = [np.random.RandomState(5) for _ in range(2)]
    models = []
    for module, generator in zip((theirs, ours), generators, strict=True):
        model = getattr(module, kind)(
            **{"hidden_layer_sizes": (7,), "max_iter": 120, **options}, random_state=generator
        )
        models.append(model.fit(X, KINDS[kind]))
    assert_same(*models, 1e-6)
    # and the generator stands where theirs stands: the epochs drawn ahead were put back
    assert generators[0].randint(2**31) == generators[1].randint(2**31)


def test_float32_stays_float32():
    for kind, y in KINDS.items():
        one, other = both(kind, X.astype(np.float32), y, hidden_layer_sizes=(9,), max_iter=5)
        assert {w.dtype for w in (*other.coefs_, *other.intercepts_)} == {np.dtype(np.float32)}
        assert off(one, other) < 1e-5


def test_the_constructors_are_theirs_and_then_ours():
    for kind in KINDS:
        mine, other = (inspect.signature(getattr(module, kind)).parameters for module in (ours, theirs))
        assert list(mine)[: len(other)] == list(other)
        for name, parameter in other.items():
            assert (mine[name].default, mine[name].kind) == (parameter.default, parameter.kind)
        assert all(mine[name].kind is inspect.Parameter.KEYWORD_ONLY for name in set(mine) - set(other))


def test_what_they_have_we_have():
    for kind, y in KINDS.items():
        one, other = both(kind, X, y, max_iter=3, early_stopping=True)
        public = {name for name in (*dir(one), *vars(one)) if not name.startswith("_")}
        assert public <= {*dir(other), *vars(other)}
        for name in ("fit", "partial_fit", "predict", "score"):
            mine, their = (inspect.signature(getattr(model, name)).parameters for model in (other, one))
            assert list(mine)[: len(their)] == list(their)


@pytest.mark.parametrize("kind", KINDS)
def test_partial_fit_and_warm_start_go_on_as_theirs(kind):
    y = KINDS[kind]
    for solver in ("sgd", "adam"):
        models = pair(kind, solver=solver, random_state=0, hidden_layer_sizes=(6,))
        for part in range(6):
            rows = slice(25 * part, 25 * part + 25)
            classes = {"classes": [0, 1, 2]} if kind == "MLPClassifier" and part == 0 else {}
            for model in models:
                model.partial_fit(X[rows], y[rows], **classes)
        assert_same(*models)
        models = [pickle.loads(pickle.dumps(model)) for model in models]  # the optimiser's memory goes along
        for model in models:
            model.partial_fit(X, y)
        assert_same(*models)
    for solver in ("sgd", "adam", "lbfgs"):
        models = both(kind, X, y, solver=solver, warm_start=True, max_iter=4, hidden_layer_sizes=(6,))
        for model in models:
            model.fit(X, y)
        assert_same(*models)


@pytest.mark.parametrize("form", [scipy.sparse.csr_matrix, scipy.sparse.csc_matrix, scipy.sparse.csr_array])
def test_sparse_samples_give_the_same_as_dense_ones(form):
    x, y = load_digits(return_X_y=True)
    x, y = x[:300] / 16, y[:300]
    dense = ours.MLPClassifier(random_state=0, max_iter=5).fit(x, y)
    sparse = ours.MLPClassifier(random_state=0, max_iter=5).fit(form(x), y)
    assert off(dense, sparse) == 0
    many = form(np.tile(x, (5, 1)))  # more rows than are made dense at once
    assert np.allclose(sparse.predict_proba(many), np.tile(dense.predict_proba(x), (5, 1)), rtol=1e-12)


@pytest.mark.parametrize(
    "options",
    [{}, {"solver": "sgd", "learning_rate": "invscaling"}, {"early_stopping": True}, {"shuffle": False}, {"tol": 1}],
    ids=str,
)
@pytest.mark.parametrize("weighted", [False, True])
def test_many_sparse_samples_are_made_dense_a_part_at_a_time(options, weighted, monkeypatch):
    from deltarule.sklearn import descent, perceptron

    x, y = load_digits(return_X_y=True)
    x, y = x[:300] / 16, y[:300]
    fit = {"sample_weight": np.linspace(0.1, 2, 300)} if weighted else {}
    options = {"random_state": 0, "max_iter": 15, "batch_size": 32, **options}
    whole = theirs.MLPClassifier(**options).fit(scipy.sparse.csr_matrix(x), y, **fit)
    monkeypatch.setattr(perceptron, "DENSE_NUMBERS", 1000)
    monkeypatch.setattr(descent, "PART_NUMBERS", 64 * 100)  # three batches of 32
    seen = []
    monkeypatch.setattr(descent.Descent, "_epochs", lambda *_: seen.append("dense at once"))
    parts = ours.MLPClassifier(**options).fit(scipy.sparse.csc_matrix(x), y, **fit)
    assert not seen
    assert_same(whole, parts)


def test_weights_that_a_user_writes_are_used():
    one, other = both("MLPClassifier", X, LABELS, max_iter=3)
    for model in (one, other):
        model.coefs_[0] = model.coefs_[0] * 0.5  # another array
        model.intercepts_[1][...] = 0.25  # in place
    assert np.allclose(one.predict_proba(X), other.predict_proba(X), atol=1e-12)
    assert np.array_equal(other.network_.W[1], other.coefs_[0].T)
    for model in (one, other):
        model.partial_fit(X, LABELS)
    assert off(one, other) < 1e-8


ERRORS = [
    ("MLPClassifier", {"hidden_layer_sizes": -1}, {}),
    ("MLPClassifier", {"hidden_layer_sizes": (5, 0)}, {}),
    ("MLPClassifier", {"activation": "nothing"}, {}),
    ("MLPClassifier", {"solver": "hadoken"}, {}),
    ("MLPClassifier", {"alpha": -1}, {}),
    ("MLPClassifier", {"learning_rate": "fast"}, {}),
    ("MLPClassifier", {"learning_rate_init": 0}, {}),
    ("MLPClassifier", {"max_iter": 0}, {}),
    ("MLPClassifier", {"batch_size": 0}, {}),
    ("MLPClassifier", {"momentum": 2}, {}),
    ("MLPClassifier", {"beta_1": 1.0}, {}),
    ("MLPClassifier", {"epsilon": -1}, {}),
    ("MLPClassifier", {"n_iter_no_change": -1}, {}),
    ("MLPClassifier", {"validation_fraction": 1.0}, {}),
    ("MLPRegressor", {"loss": "log_loss"}, {}),
    ("MLPRegressor", {"early_stopping": True, "validation_fraction": 0.001}, {}),
    ("MLPClassifier", {}, {"sample_weight": np.zeros(150)}),
    ("MLPClassifier", {"solver": "lbfgs"}, {"sample_weight": np.zeros(150)}),
    ("MLPClassifier", {}, {"sample_weight": np.ones(3)}),
    ("MLPClassifier", {}, {"sample_weight": np.full(150, np.nan)}),
    ("MLPClassifier", {"random_state": "a"}, {}),
]


@pytest.mark.parametrize(("kind", "parameters", "fit"), ERRORS, ids=str)
def test_what_they_refuse_is_refused_with_the_same_error(kind, parameters, fit):
    raised = []
    for model in pair(kind, **parameters):
        with pytest.raises((ValueError, ZeroDivisionError)) as caught:
            model.fit(X, KINDS[kind], **fit)
        raised.append(caught.value)
    assert type(raised[0]) is type(raised[1])
    assert str(raised[0])[:40] == str(raised[1])[:40]


NO_SAMPLES = [X[:, :2], X[:0], X[0], np.where(X > 2, np.nan, X), np.full((150, 4), "a")]


@pytest.mark.parametrize("x", NO_SAMPLES, ids=range(5))
def test_samples_that_they_refuse_are_refused(x):
    for models in (pair("MLPRegressor"), both("MLPRegressor", X, AMOUNTS, max_iter=2)):
        messages = []
        for model in models:
            with pytest.raises(ValueError) as caught:  # noqa: PT011
                model.predict(x) if hasattr(model, "coefs_") else model.fit(x, AMOUNTS[: len(x) - 1])
            messages.append(str(caught.value)[:60])
        assert messages[0] == messages[1]


def test_their_warnings_are_ours():
    messages = []
    for model in pair("MLPClassifier", max_iter=2, batch_size=1000):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(X, LABELS)
        messages.append([(one.category, str(one.message)) for one in caught])
    assert messages[0] == messages[1]
    assert ConvergenceWarning in {category for category, _ in messages[0]}


def test_what_is_printed_is_theirs(capsys):
    printed = []
    options = {"max_iter": 30, "verbose": True, "early_stopping": True, "tol": 0.1, "n_iter_no_change": 2}
    rate = {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 1e-5}
    for model in pair("MLPClassifier", random_state=0, **options, **rate):
        model.fit(X, LABELS)
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert "Learning rate too small. Stopping." in printed[0]


def test_a_value_that_is_not_finite_ends_as_with_them():
    for model in pair("MLPRegressor", solver="sgd", learning_rate_init=1e6, max_iter=20, random_state=0):
        with pytest.raises(ValueError, match="non-finite parameter weights"), np.errstate(all="ignore"):
            model.fit(X * 1e3, AMOUNTS * 1e3)


def test_a_clone_has_the_parameters_and_nothing_else():
    for kind in KINDS:
        _, model = both(kind, X, KINDS[kind], max_iter=2)
        fresh = clone(model)
        assert fresh.get_params() == model.get_params()
        assert not hasattr(fresh, "coefs_")
