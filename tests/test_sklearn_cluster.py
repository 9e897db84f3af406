"""Many trainings over a cluster: joblib's backends, with real worker processes."""

from __future__ import annotations

import os

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV

from deltarule.sklearn import MLPClassifier

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("default:::distributed"),
]


class Seen(MLPClassifier):
    """It remembers the process that it was trained in."""

    def fit(self, X, y, sample_weight=None, *, validation=None):
        self.process_ = os.getpid()
        return super().fit(X, y, sample_weight, validation=validation)


def trained_in(seed, X, y):
    """One training, for a worker: its process and its weights."""
    model = Seen((5,), max_iter=20, random_state=seed).fit(X, y)
    return model.process_, model.coefs_[0]


def search(X, y):
    grid = {"alpha": [1e-4, 1e-2, 1.0], "hidden_layer_sizes": [(5,), (8,)]}
    return GridSearchCV(MLPClassifier(max_iter=20, random_state=0), grid, cv=2).fit(X, y)


def test_a_dask_cluster_of_two_processes_trains_many_at_once():
    distributed = pytest.importorskip("distributed")
    X, y = load_iris(return_X_y=True)
    alone = search(X, y)
    here = [trained_in(seed, X, y) for seed in range(8)]
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        workers = set(client.run(os.getpid).values())
        with joblib.parallel_config("dask"):
            there = joblib.Parallel()(joblib.delayed(trained_in)(seed, X, y) for seed in range(8))
            together = search(X, y)
    assert len(workers) == 2
    assert {process for process, _ in there} == workers  # both have worked, and nobody else
    assert os.getpid() not in workers
    for (_, mine), (_, theirs) in zip(here, there, strict=True):
        assert np.array_equal(mine, theirs)
    assert np.array_equal(alone.cv_results_["mean_test_score"], together.cv_results_["mean_test_score"])
    assert alone.best_params_ == together.best_params_


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_joblibs_own_processes_and_threads(backend):
    X, y = load_iris(return_X_y=True)
    here = [trained_in(seed, X, y)[1] for seed in range(4)]
    with joblib.parallel_config(backend, n_jobs=2):
        there = joblib.Parallel()(joblib.delayed(trained_in)(seed, X, y) for seed in range(4))
    assert all(np.array_equal(mine, theirs[1]) for mine, theirs in zip(here, there, strict=True))
    elsewhere = {process for process, _ in there} - {os.getpid()}
    assert bool(elsewhere) == (backend == "loky")
