"""Tables with words and holes, through deltarule and through scikit-learn's own way: how good each is on unseen rows.

Usage: python benchmarks/tables.py [--seeds 10]

scikit-learn's wines, tumours and diabetes patients are written to CSV with a tenth of the values of some columns gone
and some numbers made words. For each seed both sides learn from the same rows and are judged on the same others;
deltarule as `deltarule train --missing mean` does it, scikit-learn with SimpleImputer, StandardScaler, OneHotEncoder
and an MLP of the same width, optimiser, batch and patience, and with a linear model for comparison. First the two
sides' inputs are compared: the same columns, words coded alike, numbers alike but for their scale.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import TransformedTargetRegressor, make_column_selector, make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import deltarule as dr
from deltarule.division import Division
from deltarule.records import text_table
from deltarule.settings import TABLE

WIDTH, EPOCHS, BATCH, ETA, PATIENCE = (
    TABLE["hidden"][0],
    TABLE["epochs"],
    TABLE["batch"],
    TABLE["eta"],
    TABLE["patience"],
)


def with_holes(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """A tenth of the values of some columns gone."""
    draw = np.random.default_rng(0)
    for name in columns:
        frame.loc[draw.random(len(frame)) < 0.1, name] = None
    return frame


def sets() -> dict[str, pd.DataFrame]:
    """The tables; each one's target is named target."""
    wine, cancer = load_wine(as_frame=True).frame, load_breast_cancer(as_frame=True).frame
    patients = load_diabetes(as_frame=True, scaled=False).frame
    wine["target"] = wine["target"].map({0: "Barolo", 1: "Grignolino", 2: "Barbera"})
    wine["hue"] = pd.cut(wine["hue"], 4, labels=["pale", "rosy", "red", "deep"]).astype(object)
    cancer["target"] = cancer["target"].map({0: "malignant", 1: "benign"})
    patients["sex"] = patients["sex"].map({1: "m", 2: "f"}).astype(object)
    return {
        "wine": with_holes(wine, ["hue", "proline", "malic_acid"]),
        "cancer": with_holes(cancer, ["mean radius", "worst area", "worst texture"]),
        "diabetes": with_holes(patients, ["sex", "bmi", "bp"]),
    }


def by_deltarule(path: Path, seed: int) -> tuple[float, dr.Recipe]:
    """The score on the rows set aside, and the recipe."""
    with dr.prepare(path, "target", missing="mean", seed=seed, progress=False) as table:
        recipe = table.recipe
        output, cost = ("softmax", "log_likelihood") if recipe.is_classification else ("identity", "quadratic")
        net = dr.Network([len(recipe.inputs), WIDTH, recipe.n_out], "relu", output, cost, seed=seed)
        net.fit(
            *table.train, epochs=EPOCHS, batch_size=BATCH, optimizer=dr.Adam(ETA), validation=table.validation,
            early_stopping=dr.EarlyStopping(PATIENCE), progress=False,
        )  # fmt: skip
        return net.score(*table.test), recipe


def before():
    """scikit-learn's way from the columns to the inputs."""
    return make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), make_column_selector(dtype_include=np.number)),
        (make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()),
         make_column_selector(dtype_exclude=np.number)),
        sparse_threshold=0,
    )  # fmt: skip


def by_scikit_learn(frame: pd.DataFrame, parts: np.ndarray, seed: int, classes: bool) -> tuple[float, float]:
    """The scores of its MLP and of a linear model on the rows set aside."""
    x, y = frame.drop(columns="target"), frame["target"]
    mlp = (MLPClassifier if classes else MLPRegressor)(
        hidden_layer_sizes=(WIDTH,), learning_rate_init=ETA, batch_size=BATCH, max_iter=EPOCHS, early_stopping=True,
        n_iter_no_change=PATIENCE, validation_fraction=0.15 / 0.85, random_state=seed,
    )  # fmt: skip
    scores = []
    for model in (mlp, LogisticRegression(max_iter=1000) if classes else Ridge()):
        whole = model if classes else TransformedTargetRegressor(model, transformer=StandardScaler())
        fitted = make_pipeline(before(), whole).fit(x[parts != 2], y[parts != 2])
        scores.append(fitted.score(x[parts == 2], y[parts == 2]))
    return scores[0], scores[1]


def require_the_same_inputs(frame: pd.DataFrame, parts: np.ndarray, recipe: dr.Recipe) -> None:
    """Each of our inputs follows one of scikit-learn's, learned from the same rows, in a straight line."""
    x = frame.drop(columns="target")
    theirs = before().fit(x[parts == 0]).transform(x)
    ours = recipe.transform(x, dtype="float64")
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    nearest = np.abs(np.corrcoef(ours.T, theirs.T)[: ours.shape[1], ours.shape[1] :]).max(axis=1)
    assert nearest.min() > 1 - 1e-9, dict(zip(recipe.inputs, nearest, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    seeds = parser.parse_args().seeds
    warnings.simplefilter("ignore")  # scikit-learn's, of trainings that were not over after all epochs
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, frame in sets().items():
            path = Path(folder) / f"{name}.csv"
            frame.to_csv(path, index=False)
            frame, scores = pd.read_csv(path), []
            for seed in range(seeds):
                parts = Division(0.15, 0.15, seed).of(len(frame))
                own, recipe = by_deltarule(path, seed)
                require_the_same_inputs(frame, parts, recipe)
                scores.append((own, *by_scikit_learn(frame, parts, seed, recipe.is_classification)))
            means = np.mean(scores, axis=0)
            against = np.subtract(*np.transpose(scores)[:2])
            error = against.std(ddof=1) / np.sqrt(seeds) if seeds > 1 else float("nan")
            what = "accuracy" if recipe.is_classification else "R^2"
            rows.append([name, what, *(f"{mean:.3f}" for mean in means), f"{against.mean():+.3f} +- {error:.3f}"])
    print(text_table(["table", "score", "deltarule", "scikit-learn", "linear", "difference, standard error"], rows))


if __name__ == "__main__":
    main()
