"""What users hand in: each mistake is named, with what came, what was expected and the way out."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy import sparse

import deltarule as dr
from deltarule.kernels import train as kernel

X = np.random.default_rng(0).random((6, 3))
Y = np.array([0, 1, 2, 0, 1, 2])
WORDS = np.array(["ant", "bee", "cow", "ant", "bee", "cow"])
VALUES = X @ X.T[:, :3]


def network(sizes=(3, 4, 3), **options):
    return dr.Network(list(sizes), **{"seed": 0, **options})


def fit(x=X, y=Y, net=None, **options):
    net = net or network()
    net.fit(x, y, **{"epochs": 1, "progress": False, **options})
    return net


def changed(array, where, value):
    array = np.array(array, dtype=type(value) if isinstance(value, complex) else None)
    array[where] = value
    return array


def refused(call, *parts):
    """The call raises BadInput, a ValueError, whose message holds each of the parts."""
    with pytest.raises(dr.BadInput) as caught:
        call()
    assert isinstance(caught.value, ValueError)
    for part in parts:
        assert part in str(caught.value)


# Each entry: x, and what the message must say: what came, what was expected, the way out.
BAD_X = {
    "too narrow": (X[:, :2], ["(6, 2)", "(N, 3)", "sizes [3, 4, 3]"]),
    "too wide": (np.zeros((6, 4)), ["(6, 4)", "(N, 3)"]),
    "one sample": (X[0], ["one sample of shape (3,)", "rows of samples", "x[None, :]"]),
    "one axis": (np.zeros(5), ["(5,)", "(N, 3)"]),
    "images": (np.zeros((6, 1, 3)), ["(6, 1, 3)", "(N, 3)", "x.reshape(len(x), -1)"]),
    "no rows": (np.zeros((0, 3)), ["x is empty", "(0, 3)", "at least one row"]),
    "no columns": (np.zeros((6, 0)), ["x is empty", "(6, 0)"]),
    "empty list": ([], ["x is empty", "(N, 3)"]),
    "None": (None, ["x is None", "(N, 3)"]),
    "number": (3.0, ["x is 3.0", "(N, 3)"]),
    "word": ("x.csv", ["x is 'x.csv'", "(N, 3)"]),
    "dictionary": ({}, ["x is {}", "(N, 3)"]),
    "NaN": (changed(X, (4, 1), np.nan), ["x at row 4, column 1 is nan", "not a finite number", "Drop the row"]),
    "infinity": (changed(X, (0, 2), np.inf), ["x at row 0, column 2 is inf"]),
    "minus infinity": (changed(X, (5, 0), -np.inf), ["x at row 5, column 0 is -inf"]),
    "too large": (
        changed(X, (3, 2), 1e300),
        ["x at row 3, column 2 is 1e+300", "too large for float32", "Scale x"],
    ),
    "words": (np.full((6, 3), "a"), ["dtype <U1", "expected real numbers", "Encode words"]),
    "objects": (X.astype(object), ["dtype object", "expected real numbers", "x.astype(float)"]),
    "complex": (X + 0j, ["dtype complex128", "expected real numbers"]),
    "dates": (np.zeros((6, 3), "datetime64[s]"), ["dtype datetime64[s]", "expected real numbers"]),
    "records": (np.zeros((6, 3), [("f", "f4")]), ["expected real numbers"]),
    "sparse": (sparse.csr_array(X), ["x is sparse", "dense", "x.toarray()"]),
    "ragged": ([[1, 2, 3], [1, 2]], ["x is not an array", "as many numbers in each row"]),
    "masked": (np.ma.array(X, mask=X > 0.9), ["masked values", "x.filled(value)"]),
    "beyond integers": ([[10**400, 0, 0]] * 6, ["dtype object", "expected real numbers"]),
}

BAD_Y = {
    "too few": (Y[:4], ["x has 6 rows and y has 4", "one target for each sample"]),
    "too many": (np.append(Y, 0), ["x has 6 rows and y has 7"]),
    "empty": ([], ["x has 6 rows and y has 0"]),
    "None": (None, ["y is None", "N = 6 targets"]),
    "word": ("abc", ["y is 'abc'", "N = 6 targets"]),
    "negative": (changed(Y, 2, -1), ["y at row 2 is -1", "labels 0..2", "3 output neurons", "y.astype(str)"]),
    "large": (changed(Y, 4, 3), ["y at row 4 is 3", "labels 0..2", "wider last layer"]),
    "beyond int64": (changed(Y.astype(np.uint64), 1, np.uint64(2**63 + 5)), ["y at row 1 is 9223372036854775813"]),
    "floats": (Y.astype(float), ["(6,)", "float64", "(N, 3) values or integer labels 0..2", "y.astype(int)"]),
    "narrow values": (np.full((6, 2), 0.5), ["(6, 2)", "(6, 3) values or (6,) labels"]),
    "column of floats": (np.full((6, 1), 0.5), ["(6, 1)", "(6, 3) values or (6,) labels"]),
    "three axes": (np.full((6, 3, 1), 0.5), ["(6, 3, 1)", "(6, 3) values or (6,) labels"]),
    "NaN": (changed(VALUES, (2, 1), np.nan), ["y at row 2, column 1 is nan", "Drop the row"]),
    "infinity": (changed(VALUES, (0, 0), -np.inf), ["y at row 0, column 0 is -inf"]),
    "too large": (changed(VALUES, (5, 2), 1e39), ["y at row 5, column 2 is 1e+39", "too large for float32"]),
    "too many words": (list("abcdab"), ["4 different labels (a, b, c, d)", "3 output neurons"]),
    "too few words": (list("ababab"), ["2 different labels (a, b)", "3 output neurons"]),
    "many words": (list("abcdef"), ["6 different labels (a, b, c, d, e, ...)"]),
    "rows of words": (np.full((6, 3), "a"), ["y has dtype <U1", "one for each sample, in shape (N,)"]),
    "complex": (VALUES + 0j, ["y has dtype complex128", "expected real numbers"]),
    "complex labels": (Y + 0j, ["complex128", "integer labels 0..2"]),
    "dates": (np.zeros(6, "datetime64[s]"), ["datetime64", "integer labels 0..2"]),
    "sparse": (sparse.csr_matrix(np.eye(6, 3)), ["y is sparse", "y.toarray()"]),
    "ragged": ([[1, 2, 3], [1, 2]] * 3, ["y is not an array", "as many numbers in each row"]),
    "missing word": (np.array(["a", None, "b", "a", "b", "c"], object), ["y at row 1 is None", "all words"]),
    "NaN for a word": (np.array(["a", "b", np.nan, "a", "b", "c"], object), ["y at row 2 is nan", "all words"]),
    "missing number": (np.array([0, None, 2, 0, 1, 2], object), ["y at row 1 is None", "all integers"]),
    "mixed objects": (np.array([0, "b", 2, 0, 1, 2], object), ["y at row 1 is 'b'", "all integers or all words"]),
    "masked": (np.ma.array(Y, mask=Y == 2), ["masked values", "y.filled(value)"]),
    "bytes": (np.array(["ä".encode(), b"b", b"c"] * 2), ["not ASCII", "np.char.decode"]),
}

DOORS = {
    "fit": lambda net, x, y: net.fit(x, y, epochs=1, progress=False),
    "backprop": lambda net, x, y: net.backprop(x, y),
    "score": lambda net, x, y: net.score(x, y),
    "mean_cost": lambda net, x, y: net.mean_cost(x, y),
    "check": dr.check,
}


@pytest.mark.parametrize("case", BAD_X)
@pytest.mark.parametrize("door", [*DOORS, "predict", "classify"])
def test_a_bad_x_is_refused_at_every_door(door, case):
    x, parts = BAD_X[case]
    net = network()
    if door in DOORS:
        refused(lambda: DOORS[door](net, x, Y), *parts)
    else:
        refused(lambda: getattr(net, door)(x), *parts)


@pytest.mark.parametrize("case", BAD_Y)
@pytest.mark.parametrize("door", DOORS)
def test_a_bad_y_is_refused_at_every_door(door, case):
    y, parts = BAD_Y[case]
    refused(lambda: DOORS[door](network(), X, y), *parts)


@pytest.mark.parametrize("case", ["too narrow", "NaN", "infinity", "too large", "no rows", "ragged", "sparse"])
def test_a_bad_x_in_the_validation_data_is_said_to_be_there(case):
    x, parts = BAD_X[case]
    refused(lambda: fit(validation=(x, Y)), "in the validation data: ", *parts)


@pytest.mark.parametrize("case", ["too few", "negative", "large", "floats", "NaN", "infinity", "ragged"])
def test_a_bad_y_in_the_validation_data_is_said_to_be_there(case):
    y, parts = BAD_Y[case]
    refused(lambda: fit(validation=(X, y)), "in the validation data: ", *parts)


def test_validation_words_that_training_does_not_have_are_refused():
    refused(
        lambda: fit(y=WORDS, validation=(X, changed(WORDS, 3, "dog"))),
        "in the validation data: ", "row 3 is 'dog'", "['ant', 'bee', 'cow']",
    )  # fmt: skip


@pytest.mark.parametrize("given", [(), (X,), (X, Y, Y), X, {}, "xy", 3], ids=lambda given: type(given).__name__)
def test_validation_that_is_no_pair_is_refused(given):
    refused(lambda: fit(validation=given), f"validation is {type(given).__name__}", "a pair (x, y)")


def test_validation_values_with_training_labels_are_refused():
    refused(lambda: fit(validation=(X, VALUES)), "validation targets are labels and the training targets values")
    refused(lambda: fit(y=VALUES, validation=(X, Y)), "or the other way round")


def test_several_bad_values_are_counted_and_the_first_is_named_in_any_block_of_rows():
    x = np.zeros((10_000, 3))
    x[9_000, 1] = x[9_500, 0] = x[9_999, 2] = np.nan
    refused(lambda: network().predict(x), "row 9000, column 1", "3 such values in all")


def test_float64_takes_what_float32_cannot():
    x = changed(X, (3, 2), 1e300)
    assert np.isfinite(network(dtype="float64").predict(x)).all()


@pytest.mark.parametrize(
    ("output", "cost", "value", "low", "high"),
    [
        ("sigmoid", "cross_entropy", 1.5, "0", "1"),
        ("sigmoid", "cross_entropy", -0.5, "0", "1"),
        ("softmax", "log_likelihood", 2.0, "0", "1"),
        ("softplus", "poisson", -1.0, "0", "inf"),
    ],
)
def test_targets_that_a_logarithm_cannot_take_are_refused(output, cost, value, low, high):
    y = changed(np.full((6, 3), 0.5), (4, 2), value)
    net = network(output=output, cost=cost)
    refused(lambda: fit(y=y, net=net), f"row 4, column 2 is {value}", repr(cost), f"from {low} to {high}")
    fit(y=np.full((6, 3), 0.5), net=net)


def test_an_unknown_word_at_a_second_fit_or_a_score_is_refused_and_names_the_known_ones():
    net = fit(y=WORDS)
    other = changed(WORDS, 2, "dog")
    for call in (lambda: fit(y=other, net=net), lambda: net.score(X, other), lambda: net.backprop(X, other)):
        refused(call, "y at row 2 is 'dog'", "does not know", "['ant', 'bee', 'cow']")


def test_a_second_fit_with_some_of_the_words_codes_them_as_before():
    net = fit(y=WORDS)
    fit(y=WORDS[[2, 2, 2, 2, 2, 1]], net=net, epochs=300, optimizer=dr.Adam(0.05))
    assert list(net.classes) == ["ant", "bee", "cow"]
    assert (net.classify(X) == "cow").sum() >= 5


SIZES = [
    [784, -1, 10],
    [3, 0, 1],
    [3, 2.0, 1],
    [3, True, 1],
    [3],
    [],
    5,
    None,
    "abc",
    [3, "4"],
    [3, None],
    [[3], [4]],
]


@pytest.mark.parametrize("sizes", [*SIZES, np.array([3.0, 4.0]), {}], ids=repr)
def test_sizes_that_are_none_are_refused(sizes):
    refused(lambda: dr.Network(sizes), f"sizes is {sizes!r}", "at least two positive integers", "[784, 30, 10]")


@pytest.mark.parametrize("sizes", [[10**30, 2], [2**26, 2**26]])
def test_sizes_beyond_any_machine_are_refused(sizes):
    refused(lambda: dr.Network(sizes), str(sizes), "more than")


@pytest.mark.parametrize("sizes", [(3, 2), np.array([3, 2]), [np.int32(3), np.uint8(2)], range(3, 1, -1)])
def test_sizes_may_be_any_sequence_of_integers(sizes):
    assert dr.Network(sizes).sizes == [3, 2]
    assert all(type(n) is int for n in dr.Network(sizes).sizes)


@pytest.mark.parametrize(
    ("option", "given", "nearest"),
    [
        ("activation", "relo", "relu"),
        ("activation", "Sigmoid", "sigmoid"),
        ("activation", "LeakyReLU", "leaky_relu"),
        ("activation", ["tahn"], "tanh"),
        ("output", "sigmod", "sigmoid"),
        ("cost", "crossentropy", "cross_entropy"),
        ("cost", "Quadratic", "quadratic"),
        ("init", "neilsen", "nielsen"),
        ("dtype", "flaot32", "float32"),
        ("dtype", np.float16, "float64"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(option, given, nearest):
    refused(lambda: network(**{option: given}), "unknown", f"Did you mean '{nearest}'?", "Known: ")


@pytest.mark.parametrize(
    ("option", "given", "nearest"),
    [("optimizer", "sdg", "sgd"), ("optimizer", "Adam", "adam"), ("schedule", "cosin", "cosine")],
)
def test_an_unknown_way_to_train_is_refused_with_the_nearest(option, given, nearest):
    refused(
        lambda: fit(**{option: given}), f"unknown {option} '{given}'", f"Did you mean '{nearest}'?", "or an object"
    )


@pytest.mark.parametrize("option", ["activation", "output", "cost", "init", "dtype"])
@pytest.mark.parametrize("given", [None, 3, {"a": 1}, "", "qqqq"], ids=repr)
def test_what_is_no_name_at_all_is_refused_with_the_names(option, given):
    known = {"cost": "quadratic", "init": "nielsen", "dtype": "float32"}.get(option, "leaky_relu")
    refused(lambda: network(**{option: given}), known, repr(given) if option != "dtype" else str(given))


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps", None])
def test_another_device_is_refused_with_the_way_through_pytorch(device):
    refused(lambda: network(device=device), repr(device), "device='cpu'", "deltarule.interop.to_torch(net)")


@pytest.mark.parametrize("option", ["optimizer", "schedule"])
@pytest.mark.parametrize("given", [3, [], dr.SGD, dr.Cosine, ""], ids=repr)
def test_an_optimizer_or_schedule_that_is_none_is_refused(option, given):
    refused(lambda: fit(**{option: given}), f"unknown {option}", "or an object such as deltarule.")


PAIRS = {
    (output, cost)
    for output in dr.ACTIVATIONS
    for cost in dr.COSTS
    if (cost == "cross_entropy" and output != "sigmoid")
    or (cost == "log_likelihood" and output != "softmax")
    or (cost.startswith("poisson") and output not in ("softplus", "exp"))
}


@pytest.mark.parametrize(("output", "cost"), sorted(PAIRS))
def test_an_output_that_the_cost_cannot_stand_behind_is_refused_and_every_pair_named_works(output, cost):
    with pytest.raises(dr.BadInput) as caught:
        network(output=output, cost=cost)
    message = str(caught.value)
    assert f"cost '{cost}' needs" in message
    with_cost = re.search(r"With this cost: output=(.*?)\.", message)[1].split(" or ")
    with_output = re.search(r"With this output: cost=(.*?)\.", message)[1].split(" or ")
    for name in with_cost:
        network(output=name.strip("'"), cost=cost)
    for name in with_output:
        network(output=output, cost=name.strip("'"))


def test_the_other_libraries_name_for_log_likelihood_is_explained():
    refused(lambda: network(output="softmax", cost="cross_entropy"), "cost='log_likelihood' here")


@pytest.mark.parametrize("activation", ["softmax", ["softmax"]])
def test_softmax_in_a_hidden_layer_is_refused_with_the_layer(activation):
    refused(lambda: network(activation=activation), "softmax at hidden layer 1", "output='softmax'")


@pytest.mark.parametrize("activation", [[], ["tanh"] * 2, ("tanh", "relu", "relu"), (abs, 3)])
def test_a_wrong_number_of_activations_is_refused(activation):
    refused(lambda: network(activation=activation), f"{len(activation)} activations for 1 hidden", "one for each")


def test_an_activation_outside_the_table_needs_its_pair():
    own = dr.Activation("own", np.tanh, np.ones_like)
    refused(lambda: network(activation=own), "'own' is not in the table", "pair (sigma, slope)")


@pytest.mark.parametrize(
    ("option", "values", "expected"),
    [
        ("epochs", [0, -1, 1.0, 1.5, True, "3", None, np.nan], "an integer from 1 up"),
        ("batch_size", [0, -1, 10.0, True, "auto", None], "an integer from 1 up"),
        ("l2", [-0.1, np.nan, np.inf, "a", None], "a number from 0 up"),
        ("l1", [-0.1, np.nan, np.inf, "a", None], "a number from 0 up"),
        ("dropout", [1, 1.5, -0.1, np.nan, [0.1, 0.1], []], "a share from 0 up to, not including, 1"),
        ("early_stopping", ["yes", 3, 0.5], "True or deltarule.EarlyStopping"),
    ],
)
def test_a_setting_out_of_range_is_refused(option, values, expected):
    for value in values:
        refused(lambda value=value: fit(**{option: value}), f"{option} is {value!r}", f"expected {expected}")


def test_early_stopping_without_validation_data_is_refused():
    refused(lambda: fit(early_stopping=True), "early stopping needs data", "validation=(x, y)")


@pytest.mark.parametrize("seed", [-1, 1.5, True, "a", [1], np.nan])
def test_a_bad_seed_is_refused(seed):
    refused(lambda: network(seed=seed), f"seed is {seed!r}", "an integer from 0 up, or None")


def state(net):
    """The bits that a failed call must leave as they are."""
    parts = [part.tobytes() for l in range(1, net.L + 1) for part in (net.W[l], net.b[l])]
    return parts, net.rng.bit_generator.state, None if net.classes is None else net.classes.tolist()


FAILURES = {
    "bad x": lambda net: fit(changed(X, (1, 1), np.nan), WORDS, net),
    "bad y": lambda net: fit(X, [0, 1, 5, 0, 1, 2], net),
    "bad validation x": lambda net: fit(X, WORDS, net, validation=(X[:, :2], WORDS)),
    "bad validation y": lambda net: fit(X, WORDS, net, validation=(X, Y[:2])),
    "no pair": lambda net: fit(X, WORDS, net, validation=X),
    "other targets": lambda net: fit(X, WORDS, net, validation=(X, VALUES)),
    "bad epochs": lambda net: fit(X, WORDS, net, epochs=0),
    "bad optimizer": lambda net: fit(X, WORDS, net, optimizer="sdg"),
    "nothing to judge by": lambda net: fit(X, WORDS, net, early_stopping=True),
    "score": lambda net: net.score(X, list("abcdab")),
}


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("case", FAILURES)
def test_a_refused_call_leaves_weights_generator_and_classes_as_they_are(case, trained):
    net = network()
    if trained:
        fit(X, Y, net)
    before = state(net)
    with pytest.raises(dr.BadInput):
        FAILURES[case](net)
    assert state(net) == before
    fit(X, Y, net)
    assert state(net) != before


def trained_on(x, y=Y, **options):
    return fit(x, y, network(**options), epochs=3, batch_size=2).predict(np.array(X, np.float32))


GOOD = {
    "lists": lambda x: x.tolist(),
    "rows of arrays": list,
    "float64": lambda x: x.astype(np.float64),
    "Fortran order": np.asfortranarray,
    "every second row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "turned round": lambda x: np.ascontiguousarray(x[:, ::-1])[:, ::-1],
    "other byte order": lambda x: x.astype(">f4"),
    "unmasked": lambda x: np.ma.array(x),
    "array interface": lambda x: type("Other", (), {"__array__": lambda self, dtype=None, copy=None: x})(),
}


@pytest.mark.parametrize("form", GOOD)
def test_x_may_come_in_any_form_and_gives_the_same_bits(form):
    x = X.astype(np.float32)
    np.testing.assert_array_equal(trained_on(GOOD[form](x)), trained_on(x))


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int32", "int64", "uint64", "float16", "longdouble"])
def test_x_may_have_any_dtype_of_numbers(dtype):
    x = (np.arange(18).reshape(6, 3) % 2).astype(dtype)
    np.testing.assert_array_equal(trained_on(x), trained_on(x.astype(np.float32)))


LABELS = {
    "list": Y.tolist(),
    "column": Y[:, None],
    "int8": Y.astype(np.int8),
    "uint64": Y.astype(np.uint64),
    "Python objects": Y.astype(object),
    "one-hot": np.eye(3)[Y],
    "one-hot integers": np.eye(3, dtype=int)[Y],
    "stepping": np.repeat(Y, 2)[::2],
}


@pytest.mark.parametrize("form", LABELS)
def test_labels_may_come_in_any_form_and_give_the_same_bits(form):
    net = network()
    fit(X, LABELS[form], net, epochs=3)
    np.testing.assert_array_equal(net.predict(X), fit(X, Y, epochs=3).predict(X))
    assert net.classes.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "form", [list, np.array, lambda y: y.astype(object), lambda y: y[:, None], lambda y: y.astype("S")]
)
def test_words_may_come_in_any_form(form):
    net = fit(y=form(WORDS), epochs=3)
    np.testing.assert_array_equal(net.predict(X), fit(X, Y, epochs=3).predict(X))
    assert net.classes.tolist() == ["ant", "bee", "cow"]


def test_words_in_a_column_for_a_single_output():
    y = np.array(["no", "yes"] * 3)[:, None]
    assert fit(y=y, net=network([3, 1])).classes.tolist() == ["no", "yes"]


def test_read_only_and_memory_mapped_arrays_are_used_without_a_copy_or_a_compilation(tmp_path):
    x = X.astype(np.float32)
    usual = trained_on(x)
    x.tofile(tmp_path / "x")
    mapped = np.memmap(tmp_path / "x", np.float32, "r", shape=x.shape)
    frozen, labels, values = x.copy(), Y.copy(), VALUES.astype(np.float32)
    for array in (frozen, labels, values):
        array.flags.writeable = False
    trained_on(x, VALUES)
    before = len(kernel.train.signatures)
    assert before > 0
    np.testing.assert_array_equal(trained_on(mapped, labels), usual)
    np.testing.assert_array_equal(trained_on(frozen, labels), usual)
    np.testing.assert_array_equal(trained_on(mapped, values), trained_on(x, VALUES))
    assert len(kernel.train.signatures) == before
    from deltarule import inputs

    assert np.shares_memory(inputs.samples(network(), mapped), mapped)
    assert np.shares_memory(inputs.samples(network(), frozen), frozen)


@pytest.mark.parametrize("l", [0, 3, -1, -2, 1.0, "1", None, slice(1, 2)], ids=repr)
@pytest.mark.parametrize("name", ["W", "b", "activations"])
def test_a_layer_outside_the_books_numbering_is_refused(name, l):
    with pytest.raises(dr.NoSuchLayer, match="layer") as caught:
        getattr(network(), name)[l]
    assert isinstance(caught.value, IndexError)
    if isinstance(l, int):
        assert f"layer {l}: layers go from 1 to 2 here, as in the book (0 is the input)" in str(caught.value)


def test_layers_are_numbered_from_1_and_the_values_of_the_input_from_0():
    net = network()
    trace = net.backprop(X, Y)
    assert net.W[np.int64(2)].shape == (3, 4)
    assert trace.a[0].shape == (6, 3)
    for values, l in ((trace.a, -1), (trace.a, 3), (trace.z, 0), (trace.delta, 3)):
        with pytest.raises(dr.NoSuchLayer):
            values[l]


@pytest.mark.parametrize(
    "option",
    [
        {"dropout": "a"}, {"dropout": None}, {"dropout": ["a"]}, {"l2": True}, {"l1": "much"}, {"shuffle": "no"},
        {"progress": 1}, {"checkpoint": 3},
    ],
)  # fmt: skip
def test_an_option_of_another_kind_is_refused_by_name(option):
    net = dr.Network([2, 3, 2], seed=0)
    with pytest.raises(dr.BadInput, match=f"^{next(iter(option))} is .*; expected"):
        net.fit([[1, 2]], [0], **option)


def test_weights_are_written_through_and_other_shapes_refused():
    net = dr.Network([2, 3, 2], seed=0)
    before = net.W[1].copy()
    net.W[1] *= 2
    net.b[2] = [1.0, 2.0]
    assert np.array_equal(net.W[1], 2 * before)
    assert np.array_equal(net.theta[net._b_at[2] : net._b_at[2] + 2], [1.0, 2.0])
    with pytest.raises(dr.BadInput, match=r"layer 1 takes shape \(3, 2\); got \(2, 3\)"):
        net.W[1] = before.T
