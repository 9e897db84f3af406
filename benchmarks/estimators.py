"""Our MLPClassifier and MLPRegressor beside scikit-learn's: the same weights, the same scores, and the time.

Usage: python benchmarks/estimators.py [--short] [--threads N]

On each data set both sides train for five epochs from the same seed and must reach the same weights (1e-8). Then
both are fitted and timed in turn for ten seeds, in two settings: a small network (16 hidden neurons, batches of 16)
and scikit-learn's own defaults (100 hidden neurons, batches of up to 200). The scores on a quarter of the data, held
out, must agree on average within the noise of the seeds. Last, a grid search in one thread and in two.

`--short` takes one seed and few epochs: it shows that all of it runs and agrees, and its times mean nothing.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
import sklearn.neural_network
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.preprocessing import scale
from threadpoolctl import threadpool_limits

import deltarule.sklearn
from deltarule.cores import cores
from deltarule.records import text_table

SETTINGS: dict[str, dict[str, Any]] = {
    "16, batch 16": {"hidden_layer_sizes": (16,), "batch_size": 16},
    "defaults": {},
}

Data = tuple[np.ndarray, np.ndarray]

SETS: dict[str, tuple[str, Callable[[], Data]]] = {
    "iris": ("MLPClassifier", lambda: datasets.load_iris(return_X_y=True)),
    "wine": ("MLPClassifier", lambda: datasets.load_wine(return_X_y=True)),
    "breast cancer": ("MLPClassifier", lambda: datasets.load_breast_cancer(return_X_y=True)),
    "digits": ("MLPClassifier", lambda: datasets.load_digits(return_X_y=True)),
    "diabetes": ("MLPRegressor", lambda: datasets.load_diabetes(return_X_y=True)),
    "moons": ("MLPClassifier", lambda: datasets.make_moons(500, noise=0.25, random_state=0)),
    "circles": ("MLPClassifier", lambda: datasets.make_circles(500, noise=0.1, factor=0.6, random_state=0)),
    "ten classes": ("MLPClassifier", lambda: datasets.make_classification(
        1000, 20, n_informative=10, n_classes=10, random_state=0)),
    "friedman": ("MLPRegressor", lambda: datasets.make_friedman1(1000, noise=0.5, random_state=0)),
    "linear": ("MLPRegressor", lambda: datasets.make_regression(500, 10, noise=10.0, random_state=0)),
}  # fmt: skip


def drawn(kind: str, load: Callable[[], Data]) -> list[np.ndarray]:
    """(train X, test X, train y, test y), scaled."""
    X, y = load()
    y = scale(y.astype(float)) if kind == "MLPRegressor" else y
    return train_test_split(scale(X), y, random_state=0)


def require_agreement(name: str, kind: str, X: np.ndarray, y: np.ndarray, setting: dict[str, Any]) -> float:
    """Train both for five epochs; the largest difference of a weight."""
    sides = [
        getattr(module, kind)(**setting, max_iter=5, random_state=0).fit(X, y)
        for module in (sklearn.neural_network, deltarule.sklearn)
    ]
    off = max(float(np.abs(w - v).max()) for w, v in zip(sides[0].coefs_, sides[1].coefs_, strict=True))
    if not off < 1e-8:
        raise SystemExit(f"{name}: the two sides do not reach the same weights (difference {off:.1e})")
    return off


def measured(kind: str, parts: list[np.ndarray], setting: dict[str, Any], seeds: int, epochs: int) -> Any:
    """(seconds, scores) of scikit-learn's side and of ours, a number for each seed."""
    X, X_test, y, y_test = parts
    seconds, scores = ([[], []] for _ in range(2))
    for seed in range(seeds):
        for side, module in enumerate((sklearn.neural_network, deltarule.sklearn)):
            model = getattr(module, kind)(**setting, max_iter=epochs, random_state=seed)
            if seeds > 1:
                time.sleep(0.1)  # BLAS's threads of the side before spin on for a while before they sleep
            started = time.perf_counter()
            model.fit(X, y)
            seconds[side].append(time.perf_counter() - started)
            scores[side].append(model.score(X_test, y_test))
    return seconds, scores


def require_equal_scores(name: str, scores: list[list[float]]) -> None:
    """Refuse means that differ by more than twice what the seeds alone make them differ."""
    means = [statistics.mean(side) for side in scores]
    noise = np.sqrt(sum(np.var(side) for side in scores) / len(scores[0]))
    if abs(means[0] - means[1]) > max(2 * noise, 1e-6):
        raise SystemExit(f"{name}: scores {means[0]:.4f} and {means[1]:.4f} differ by more than the seeds do")


def search_seconds(threads: int, epochs: int) -> float:
    """A grid search of ours over six settings and four folds, in so many threads of one process."""
    X, y = datasets.load_digits(return_X_y=True)
    grid = {"alpha": [1e-4, 1e-3, 1e-2], "hidden_layer_sizes": [(30,), (40,)]}
    model = deltarule.sklearn.MLPClassifier(max_iter=epochs, random_state=0, batch_size=32, threads=1)
    search = GridSearchCV(model, grid, cv=4, refit=False)
    started = time.perf_counter()
    with joblib.parallel_config("threading", n_jobs=threads):
        search.fit(X / 16, y)
    return time.perf_counter() - started


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="few epochs: shows that it runs, not how fast")
    parser.add_argument(
        "--threads", type=int, default=cores(), help="the same on both sides; all cores, if not given"
    )
    given = parser.parse_args()
    seeds, epochs = (2, 5) if given.short else (10, 60)
    warnings.simplefilter("ignore", ConvergenceWarning)
    rows, ratios = [], {name: [] for name in SETTINGS}
    with threadpool_limits(given.threads):
        for name, (kind, load) in SETS.items():
            parts = drawn(kind, load)
            row = [name]
            for setting, options in SETTINGS.items():
                require_agreement(name, kind, parts[0], parts[2], options)
                seconds, scores = measured(kind, parts, options, seeds, epochs)
                require_equal_scores(name, scores)
                theirs, mine = (1e3 * statistics.median(side) for side in seconds)
                ratios[setting].append(theirs / mine)
                row += [f"{statistics.mean(scores[0]):.3f} {statistics.mean(scores[1]):.3f}",
                        f"{theirs:.1f}", f"{mine:.1f}", f"{theirs / mine:.1f}x"]  # fmt: skip
            rows.append(row)
            print(f"{name} done", file=sys.stderr)
    rows.append(
        [
            "median",
            *(cell for values in ratios.values() for cell in ("", "", "", f"{statistics.median(values):.1f}x")),
        ]
    )
    head = ["data", *(cell for name in SETTINGS for cell in (name, "scikit-learn ms", "deltarule ms", "ratio"))]
    print(f"float64, Adam, {epochs} epochs, {given.threads} thread(s), medians of {seeds} seeds; scores: theirs, ours"
          f"{'; too short to mean anything' if given.short else ''}")  # fmt: skip
    print(text_table(head, rows))
    one, two = (search_seconds(threads, 2 if given.short else 100) for threads in (1, 2))
    print(f"grid search of 24 trainings: {one:.2f} s in one thread, {two:.2f} s in two ({one / two:.2f}x)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
