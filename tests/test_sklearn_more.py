"""What scikit-learn's users asked for: the parameters and methods that theirs has not."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from conftest import relative
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris, make_multilabel_classification
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale
from test_reference import as_lists

import deltarule as dr
from deltarule import reference
from deltarule.sklearn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, LABELS = load_iris(return_X_y=True)
X = scale(X)
AMOUNTS = scale(X[:, 3] + np.sin(3 * X[:, 2]))
SMALL = {"hidden_layer_sizes": (8, 5), "max_iter": 20, "random_state": 0}


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one.coefs_, other.coefs_, strict=True))


# Weights of classes.


def test_class_weights_are_sample_weights_by_class():
    weight = np.array([1.0, 5.0, 0.5])
    by_class = MLPClassifier(**SMALL, class_weight={0: 1, 1: 5, 2: 0.5}).fit(X, LABELS)
    by_sample = MLPClassifier(**SMALL).fit(X, LABELS, sample_weight=weight[LABELS])
    assert same(by_class, by_sample)
    twice = MLPClassifier(**SMALL, class_weight={1: 5}).fit(X, LABELS, sample_weight=np.where(LABELS == 2, 0.5, 1))
    assert same(twice, by_sample)


def test_balanced_weights_help_the_rare_class():
    rows = np.concatenate([np.arange(50, 100), np.arange(100, 105)])
    plain, balanced = (
        MLPClassifier((4,), max_iter=60, random_state=0, class_weight=how).fit(X[rows], LABELS[rows])
        for how in (None, "balanced")
    )
    assert (balanced.predict(X[100:]) == 2).mean() > (plain.predict(X[100:]) == 2).mean()


def test_balanced_is_refused_where_not_all_is_seen():
    with pytest.raises(ValueError, match="compute_class_weight"):
        MLPClassifier(class_weight="balanced").partial_fit(X, LABELS, classes=[0, 1, 2])


# Activations, outputs, losses.


def cube(z):
    return z + 0.1 * z**3


def cube_slope(z):
    return 1 + 0.3 * z**2


def fourth(a, y):
    return (a - y) ** 4


def fourth_grad(a, y):
    return 4 * (a - y) ** 3


@pytest.mark.parametrize(
    "activation", ["gelu", ["tanh", "relu"], (cube, cube_slope), [(cube, cube_slope), "logistic"]]
)
def test_any_activation_for_each_layer(activation):
    model = MLPClassifier(**{**SMALL, "max_iter": 200}, activation=activation, learning_rate_init=0.01).fit(X, LABELS)
    assert model.score(X, LABELS) > 0.9
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(model.predict_proba(X), again.predict_proba(X))


def test_the_wrong_number_of_activations_is_refused():
    with pytest.raises(ValueError, match="3 activations for 2 hidden layers"):
        MLPClassifier((8, 5), ["tanh"] * 3).fit(X, LABELS)


def test_an_output_of_ones_own():
    amounts = (AMOUNTS - AMOUNTS.min()) / np.ptp(AMOUNTS)
    model = MLPRegressor(hidden_layer_sizes=(8,), output_activation="logistic", solver="lbfgs", random_state=0)
    out = model.fit(X, amounts).predict(3 * X)
    assert model.out_activation_ == "logistic"
    assert 0 <= out.min() <= out.max() <= 1
    each = MLPClassifier(**SMALL, output_activation="logistic").fit(X, LABELS)
    assert each.predict_proba(X).sum(axis=1).std() > 1e-3  # three probabilities, not one distribution


@pytest.mark.parametrize("loss", ["absolute_error", "huber", "log_cosh", (fourth, fourth_grad)])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_losses_of_ones_own(loss, solver):
    y = np.column_stack([AMOUNTS, -2 * AMOUNTS])
    model = MLPRegressor(loss, (16,), solver=solver, max_iter=400, random_state=0, learning_rate_init=0.01)
    before = copy.deepcopy(model.set_params(max_iter=1)).fit(X, y)
    model.set_params(max_iter=400).fit(X, y)
    d = model.predict(X) - y
    value = {
        "absolute_error": np.abs(d), "huber": np.where(np.abs(d) <= 1, d**2 / 2, np.abs(d) - 0.5),
        "log_cosh": np.log(np.cosh(d)),
    }.get(loss if isinstance(loss, str) else "", d**4).mean()  # fmt: skip
    penalty = model.alpha / 2 * sum((w**2).sum() for w in model.coefs_) / len(X)
    if solver == "lbfgs":
        assert model.loss_ == pytest.approx(value + penalty, rel=1e-6)
    assert value < before.loss_ / 3


# Solvers.


@pytest.mark.parametrize(
    "solver", ["momentum", "nesterov", "rmsprop", "adamw", dr.RMSProp(0.003), dr.SGD(0.3), dr.Nesterov(0.01)], ids=str
)
def test_every_optimiser_is_a_solver(solver):
    model = MLPClassifier((16,), solver=solver, learning_rate_init=0.01, max_iter=150, random_state=0, batch_size=16)
    assert model.fit(X, LABELS).score(X, LABELS) > 0.93
    assert MLPClassifier(solver=solver).fit(X, LABELS).get_params()["solver"] is solver


def test_an_optimiser_object_is_not_shared_between_fits():
    optimizer = dr.Nesterov(0.01)
    one, other = (MLPClassifier(**SMALL, solver=optimizer).fit(X, LABELS) for _ in range(2))
    assert same(one, other)


def test_a_warm_start_may_keep_the_optimiser():
    options = {**SMALL, "shuffle": False, "tol": 0}
    whole = MLPClassifier(**options).fit(X, LABELS)
    kept = MLPClassifier(**{**options, "max_iter": 10}, warm_start=True, keep_optimizer=True)
    lost = MLPClassifier(**{**options, "max_iter": 10}, warm_start=True)
    for model in (kept, lost):
        model.fit(X, LABELS).fit(X, LABELS)
    assert same(kept, whole)
    assert not same(lost, whole)


def test_early_stopping_may_be_switched_between_warm_starts():
    model = MLPClassifier(**{**SMALL, "max_iter": 3}, warm_start=True).fit(X, LABELS)
    model.set_params(early_stopping=True).fit(X, LABELS)
    assert len(model.validation_scores_) == 3
    model.set_params(early_stopping=False).fit(X, LABELS)
    assert len(model.loss_curve_) == 9
    assert model.best_loss_ == min(model.loss_curve_[6:])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"output_activation": "relu"}, "loss='log_loss' and output_activation='relu', .*needs outputs"),
        ({"loss": ("a", "b")}, "unknown cost"),
        ({"dropout": [0.1, 0.2]}, "one for each of the 1 hidden layers"),
        ({"rule": "nonsense"}, "unknown rule"),
        ({"solver": dr.SGD}, "instance of 'deltarule.optimizers.Optimizer'"),
        ({"class_weight": {7: 1}}, "not in class_weight"),
        ({"scoring": "nonsense", "early_stopping": True}, "not a valid scoring value"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_with_the_way_out(options, words):
    with pytest.raises(ValueError, match=words):
        MLPClassifier((4,), **options).fit(X, LABELS)


def test_dropout_is_drawn_from_the_seed_and_absent_from_predictions():
    options = {**SMALL, "max_iter": 5}
    one, other = (MLPClassifier(**options, dropout=[0.5, 0.2]).fit(X, LABELS) for _ in range(2))
    plain = MLPClassifier(**options).fit(X, LABELS)
    assert same(one, other)
    assert not same(one, plain)
    assert np.array_equal(one.predict_proba(X), one.predict_proba(X))
    with pytest.raises(ValueError, match="dropout"):
        MLPClassifier(solver="lbfgs", dropout=0.5).fit(X, LABELS)


def test_a_rule_in_the_place_of_the_transpose():
    model = MLPClassifier((30, 30), "tanh", rule="random", max_iter=200, learning_rate_init=0.01, random_state=0)
    model.fit(X, LABELS)
    assert model.score(X, LABELS) > 0.9
    assert not same(model, MLPClassifier(**{**model.get_params(), "rule": "transpose"}).fit(X, LABELS))


# Validation.


def test_a_validation_set_of_ones_own():
    model = MLPClassifier(**SMALL).fit(X[::2], LABELS[::2], validation=(X[1::2], LABELS[1::2]))
    alone = MLPClassifier(**SMALL).fit(X[::2], LABELS[::2])
    assert same(model, alone)  # looked at, nothing else
    assert model.validation_scores_[-1] == model.score(X[1::2], LABELS[1::2])
    p = model.predict_proba(X[1::2])[np.arange(75), LABELS[1::2]]
    assert model.validation_loss_curve_[-1] == pytest.approx(-np.log(p).mean())
    assert len(model.validation_loss_curve_) == model.n_iter_
    weight = np.arange(75.0)
    weighed = MLPClassifier(**SMALL).fit(X[::2], LABELS[::2], validation=(X[1::2], LABELS[1::2], weight))
    assert weighed.validation_loss_curve_[-1] == pytest.approx(-np.average(np.log(p), weights=weight))


def test_early_stopping_by_ones_own_set_takes_the_best_weights():
    model = MLPRegressor(hidden_layer_sizes=(20,), early_stopping=True, max_iter=300, learning_rate_init=0.05,
                         random_state=1, n_iter_no_change=5)  # fmt: skip
    model.fit(X[::2], AMOUNTS[::2], validation=(X[1::2], AMOUNTS[1::2]))
    assert model.n_iter_ < 300
    assert model.stopped_
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert model.score(X[1::2], AMOUNTS[1::2]) == pytest.approx(model.best_validation_score_)


def test_scoring_decides_instead_of_the_accuracy():
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = MLPClassifier(**SMALL, early_stopping=True, scoring="neg_log_loss").fit(frame, LABELS)
    assert all(score < 0 for score in model.validation_scores_)
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert model.validation_scores_ == pytest.approx([-loss for loss in model.validation_loss_curve_])


def test_partial_fit_stops_early_with_something_to_judge_by():
    model = MLPClassifier((20,), early_stopping=True, n_iter_no_change=3, learning_rate_init=0.05, random_state=0)
    rows = np.random.default_rng(0).permutation(150)
    calls = 0
    while calls < 200 and not (calls and model.stopped_):
        model.partial_fit(X[rows[:100]], LABELS[rows[:100]], classes=[0, 1, 2],
                          validation=(X[rows[100:]], LABELS[rows[100:]]))  # fmt: skip
        calls += 1
    assert model.stopped_
    assert calls == len(model.validation_scores_) < 200
    assert model.score(X[rows[100:]], LABELS[rows[100:]]) == model.best_validation_score_
    before = copy.deepcopy(model)
    model.partial_fit(X, LABELS, validation=(X, LABELS))
    assert same(model, before)


@pytest.mark.parametrize(
    ("validation", "words"),
    [
        (X, "expected a pair"),
        ((X[:, :2], LABELS), "4 features"),
        ((X, LABELS[:3]), "inconsistent numbers of samples"),
        ((X, LABELS + 7), "that were not fitted"),
        ((X * np.nan, LABELS), "NaN"),
    ],
)
def test_a_validation_set_that_cannot_be_is_refused(validation, words):
    with pytest.raises(ValueError, match=words):
        MLPClassifier().fit(X, LABELS, validation=validation)


def test_lbfgs_has_no_epochs_to_judge():
    with pytest.raises(ValueError, match="stochastic"):
        MLPClassifier(solver="lbfgs").fit(X, LABELS, validation=(X, LABELS))


# What the network says.


def test_deltas_are_the_references():
    model = MLPClassifier(**SMALL, activation="tanh").fit(X, LABELS)
    deltas = model.deltas(X, LABELS)
    W, b, sigma = as_lists(model.network_)
    right = reference.backprop(W, b, sigma, model.network_.cost, X, np.eye(3)[LABELS])
    assert [delta.shape for delta in deltas] == [(150, 8), (150, 5), (150, 3)]
    for delta, true in zip(deltas, right.delta[1:], strict=True):
        assert relative(delta, true) < 1e-9
    flow = model.flow(X, LABELS)
    assert flow.activations == ("tanh", "tanh", "softmax")
    assert dr.check(model.network_, X, np.eye(3)[LABELS]).ok


def test_the_hidden_activations():
    model = MLPClassifier(**SMALL).fit(X, LABELS)
    first = np.maximum(X @ model.coefs_[0] + model.intercepts_[0], 0)
    second = np.maximum(first @ model.coefs_[1] + model.intercepts_[1], 0)
    assert np.allclose(model.transform(X, layer=1), first)
    assert np.allclose(model.transform(X), second)
    assert np.array_equal(model.transform(X, layer=-2), model.transform(X, layer=1))
    for layer in (0, 3, -3):
        with pytest.raises(IndexError, match="hidden layer"):
            model.transform(X, layer=layer)
    with pytest.raises(ValueError, match=r"number of a hidden layer, 1\.\.2"):
        model.transform(X, layer="first")
    frame = model.set_output(transform="pandas").transform(X)
    assert list(frame.columns) == [f"mlpclassifier{i}" for i in range(5)]
    features = make_pipeline(MLPClassifier(**SMALL, learning_rate_init=0.05), LogisticRegression())
    assert features.fit(X, LABELS).score(X, LABELS) > 0.9


# In scikit-learn's company.


def test_in_pipelines_searches_calibration_and_stacks():
    pipe = make_pipeline(StandardScaler(), MLPClassifier(**SMALL, learning_rate_init=0.05))
    search = GridSearchCV(pipe, {"mlpclassifier__alpha": [1e-4, 1.0]}, cv=3).fit(X, LABELS)
    assert search.best_score_ > 0.9
    assert CalibratedClassifierCV(MLPClassifier(**SMALL), cv=3).fit(X, LABELS).predict_proba(X).shape == (150, 3)
    stack = StackingClassifier([("net", MLPClassifier(**SMALL)), ("line", LogisticRegression())], cv=3)
    assert stack.fit(X, LABELS).score(X, LABELS) > 0.9


def test_metadata_is_routed():
    import sklearn

    with sklearn.config_context(enable_metadata_routing=True):
        model = MLPClassifier(**SMALL).set_fit_request(sample_weight=True, validation=True)
        weight = np.linspace(0.1, 2, 150)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipe = make_pipeline(scaler, model).fit(X, LABELS, sample_weight=weight, validation=(X, LABELS))
    assert len(pipe[-1].validation_loss_curve_) == 20


def test_threads_of_joblib_give_the_same_as_one():
    one, two = (
        GridSearchCV(MLPClassifier(**SMALL), {"alpha": [1e-4, 1e-2, 1.0]}, cv=2, n_jobs=n).fit(X, LABELS)
        for n in (1, 2)
    )
    assert np.array_equal(one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"])


def test_copies_and_pickles_have_memory_of_their_own():
    model = MLPClassifier(**SMALL).fit(X, LABELS)
    for other in (copy.deepcopy(model), copy.copy(model), pickle.loads(pickle.dumps(model))):
        assert same(model, other)
        other.partial_fit(X, LABELS)
        assert not same(model, other)
        assert np.shares_memory(other.coefs_[0], other.network_.theta)


class Recorder:
    """A callback by scikit-learn's protocol: it stops the training after five epochs."""

    def __init__(self):
        self.seen = []

    def setup(self, estimator, context):
        self.seen.append("setup")

    def teardown(self, estimator, context):
        self.seen.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        if context.task_name != "epoch":
            return False
        self.seen.append((len(estimator.loss_curve_), fitted_estimator.predict_proba(X)))
        return len(self.seen) == 6


def test_callbacks_by_scikit_learns_protocol():
    recorder = Recorder()
    model = MLPClassifier(**SMALL).set_callbacks(recorder).fit(X, LABELS)
    epochs = recorder.seen[1:-1]
    assert (recorder.seen[0], recorder.seen[-1]) == ("setup", "teardown")
    assert [n for n, _ in epochs] == [1, 2, 3, 4, 5]
    assert model.n_iter_ == 5
    assert np.array_equal(epochs[-1][1], model.predict_proba(X))
    assert not np.array_equal(epochs[0][1], epochs[1][1])  # each is a copy of its moment
    with pytest.raises(TypeError, match="FitCallback"):
        model.set_callbacks(print)


class Interrupt(Recorder):
    """Ctrl-C at the end of the third epoch."""

    def on_fit_task_end(self, estimator, context):
        if context.task_name == "epoch" and len(estimator.loss_curve_) == 3:
            raise KeyboardInterrupt


def test_ctrl_c_ends_the_training_and_keeps_what_it_has_learned():
    three = MLPClassifier(**{**SMALL, "max_iter": 3}).fit(X, LABELS)
    with pytest.warns(UserWarning, match="interrupted by user"):
        model = MLPClassifier(**SMALL).set_callbacks(Interrupt()).fit(X, LABELS)
    assert same(model, three)
    assert model.n_iter_ == 3


def test_a_ctrl_c_in_the_middle_puts_the_drawn_epochs_back():
    from deltarule.sklearn.descent import Descent

    class Interrupted(Descent):
        def _go(self, steps, course, count):
            steps(2 * -(-self.N // self.rows))  # two epochs of those that were drawn
            raise KeyboardInterrupt

    import deltarule.sklearn.perceptron as perceptron

    two, generators = [], [np.random.RandomState(0) for _ in range(2)]
    for generator, kind, epochs in zip(generators, (Descent, Interrupted), (2, 20), strict=True):
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            patch.setattr(perceptron, "Descent", kind)
            options = {**SMALL, "max_iter": epochs, "random_state": generator}
            two.append(MLPClassifier(**options).fit(X, LABELS))
    assert same(*two)
    assert two[1].n_iter_ == 2
    assert generators[0].randint(2**31) == generators[1].randint(2**31)


def test_labels_of_several_kinds_at_once_with_weights():
    many, Y = make_multilabel_classification(n_samples=60, random_state=0)
    weights = [{0: 1, 1: 3}] * Y.shape[1]
    model = MLPClassifier(**SMALL, class_weight=weights).fit(many, Y)
    assert model.predict(many).shape == Y.shape


def test_a_network_without_hidden_layers_is_a_linear_model():
    model = MLPRegressor(hidden_layer_sizes=(), solver="lbfgs", alpha=0, max_iter=500, tol=1e-9).fit(X, AMOUNTS)
    W, *_ = np.linalg.lstsq(np.column_stack([X, np.ones(150)]), AMOUNTS, rcond=None)
    assert np.allclose(model.coefs_[0][:, 0], W[:-1], atol=1e-4)
