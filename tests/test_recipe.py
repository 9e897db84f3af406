"""The recipe: what it learns of each column, what it makes of rows, what it refuses and how it says so."""

from __future__ import annotations

import json
import random

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import deltarule as dr
from deltarule import tables
from deltarule.errors import BadFile, BadInput
from deltarule.recipe import Recipe


def people(rows=200, holes=0.0, seed=0):
    """A table with numbers, words, truth values and a target of two words."""
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": draw.integers(18, 90, rows).astype(float),
            "city": draw.choice(["Rome", "Oslo", "Bern"], rows),
            "income": np.exp(draw.normal(10, 1, rows)),
            "owner": draw.random(rows) < 0.4,
        }
    ).astype({"city": object, "owner": object})
    for name in frame:
        frame.loc[draw.random(rows) < holes, name] = None
    frame["buys"] = draw.choice(["yes", "no"], rows)
    return frame


def oracle(frame, numbers=("age", "income"), words=("city",), truths=("owner",), strategy="mean"):
    """scikit-learn's way from the same frame, in our order of columns by kind."""
    fill = {"strategy": strategy}
    most = {"strategy": "most_frequent"}
    text = frame.assign(**{name: frame[name].map({True: "true", False: "false"}) for name in truths})
    steps = make_column_transformer(
        (make_pipeline(SimpleImputer(**fill), StandardScaler()), list(numbers)),
        (make_pipeline(SimpleImputer(**most), OneHotEncoder()), list(words)),
        (make_pipeline(SimpleImputer(**most), OneHotEncoder(drop="if_binary")), list(truths)),
        sparse_threshold=0,
    )
    return steps.fit_transform(text.replace({None: np.nan}))


def ours(frame, order=("age", "income", "city", "owner"), **options):
    recipe = Recipe.fit(frame, "buys", **options)
    x = recipe.transform(frame, dtype="float64")
    names = recipe.inputs
    by = [i for name in order for i, given in enumerate(names) if given.split("=")[0] == name]
    return x[:, by]


def test_numbers_words_and_truth_values_become_what_scikit_learn_makes_of_them():
    frame = people()
    np.testing.assert_allclose(ours(frame), oracle(frame), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("missing", ["mean", "median"])
def test_missing_values_are_filled_in_as_scikit_learn_fills_them_in(missing):
    frame = people(holes=0.1)
    recipe = Recipe.fit(frame, "buys", missing=missing)
    # Filled values do not enter our mean and deviation; undo both scales before the two are compared.
    filled = SimpleImputer(strategy=missing).fit(frame[["age", "income"]])
    x = recipe.transform(frame, dtype="float64")
    for i, (name, value) in enumerate(zip(["age", "income"], filled.statistics_, strict=True)):
        column = next(column for column in recipe.columns if column.name == name)
        assert column.fill == pytest.approx(value, rel=1e-12)
        here = recipe.inputs.index(name)
        np.testing.assert_allclose(
            column.decode(x[:, here]), filled.transform(frame[["age", "income"]])[:, i], rtol=1e-9
        )
    words = [i for i, name in enumerate(recipe.inputs) if name.startswith(("city", "owner"))]
    np.testing.assert_array_equal(x[:, words], oracle(frame, strategy=missing)[:, 2:])


def test_an_indicator_says_what_was_missing():
    frame = people(holes=0.1)
    recipe = Recipe.fit(frame, "buys", missing="indicator")
    x = recipe.transform(frame)
    said = x[:, [i for i, name in enumerate(recipe.inputs) if name.endswith(" missing")]]
    features = frame.drop(columns="buys")
    true = MissingIndicator(missing_values=np.nan).fit_transform(
        features.astype(object).where(features.notna(), np.nan)
    )
    np.testing.assert_array_equal(said, true)
    city = [i for i, name in enumerate(recipe.inputs) if name.startswith("city=")]
    np.testing.assert_array_equal(x[:, city].sum(axis=1), frame["city"].notna())  # missing is no word at all


def test_drop_leaves_out_rows_with_a_gap_and_learns_from_the_others_alone():
    frame = people(holes=0.1)
    whole = frame.dropna()
    recipe = Recipe.fit(frame, "buys", missing="drop")
    alone = Recipe.fit(whole, "buys")
    assert recipe.columns == alone.columns
    assert recipe.notes == (f"{len(frame) - len(whole)} rows with a missing value are left out",)
    x, y = recipe.samples(frame)
    np.testing.assert_array_equal(x, alone.transform(whole))
    np.testing.assert_array_equal(np.array(recipe.classes)[y], whole["buys"])
    with pytest.raises(BadInput, match=r"is missing, and the recipe was learned with --missing drop"):
        recipe.transform(frame)  # whose rows would not be those of the frame


@pytest.mark.parametrize("missing", ["error", "mean"])
def test_a_batch_at_a_time_is_the_whole_at_once(monkeypatch, missing, tmp_path):
    frame = people(1000, holes=0.05 * (missing == "mean"))
    whole = Recipe.fit(frame, "buys", missing=missing)
    x = whole.transform(frame, dtype="float64")
    monkeypatch.setattr(tables, "VALUES_AT_ONCE", 1)
    monkeypatch.setattr(tables, "BLOCK_BYTES", 500)
    frame.to_csv(tmp_path / "t.csv", index=False)
    for source in (frame, tmp_path / "t.csv"):
        parts = Recipe.fit(source, "buys", missing=missing)
        assert parts.inputs == whole.inputs
        np.testing.assert_allclose(parts.transform(source, dtype="float64"), x, rtol=1e-9, atol=1e-12)


def test_reordered_and_extra_columns_make_no_difference_and_a_missing_one_is_named():
    frame = people()
    recipe = Recipe.fit(frame, "buys")
    x = recipe.transform(frame)
    names = [*frame, "extra"]
    random.Random(0).shuffle(names)
    np.testing.assert_array_equal(recipe.transform(frame.assign(extra="?")[names]), x)
    np.testing.assert_array_equal(recipe.transform(frame.drop(columns="buys")), x)  # the target may be absent
    with pytest.raises(BadInput, match=r"unknown column 'income'. Did you mean 'incomes'"):
        recipe.transform(frame.rename(columns={"income": "incomes"}))


def test_the_order_of_the_rows_does_not_change_the_order_of_words_and_classes():
    frame = people()
    one, other = (Recipe.fit(some, "buys") for some in (frame, frame[::-1]))
    assert one.inputs == other.inputs == ("age", "city=Bern", "city=Oslo", "city=Rome", "income", "owner")
    assert one.classes == other.classes == ("no", "yes")


def test_a_recipe_goes_through_json_and_back():
    for options in ({"missing": "mean"}, {"missing": "median"}, {"missing": "indicator"}, {"missing": "drop"}):
        frame = people(holes=0.1)
        recipe = Recipe.fit(frame, "buys", **options)
        again = Recipe.from_dict(json.loads(json.dumps(recipe.to_dict())))
        assert again == recipe
        x, y = recipe.samples(frame)
        np.testing.assert_array_equal(again.samples(frame).x, x)
        np.testing.assert_array_equal(again.samples(frame).y, y)


@pytest.mark.parametrize(
    "damage",
    [
        {"columns": [{"schema": "deltarule.column", "version": 1, "name": "a", "kind": "number", "words": [],
                      "mean": "0", "std": 1.0, "fill": None, "indicator": False}]},
        {"columns": [{"schema": "deltarule.column", "version": 1, "name": "a", "kind": "colour", "words": [],
                      "mean": 0.0, "std": 1.0, "fill": None, "indicator": False}]},
        {"columns": 3}, {"columns": []}, {"target": None}, {"missing": "perhaps"}, {"classes": [1.5]}, {"version": 9},
    ],
)  # fmt: skip
def test_a_damaged_recipe_is_refused(damage):
    kept = Recipe.fit(people(), "buys").to_dict()
    with pytest.raises(BadFile):
        Recipe.from_dict({**kept, **damage})


def test_the_target_is_decoded_to_words_integers_and_units():
    a = [[0.1, 0.9], [0.8, 0.2]]
    assert Recipe.fit(people(), "buys").decode(a).tolist() == ["yes", "no"]
    grades = pd.DataFrame({"a": np.arange(40.0), "grade": [3, 7] * 20})
    recipe = Recipe.fit(grades, "grade")
    assert recipe.decode(a).tolist() == [7, 3]
    assert "--task regression" in recipe.notes[0]
    price = pd.DataFrame({"a": np.arange(40.0), "price": np.linspace(100, 300, 40)})
    recipe = Recipe.fit(price, "price")
    y = recipe.samples(price).y
    assert (y.shape, y.dtype, y.mean(), y.std()) == (
        (40, 1),
        np.float32,
        pytest.approx(0, abs=1e-6),
        pytest.approx(1),
    )
    np.testing.assert_allclose(recipe.decode(y), price["price"], rtol=1e-6)
    with pytest.raises(BadInput, match=r"outputs have shape \(2, 2\); expected \(N, 1\)"):
        recipe.decode(a)


@pytest.mark.parametrize(
    ("target", "task", "classes"),
    [
        (["b", "a"] * 20, None, ("a", "b")),
        ([True, False] * 20, None, ("false", "true")),
        ([2, 10] * 20, None, (2, 10)),
        ([2.0, -1.0] * 20, None, (-1, 2)),
        ([0.5, 1.0] * 20, None, ()),
        (list(range(40)), None, ()),
        (list(range(10)) * 4, None, ()),  # fewer than five rows each
        ([2, 10] * 20, "regression", ()),
        ([0.5, 1.0] * 20, "classification", ("0.5", "1")),
        (["10", "9"] * 20, None, (9, 10)),
    ],
)
def test_classification_or_regression_goes_by_the_target_or_as_asked(target, task, classes):
    frame = pd.DataFrame({"a": np.arange(40.0), "y": target})
    assert Recipe.fit(frame, "y", task=task).classes == classes


def test_dates_become_days_when_asked(tmp_path):
    rows = "\n".join(f"2024-0{1 + i % 9}-11 12:00,{'ab'[i % 2]},{i}" for i in range(36))
    (tmp_path / "t.csv").write_text(f"day,y,n\n{rows}\n")
    recipe = Recipe.fit(tmp_path / "t.csv", "y", dates="number")
    day = recipe.columns[0]
    assert (day.name, day.kind) == ("day", "date")
    later = Recipe.fit(pd.DataFrame({"day": np.array(["2024-01-01", "2024-01-03"], "M8[s]"), "y": [0.5, 1.5]}), "y",
                       dates="number")  # fmt: skip
    assert later.columns[0].mean == (pd.Timestamp("2024-01-02") - pd.Timestamp("1970-01-01")).days
    frame = pd.DataFrame({"day": pd.to_datetime(["2024-05-11 12:00"]), "n": [3]})  # dates, where text was learned
    x = recipe.transform(frame, dtype="float64")[0, 0]
    assert day.decode(x) == pytest.approx(19_854.5)
    zone = pd.DataFrame({"day": ["2024-05-11T14:00:00+02:00"], "n": [3]})
    assert recipe.transform(zone, dtype="float64")[0, 0] == x


def test_numbers_as_words_are_the_same_from_text_integers_and_floats(tmp_path):
    (tmp_path / "t.csv").write_text(
        "zone,y\n" + "".join(f"{zone},{y}\n" for zone, y in [("07", "a"), ("10", "b")] * 9)
    )
    recipe = Recipe.fit(tmp_path / "t.csv", "y", category=["zone"])
    assert recipe.inputs == ("zone=7", "zone=10")
    for zones in ([7, 10], [7.0, 10.0], ["7", "10.0"]):
        np.testing.assert_array_equal(recipe.transform({"zone": zones}), np.eye(2))


def test_unseen_words_are_refused_with_the_nearest_or_are_none_of_those_known():
    recipe = Recipe.fit(people(), "buys")
    frame = people(4).assign(city=["Rome", "Berne", "Oslo", "Bern"])
    with pytest.raises(BadInput, match=r"column 'city', row 2, is 'Berne'.*Did you mean 'Bern'.*--unseen zeros"):
        recipe.transform(frame)
    x = recipe.transform(frame, unseen="zeros")[:, 1:4]
    np.testing.assert_array_equal(x, [[0, 0, 1], [0, 0, 0], [0, 1, 0], [1, 0, 0]])
    with pytest.raises(BadInput, match=r"unknown way with unseen words 'zero'. Did you mean 'zeros'"):
        recipe.transform(frame, unseen="zero")


def test_a_class_that_training_did_not_have_is_refused_even_where_unseen_words_are_not():
    recipe = Recipe.fit(people(), "buys")
    frame = people(3).assign(buys=["yes", "no", "maybe"])
    with pytest.raises(BadInput, match=r"column 'buys', row 3, is 'maybe', a word that training did not have"):
        recipe.samples(frame, unseen="zeros")


def test_what_says_nothing_is_left_out_and_told():
    frame = people().assign(one=1.0, same="x", none=None)
    recipe = Recipe.fit(frame, "buys", missing="mean")
    assert recipe.inputs == Recipe.fit(people(), "buys").inputs
    assert recipe.notes == ("left out: 'one' is 1 in every row, 'same' is x in every row, 'none' holds no value",)
    assert recipe.notes[0] in str(recipe)
    frame.loc[3, "same"] = None
    assert (
        "same missing" in Recipe.fit(frame, "buys", missing="indicator").inputs
    )  # that it is missing says something


def test_rows_without_a_target_are_left_out_where_missing_values_are_not_refused():
    frame = people()
    frame.loc[[3, 7], "buys"] = None
    recipe = Recipe.fit(frame, "buys", missing="mean")
    assert recipe.notes == ("2 rows without a target are left out",)
    assert sum(recipe.counts) == len(recipe.samples(frame).y) == 198
    with pytest.raises(BadInput, match="'buys' in 2 of 200 rows, first in row 4"):
        Recipe.fit(frame, "buys")


def rows(**columns):
    return {"y": ["a", "b"] * 25, "n": np.arange(50.0), **columns}


MANY = [f"word {i}" for i in range(50)]

BAD = {
    "missing values": (rows(n=[1.0, None, 3.0, *[4.0, None] * 23, 5.0]), {}, ["'n' in 24 of 50 rows, first in row 2",
                                                                              "--missing mean"]),
    "mixed": (rows(n=[*map(str, range(16)), "six", *map(str, range(33))]), {}, ["'n'", "row 17 is 'six'",
                                                                                "--category"]),
    "mixed, words first": (rows(n=["six", *map(str, range(49))]), {}, ["'n'", "row 2 is '0'", "'six'"]),
    "mixed dates": (rows(n=["2024-01-01", "soon"] * 25), {"dates": "number"}, ["row 2 is 'soon'", "'2024-01-01'"]),
    "infinite": (rows(n=[1.0, np.inf] * 25), {}, ["column 'n', row 2, is inf", "no finite number"]),
    "dates": (rows(n=["2024-01-01", "2024-01-02"] * 25), {}, ["'n' holds dates (2024-01-01)", "--dates number",
                                                               "--without 'n'"]),
    "too many words": (rows(n=MANY), {"most_words": 20}, ["'n' has more than 20 different words", "--most-words",
                                                           "--without 'n'"]),
    "a target of one class": (rows(y=["a"] * 50), {}, ["target 'y' has one class, 'a'"]),
    "a constant target": (rows(y=[0.5] * 50), {}, ["target 'y' is 0.5 in every row"]),
    "a target of whole numbers, all alike": (rows(y=[3] * 50), {}, ["one class, '3'"]),
    "a target with too many classes": (rows(y=MANY), {}, ["target 'y' has 50 classes in 50 rows"]),
    "a target of dates": (rows(y=["2024-01-01", "2024-01-02"] * 25), {"dates": "number"}, ["target 'y' holds dates"]),
    "a target of words as amounts": (rows(), {"task": "regression"}, ["target 'y' holds words ('a')"]),
    "a target without values": (rows(y=[None] * 50), {"missing": "mean"}, ["none of its 50 rows is left"]),
    "no row left": (rows(n=[None] * 50), {"missing": "drop"}, ["none of its 50 rows is left", "--without"]),
    "nothing but the target": ({"y": ["a", "b"]}, {}, ["no column but the target 'y'"]),
    "constant columns only": (rows(n=[1] * 50), {}, ["nothing to predict 'y' from: 'n' is 1 in every row"]),
    "an unknown target": ({"yy": ["a"], "n": [1]}, {}, ["unknown column 'y'. Did you mean 'yy'?"]),
    "an unknown column left out": (rows(), {"without": "m"}, ["unknown column 'm'"]),
    "the target left out": (rows(), {"without": ["y"]}, ["'y' is the target and is to be left out"]),
    "an unknown policy": (rows(), {"missing": "medain"}, ["Did you mean 'median'?"]),
    "an unknown task": (rows(), {"task": "regresion"}, ["Did you mean 'regression'?"]),
    "no words": (rows(), {"most_words": 0}, ["most_words is 0"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_table_that_cannot_be_learned_from_is_refused(case):
    source, options, parts = BAD[case]
    with pytest.raises(BadInput) as caught:
        Recipe.fit(source, "y", **options)
    for part in parts:
        assert part in str(caught.value)
    assert str(caught.value).count(". ") <= 2  # a sentence or two


def test_more_than_a_thousand_classes_are_refused():
    names = [f"class {i}" for i in range(1500)]
    with pytest.raises(BadInput, match="target 'y' has more than 1000 different words by row"):
        Recipe.fit({"n": np.arange(15_000.0), "y": names * 10}, "y")


LATER = {
    "a word for a number": ({"age": ["30", "old"]}, "column 'age', row 2, is 'old'; a number was expected"),
    "only words for numbers": ({"age": ["young", "old"]}, "column 'age', row 1, is 'young'; a number was expected"),
    "an infinite number": ({"age": [30.0, -np.inf]}, "column 'age', row 2, is -inf, which is no finite number"),
    "a missing number": ({"age": [30.0, None]}, "column 'age', row 2, is missing.*learned with --missing error"),
    "a missing word": ({"city": [None, "Rome"]}, "column 'city', row 1, is missing"),
    "no truth value": ({"owner": ["true", "perhaps"]}, "column 'owner', row 2, is 'perhaps'"),
    "a date for a number": ({"age": ["2024-01-01"] * 2}, "column 'age', row 1, is '2024-01-01'; a number"),
}


@pytest.mark.parametrize("case", LATER)
def test_a_later_table_that_does_not_fit_is_refused(case):
    change, named = LATER[case]
    frame = {name: people(2)[name].to_numpy() for name in people(2)}
    with pytest.raises(BadInput, match=named):
        Recipe.fit(people(), "buys").transform({**frame, **change})


def test_a_column_with_no_value_at_all_in_a_later_table_is_filled_in():
    recipe = Recipe.fit(people(), "buys", missing="mean")
    x = recipe.transform(people(3).assign(age=None, city=None), dtype="float64")
    np.testing.assert_allclose(x[:, 0], 0, atol=1e-12)
    assert x[:, 1:4].sum() == 3


def test_large_tables_keep_their_accuracy():
    """Mean and deviation of numbers far from 0, in parts: those of the whole."""
    values = 1e9 + np.random.default_rng(0).normal(size=300_000)
    recipe = Recipe.fit({"n": values, "y": ["a", "b"] * 150_000}, "y", missing="median")
    column = recipe.columns[0]
    assert column.mean == pytest.approx(values.mean(), rel=1e-15)
    assert column.std == pytest.approx(values.std(), rel=1e-6)
    # Of more than 100 000 rows the median is that of a sample; this is 5 of its standard errors.
    assert abs(column.fill - np.median(values)) < 5 * 1.2533 / np.sqrt(100_000)


def test_a_median_of_up_to_100_000_rows_is_exact():
    values = np.random.default_rng(0).exponential(size=99_999)
    assert Recipe.fit({"n": values, "y": ["a", "b", "b"] * 33_333}, "y", missing="median").columns[
        0
    ].fill == np.median(values)


def test_frames_go_into_a_network_as_they_are():
    import polars as pl

    frame = people(60)[["age", "income"]].assign(age=lambda f: f.age / 50, income=1.0)
    y = pd.Series(["yes", "no"] * 30, index=range(100, 160))
    net = dr.Network([2, 3, 2], "tanh", "softmax", "log_likelihood", seed=0)
    net.fit(frame, y, epochs=1, validation=(frame, y))
    whole = net.predict(frame.to_numpy())
    np.testing.assert_array_equal(net.predict(frame), whole)
    np.testing.assert_array_equal(net.predict(pl.from_pandas(frame)), whole)
    assert net.score(pl.from_pandas(frame), pl.Series(y.to_list())) == net.score(frame, y)
    for words in (people(60)[["age", "city"]], pl.from_pandas(people(60)[["age", "city"]])):
        with pytest.raises(BadInput, match=r"column 'city' of x holds words.*deltarule\.Recipe\.fit"):
            net.predict(words)
    with pytest.raises(BadInput, match="x at row 1, column 0 is nan"):
        net.predict(pd.DataFrame({"a": pd.array([1, None], "Int64"), "b": [1.0, 2.0]}))
