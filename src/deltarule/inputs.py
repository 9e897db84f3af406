"""What users hand in, checked and coded: samples as rows of numbers, targets as labels or values."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from deltarule.errors import BadInput

if TYPE_CHECKING:
    from deltarule.network import Network

Array = npt.NDArray[Any]
ROWS_AT_ONCE = 4096


class Targets(NamedTuple):
    """Targets as the engine takes them: labels coded 0.., or values (N, n_L). One of them has no rows."""

    labels: npt.NDArray[np.int64]
    values: Array
    classes: Array | None

    @property
    def are_labels(self) -> bool:
        return self.labels.size > 0


def _array(given: Any, name: str) -> Array:
    """`given` as a NumPy array, whatever it holds."""
    if hasattr(given, "toarray"):
        raise BadInput(f"{name} is sparse; the engine takes dense rows: {name}.toarray()")
    if np.ma.is_masked(given):
        raise BadInput(f"{name} has masked values; drop those rows, or fill them in: {name}.filled(value)")
    try:
        return np.asarray(given)
    except (ValueError, TypeError, RuntimeError) as error:
        raise BadInput(f"{name} is not an array, with as many numbers in each row: {error}") from error


def numbers(given: Any, name: str, dtype: Any) -> Array:
    """`given` as an array of finite numbers; not copied where it already is one of this dtype, C-ordered."""
    array = _array(given, name)
    if array.dtype.kind not in "fiub":
        hint = "Encode words as numbers first (labels may be words: they go into y)."
        if name == "y":
            hint = "Words are taken as labels, one for each sample, in shape (N,)."
        raise BadInput(
            f"{name} has dtype {array.dtype}; expected real numbers ({name}.astype(float) if they are). {hint}"
        )
    if array.size == 0:
        raise BadInput(f"{name} is empty: shape {array.shape}; expected at least one row")
    with np.errstate(over="ignore"):
        whole = np.ascontiguousarray(array, dtype=dtype)
    _require_finite(whole, array, name)
    return whole


def _require_finite(array: Array, given: Array, name: str) -> None:
    for start in range(0, len(array), ROWS_AT_ONCE):
        good = np.isfinite(array[start : start + ROWS_AT_ONCE])
        if not good.all():
            place = np.argwhere(~good)[0]
            where = (int(place[0]) + start, *map(int, place[1:]))
            value = given[where]
            total = sum(
                int((~np.isfinite(array[s : s + ROWS_AT_ONCE])).sum()) for s in range(0, len(array), ROWS_AT_ONCE)
            )
            column = f", column {where[1]}" if len(where) > 1 else ""
            what, way_out = "is not a finite number", "Drop the row or fill the value in."
            if np.isfinite(value):
                what, way_out = f"is too large for {array.dtype}", f"Scale {name} to about one."
            raise BadInput(
                f"{name} at row {where[0]}{column} is {value}, which {what} "
                f"({total} such value{'s' if total > 1 else ''} in all). {way_out}"
            )


def is_ready(net: Network, x: Any) -> bool:
    """Whether x is what the engine takes, as it stands, but for values that may not be finite; at once."""
    return (
        type(x) is np.ndarray
        and x.dtype == net.dtype
        and x.ndim == 2
        and x.shape[1] == net.sizes[0]
        and x.flags.carray
        and len(x) > 0
    )


def samples(net: Network, x: Any) -> Array:
    """x as (N, n_0) in the network's dtype. Raises BadInput that says what came."""
    width, array = net.sizes[0], _array(x, "x")
    if array.dtype.kind == "O" and hasattr(x, "columns"):
        array = _side_by_side(x)
    shape = array.shape
    if shape == ():
        raise BadInput(f"x is {_brief(x)}; expected (N, {width}), a row a sample and {width} numbers a row")
    if shape == (0,):
        raise BadInput(f"x is empty; expected (N, {width}), a row a sample, and at least one")
    if len(shape) == 1 and shape[0] == width:
        raise BadInput(f"x is one sample of shape {shape}; expected rows of samples: x[None, :] for one")
    if len(shape) != 2 or (shape[1] != width and 0 not in shape):
        hint = ": x.reshape(len(x), -1) flattens images" if len(shape) > 2 else ""
        raise BadInput(
            f"x has shape {shape}; expected (N, {width}), a row a sample and {width} numbers a row, "
            f"as the network's sizes {net.sizes} say{hint}"
        )
    return numbers(array, "x", net.dtype)


def _side_by_side(frame: Any) -> Array:
    """The columns of a frame of more than one type, as numbers. Raises BadInput with the name of one of words."""
    columns = []
    for i, name in enumerate(frame.columns):
        column = frame.iloc[:, i] if hasattr(frame, "iloc") else frame.to_series(i)
        values = np.asarray(column)
        if values.dtype.kind == "O" and not any(isinstance(value, str) for value in values):
            empty = {"na_value": np.nan} if hasattr(frame, "iloc") else {}
            with suppress(ValueError, TypeError):
                values = column.to_numpy(**empty).astype(float)
        if values.dtype.kind not in "fiub":
            raise BadInput(
                f"column {name!r} of x holds words or other objects, not numbers; a recipe makes numbers of them: "
                f"deltarule.Recipe.fit(frame, target)"
            )
        columns.append(values)
    return np.column_stack(columns)


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _labels_expected(net: Network) -> str:
    return f"integer labels 0..{net.sizes[-1] - 1}"


def targets(net: Network, y: Any, N: int) -> Targets:
    """y as the engine takes it: (N, n_L) values, or labels coded 0.. with their classes.

    Integer labels stand for themselves; words are sorted and numbered, and the classes that the network
    already knows are used where it has some. Rows that are all one-hot are labels too.
    """
    width = net.sizes[-1]
    array = _array(y, "y")
    if array.ndim == 0:
        raise BadInput(f"y is {_brief(y)}; expected N = {N} targets")
    if len(array) != N:
        raise BadInput(f"x has {N} rows and y has {len(array)}; expected one target for each sample")
    if array.ndim == 2 and array.shape[1] == 1 and array.dtype.kind in ("iubOUS" if width > 1 else "OUS"):
        array = array[:, 0]
    if array.ndim == 1:
        if array.dtype.kind == "O":
            array = _plain(array)
        if array.dtype.kind in "US":
            return _words(net, array)
        if width == 1 and not _is_binary(net, array):
            return _values(net, array.reshape(-1, 1))
        if array.dtype.kind not in "iub":
            raise BadInput(
                f"y has shape {array.shape} and dtype {array.dtype}; expected (N, {width}) values or "
                f"{_labels_expected(net)}: y.astype(int) if these are labels"
            )
        return _integers(net, array)
    if array.shape != (N, width):
        raise BadInput(f"y has shape {array.shape}; expected ({N}, {width}) values or ({N},) labels")
    return _values(net, array)


def weights(net: Network, given: Any, N: int) -> Array:
    """The weight of each sample in the network's dtype, (N,); none where none are given."""
    if given is None:
        return np.empty(0, net.dtype)
    array = _array(given, "sample_weight")
    if array.shape != (N,):
        raise BadInput(f"sample_weight has shape {array.shape}; expected ({N},), one number for each sample")
    values = numbers(array, "sample_weight", net.dtype)
    wrong = np.flatnonzero(values < 0)
    if wrong.size or not values.any():
        came = f"at row {wrong[0]} is {values[wrong[0]]}" if wrong.size else "is 0 throughout"
        raise BadInput(f"sample_weight {came}; expected numbers from 0 up, and some above it")
    return values


def _plain(y: Array) -> Array:
    """Labels that came as Python objects, as integers or as words. A missing one is no label."""
    for kind, dtype in (((int, np.integer, np.bool_), np.int64), (str, np.str_)):
        wrong = [row for row, label in enumerate(y) if not isinstance(label, kind)]
        if not wrong:
            return y.astype(dtype)
        if wrong[0] > 0:
            break
    raise BadInput(
        f"y at row {wrong[0]} is {_brief(y[wrong[0]])}; expected a label for each sample, all integers or all words"
    )


def _is_binary(net: Network, y: Array) -> bool:
    """Whether the targets of a single output are two classes, not amounts."""
    if y.dtype.kind == "b":
        return True
    return y.dtype.kind in "iu" and net.output.name == "sigmoid" and bool(((y == 0) | (y == 1)).all())


def _integers(net: Network, y: Array) -> Targets:
    count = max(net.sizes[-1], 2)
    wrong = np.flatnonzero((y < 0) | (y >= count)) if y.dtype.kind != "b" else np.empty(0, int)
    if wrong.size:
        row = int(wrong[0])
        raise BadInput(
            f"y at row {row} is {y[row]}; expected {_labels_expected(net)} for {net.sizes[-1]} output neurons. "
            f"A network for more classes needs a wider last layer; other labels can be given as words: y.astype(str)"
        )
    return Targets(np.ascontiguousarray(y, np.int64), _no_values(net), np.arange(count))


def _words(net: Network, y: Array) -> Targets:
    try:
        words = y.astype(np.str_)
    except UnicodeDecodeError as error:
        raise BadInput(
            f"y holds bytes that are not ASCII; decode them: np.char.decode(y, 'utf-8') ({error})"
        ) from error
    count = max(net.sizes[-1], 2)
    known = net.classes
    if known is None or known.dtype.kind not in "US":
        known = np.unique(words)
        if len(known) != count:
            raise BadInput(
                f"y has {len(known)} different labels ({', '.join(known[:5])}{', ...' if len(known) > 5 else ''}); "
                f"the network has {net.sizes[-1]} output neurons: give it one for each label"
            )
    place = np.searchsorted(known, words).clip(max=len(known) - 1)
    wrong = np.flatnonzero(known[place] != words)
    if wrong.size:
        row = int(wrong[0])
        raise BadInput(
            f"y at row {row} is {str(words[row])!r}, a label that the network does not know: {known.tolist()}"
        )
    return Targets(place.astype(np.int64), _no_values(net), known)


def _values(net: Network, y: Array) -> Targets:
    values = numbers(y, "y", net.dtype)
    _require_range(net, values)
    if values.shape[1] > 1 and ((values == 0) | (values == 1)).all() and (values.sum(axis=1) == 1).all():
        return Targets(values.argmax(axis=1).astype(np.int64), _no_values(net), np.arange(values.shape[1]))
    return Targets(np.empty(0, np.int64), values, None)


def _require_range(net: Network, values: Array) -> None:
    """Costs that take logarithms ask for targets they can reach."""
    low, high = {
        "cross_entropy": (0, 1),
        "log_likelihood": (0, 1),
        "poisson": (0, np.inf),
        "poisson_deviance": (0, np.inf),
    }.get(net.cost.name, (-np.inf, np.inf))
    wrong = np.argwhere((values < low) | (values > high))
    if len(wrong):
        row, column = map(int, wrong[0])
        raise BadInput(
            f"y at row {row}, column {column} is {values[row, column]}; cost {net.cost.name!r} takes targets "
            f"from {low} to {high}"
        )


def _no_values(net: Network) -> Array:
    return np.empty((0, net.sizes[-1]), net.dtype)


def coded(targets: Targets, net: Network) -> Array:
    """The targets as (N, n_L) values: labels one-hot, or 0 and 1 for a single output."""
    if not targets.are_labels:
        return targets.values
    if net.sizes[-1] == 1:
        return targets.labels.astype(net.dtype)[:, None]
    return np.eye(net.sizes[-1], dtype=net.dtype)[targets.labels]
