"""A network as one C99 header: constants, a forward pass, and if asked the backward pass, for a microcontroller.

The C below is written once, in double. For a float32 network each constant and each function of <math.h> gets
its `f`, so that nothing is computed in double where there is no unit for it.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from deltarule.activations import LEAK, SELU_ALPHA, SELU_SCALE
from deltarule.costs import JOINED
from deltarule.errors import BadInput
from deltarule.network import Network
from deltarule.store import write_whole

SIGMOID_SLOPE = "const REAL t = exp(-fabs(z)); return t / ((1.0 + t) * (1.0 + t));"
SIGMA: dict[str, tuple[str, str]] = {
    "sigmoid": (
        "const REAL t = exp(-fabs(z)); return z >= 0.0 ? 1.0 / (1.0 + t) : t / (1.0 + t);",
        SIGMOID_SLOPE,
    ),
    "tanh": ("return tanh(z);", "const REAL t = exp(-2.0 * fabs(z)); return 4.0 * t / ((1.0 + t) * (1.0 + t));"),
    "relu": ("return z < 0.0 ? 0.0 : z;", "return z > 0.0 ? 1.0 : 0.0;"),
    "leaky_relu": (f"return z > 0.0 ? z : {LEAK!r} * z;", f"return z > 0.0 ? 1.0 : {LEAK!r};"),
    "elu": ("return z > 0.0 ? z : expm1(z);", "return z > 0.0 ? 1.0 : exp(z);"),
    "selu": (
        f"return z > 0.0 ? {SELU_SCALE!r} * z : {SELU_SCALE * SELU_ALPHA!r} * expm1(z);",
        f"return z > 0.0 ? {SELU_SCALE!r} : {SELU_SCALE * SELU_ALPHA!r} * exp(z);",
    ),
    "gelu": (
        "return 0.5 * z * erfc(-0.7071067811865476 * z);",
        "return 0.5 * erfc(-0.7071067811865476 * z) + z * 0.3989422804014327 * exp(-0.5 * z * z);",
    ),
    "silu": (
        "const REAL t = exp(-fabs(z)); return z >= 0.0 ? z / (1.0 + t) : z * t / (1.0 + t);",
        "const REAL t = exp(-fabs(z)), r = 1.0 / (1.0 + t); return (z >= 0.0 ? r : t * r) + z * t * r * r;",
    ),
    "softplus": (
        "return (z > 0.0 ? z : 0.0) + log1p(exp(-fabs(z)));",
        "const REAL t = exp(-fabs(z)); return z >= 0.0 ? 1.0 / (1.0 + t) : t / (1.0 + t);",
    ),
    "exp": ("return exp(z);", "return exp(z);"),
    "softsign": ("return z / (1.0 + fabs(z));", "return 1.0 / ((1.0 + fabs(z)) * (1.0 + fabs(z)));"),
}
"""The body of sigma(z) and of sigma'(z) in C."""

WEIGH = """\
/* z = W a + b; row j of W holds the weights into neuron j. */
static inline void NAME_weigh(const REAL *W, const REAL *b, const REAL *a, int n_in, int n_out, REAL *z) {
    for (int j = 0; j < n_out; j++, W += n_in) {
        REAL sum = 0.0;
        for (int k = 0; k < n_in; k++) sum += W[k] * a[k];
        z[j] = sum + b[j];
    }
}
"""

SOFTMAX = """\
/* a_j = e^z_j / sum_k e^z_k, in place. */
static inline void NAME_softmax(REAL *z, int n) {
    REAL top = z[0], sum = 0.0;
    for (int j = 1; j < n; j++) top = z[j] > top ? z[j] : top;
    for (int j = 0; j < n; j++) {
        z[j] = exp(z[j] - top);
        sum += z[j];
    }
    for (int j = 0; j < n; j++) z[j] /= sum;
}
"""

BACK = """\
/* delta^l = ((W^{l+1})^T delta^{l+1}) * sigma'(z^l); `below` holds sigma'(z^l) before and delta^l after. */
static inline void NAME_back(const REAL *W, const REAL *delta, int n_in, int n_out, REAL *below) {
    for (int k = 0; k < n_in; k++) {
        REAL moved = 0.0;
        for (int j = 0; j < n_out; j++) moved += W[(long)j * n_in + k] * delta[j];
        below[k] *= moved;
    }
}
"""

DESCEND = """\
/* W -= eta delta a^T, b -= eta delta. */
static inline void NAME_descend(REAL *W, REAL *b, const REAL *delta, const REAL *a, int n_in, int n_out, REAL eta) {
    for (int j = 0; j < n_out; j++, W += n_in) {
        for (int k = 0; k < n_in; k++) W[k] -= eta * delta[j] * a[k];
        b[j] -= eta * delta[j];
    }
}
"""

COST_OF_Z = {
    "cross_entropy": "C += (a[j] > 0.0 ? a[j] : 0.0) - y[j] * a[j] + log1p(exp(-fabs(a[j])));",
    "log_likelihood": "C += y[j] * (total - a[j]);",
    "poisson": "C += exp(a[j]) - y[j] * a[j];",
    "poisson_deviance": "C += exp(a[j]) - y[j] * a[j] + (y[j] > 0.0 ? y[j] * log(y[j]) : 0.0) - y[j];",
}
"""For the pairs of output and cost whose value is taken from z^L; `a` still holds z^L."""

COST = {
    "quadratic": ("0.5 * (a[j] - y[j]) * (a[j] - y[j])", "a[j] - y[j]"),
    "huber": (
        "fabs(a[j] - y[j]) <= 1.0 ? 0.5 * (a[j] - y[j]) * (a[j] - y[j]) : fabs(a[j] - y[j]) - 0.5",
        "a[j] - y[j] > 1.0 ? 1.0 : a[j] - y[j] < -1.0 ? -1.0 : a[j] - y[j]",
    ),
    "absolute": ("fabs(a[j] - y[j])", "a[j] > y[j] ? 1.0 : a[j] < y[j] ? -1.0 : 0.0"),
    "poisson": ("a[j] - (y[j] > 0.0 ? y[j] * log(a[j]) : 0.0)", "1.0 - (y[j] > 0.0 ? y[j] / a[j] : 0.0)"),
    "log_cosh": (
        "fabs(a[j] - y[j]) < 1.0 ? 0.5 * log1p(sinh(a[j] - y[j]) * sinh(a[j] - y[j])) "
        ": fabs(a[j] - y[j]) + log1p(exp(-2.0 * fabs(a[j] - y[j]))) - 0.6931471805599453",
        "tanh(a[j] - y[j])",
    ),
    "poisson_deviance": (
        "a[j] - y[j] + (y[j] > 0.0 ? y[j] * log(y[j] / a[j]) : 0.0)",
        "1.0 - (y[j] > 0.0 ? y[j] / a[j] : 0.0)",
    ),
}
"""C of one output, and dC/da."""


def to_c(net: Network, path: str | Path, *, name: str | None = None, backward: bool = False) -> None:
    """Write the network as a C99 header that needs <math.h> and nothing else, whole or not at all.

    For a header called `digits.h` of a float32 network::

        static inline void digits_predict(const float *x, float *a);    a^L of one sample
        static inline int digits_classify(const float *x);              the number of its class
        DIGITS_INPUTS, DIGITS_OUTPUTS, DIGITS_STACK_BYTES               known when it is compiled

    The parameters are one constant, `digits_trained`; on a machine that runs constants from flash they take no
    memory. Nothing is allocated: `predict` keeps two layers on the stack. A float64 network computes in double; on a
    microcontroller take `net.astype("float32")`. The header compiles as C99 and as C++11.

    Parameters
    ----------
    net : Network
    path : str or Path
    name : str, optional
        What all names in the header begin with; the file's name, if not given, with what C does not take made `_`.
    backward : bool
        Also write the backward pass, to learn on the device: `digits_backprop` leaves every a^l and delta^l of a
        sample in a `digits_trace`, `digits_learn` makes a step of gradient descent from it. They take parameters in
        memory, `digits_parameters p = digits_trained;`.

    Raises
    ------
    BadInput
        An activation of your own, or a parameter that is not a finite number: C has no constant for it.

    Examples
    --------
    >>> import deltarule as dr, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "digits.h"
    >>> net = dr.Network([64, 30, 10], seed=0)
    >>> to_c(net, path)
    >>> text = path.read_text()
    >>> "static inline void digits_predict(const float *x, float *a)" in text
    True
    """
    if Path(path).is_dir():
        raise BadInput(f"{path} is a folder; expected the name of a file: {Path(path) / 'network.h'}")
    write_whole(Path(path), c_header(net, identifier(Path(path).stem if name is None else name), backward).encode())


def identifier(name: str) -> str:
    """A name that C takes at the beginning of others.

    >>> identifier("my net-2"), identifier("784-30-10"), identifier("_Réseau"), identifier("")
    ('my_net_2', 'net_784_30_10', 'R_seau', 'network')
    """
    plain = re.sub(r"[^0-9A-Za-z_]", "_", name).lstrip("_")
    if not plain:
        return "network"
    return f"net_{plain}" if plain[0].isdigit() else plain


def c_header(net: Network, name: str, backward: bool) -> str:
    """The text of the header; see :func:`to_c`."""
    _require_writable(net, backward)
    n, L = net.sizes, net.L
    real = "float" if net.dtype == np.float32 else "double"
    used = sorted({sigma.name for sigma in net.activations} & set(SIGMA))
    code = [WEIGH]
    for sigma in used:
        value, slope = SIGMA[sigma]
        code.append(f"static inline REAL NAME_{sigma}(REAL z) {{ {value} }}\n")
        if backward:
            code.append(f"static inline REAL NAME_{sigma}_slope(REAL z) {{ {slope} }}\n")
    if net.output.name == "softmax":
        code.append(SOFTMAX)
    code += [_predict(net, backward), _classify(net)]
    if backward:
        code += [BACK, DESCEND, _trace(net), _backprop(net), _learn(net)]
    fields = "".join(f"    REAL W{l}[{n[l]}L * {n[l - 1]}], b{l}[{n[l]}];\n" for l in range(1, L + 1))
    about = "/* W^l is (n_l, n_{l-1}), row after row: row j holds the weights into neuron j of layer l. */\n"
    struct = f"{about}typedef struct {{\n{fields}}} NAME_parameters;\n"
    sizes = (
        f"#define CAPITALS_INPUTS {n[0]}\n#define CAPITALS_OUTPUTS {n[-1]}\n"
        f"#define CAPITALS_STACK_BYTES {_scratch(net)}\n"
    )
    top, bottom = f"#ifndef CAPITALS_H\n#define CAPITALS_H\n\n#include <math.h>\n\n{sizes}", "#endif\n"
    values = ",\n".join(
        f"    {{ /* {what}{l} */\n{_numbers(part[l])}\n    }}" for l in range(1, L + 1) for what, part in _parts(net)
    )
    trained = f"static const NAME_parameters NAME_trained = {{\n{values}\n}};\n"

    def named(text: str) -> str:
        return text.replace("REAL", real).replace("NAME", name).replace("CAPITALS", name.upper())

    body = "\n".join(_in_float(part) if real == "float" else part for part in code)
    return (
        f"{_about(net, name, backward)}\n{named(top)}\n{named(struct)}\n{named(trained)}\n{named(body)}\n"
        f"{_class(net.classes, name)}{named(bottom)}"
    )


def _require_writable(net: Network, backward: bool) -> None:
    if backward and net.cost.name not in COST | COST_OF_Z:
        raise BadInput(
            f"the cost {net.cost.name!r} is not known in C; export the forward pass, or a network with a named cost"
        )
    for l in net.activations.layers:
        if net.activations[l].custom:
            raise BadInput(
                f"layer {l} has an activation of your own, {net.activations[l].name!r}, and it is not known in C. "
                "Export a copy with a named one: net.copy(activation=...)"
            )
        for what, part in _parts(net):
            if not np.isfinite(part[l]).all():
                raise BadInput(f"{what}^{l} holds a value that is not finite; C has no constant for it")


def _parts(net: Network) -> tuple[tuple[str, Any], tuple[str, Any]]:
    return ("W", net.W), ("b", net.b)


def _in_float(code: str) -> str:
    """The same C in single precision: 1.0 becomes 1.0f, exp( becomes expf(."""
    code = re.sub(r"\b(exp|expm1|log|log1p|fabs|sinh|tanh|erfc)\(", r"\1f(", code)
    return re.sub(r"(?<![\w.])(\d+\.\d+(?:e-?\d+)?)", r"\1f", code)


def _numbers(values: Any) -> str:
    """Constants that read back as the same bits."""
    end = "f" if values.dtype == np.float32 else ""
    text = [f"{value}{end}" for value in map(str, values.ravel())]
    return ",\n".join("        " + ", ".join(text[i : i + 8]) for i in range(0, len(text), 8))


def _scratch(net: Network) -> int:
    """Bytes that predict keeps on the stack: two hidden layers, the widest of odd and of even number."""
    hidden = net.sizes[1:-1]
    return (max(hidden[::2], default=0) + max(hidden[1::2], default=0)) * net.dtype.itemsize


def _apply(sigma: str, where: str, count: int) -> str:
    if sigma == "identity":
        return ""
    if sigma == "softmax":
        return f"    NAME_softmax({where}, {count});\n"
    return f"    for (int j = 0; j < {count}; j++) {where}[j] = NAME_{sigma}({where}[j]);\n"


def _predict(net: Network, backward: bool) -> str:
    n, hidden = net.sizes, net.sizes[1:-1]
    lines = ""
    for which, widths in (("odd", hidden[::2]), ("even", hidden[1::2])):
        lines += f"    REAL {which}[{max(widths)}];\n" if widths else ""
    below = "x"
    for l in range(1, net.L + 1):
        above = "a" if l == net.L else "odd" if l % 2 else "even"
        lines += f"    NAME_weigh(p->W{l}, p->b{l}, {below}, {n[l - 1]}, {n[l]}, {above});\n"
        lines += _apply(net.activations[l].name, above, n[l])
        below = above
    return (
        "/* a^L for one sample x, with parameters that you hold. x and a must not overlap. */\n"
        "static inline void NAME_predict_with(const NAME_parameters *p, const REAL *x, REAL *a) {\n"
        f"{lines}}}\n\n"
        "/* a^L for one sample: x[CAPITALS_INPUTS] in, a[CAPITALS_OUTPUTS] out. */\n"
        "static inline void NAME_predict(const REAL *x, REAL *a) { NAME_predict_with(&NAME_trained, x, a); }\n"
    )


def _classify(net: Network) -> str:
    if net.sizes[-1] == 1:
        found = "    return a[0] > 0.5;\n"
    else:
        found = (
            "    int best = 0;\n"
            "    for (int j = 1; j < CAPITALS_OUTPUTS; j++) best = a[j] > a[best] ? j : best;\n"
            "    return best;\n"
        )
    above = "the output above a half" if net.sizes[-1] == 1 else "the largest output"
    return (
        f"/* The number of the class of x, from 0: {above}. */\n"
        "static inline int NAME_classify(const REAL *x) {\n"
        f"    REAL a[CAPITALS_OUTPUTS];\n    NAME_predict(x, a);\n{found}}}\n"
    )


def _class(classes: Any, name: str) -> str:
    """The function that names the class of a number; none where a class is its number."""
    if classes is None or (classes.dtype.kind in "iu" and np.array_equal(classes, np.arange(len(classes)))):
        return ""
    words = classes.dtype.kind == "U"
    kind, element = ("const char *", "const char *const") if words else ("long long ", "const long long")
    table = ",\n        ".join(_c_string(str(one)) if words else f"{int(one)}LL" for one in classes)
    return (
        f"/* The class of a number that {name}_classify gives. */\n"
        f"static inline {kind}{name}_class(int number) {{\n"
        f"    static {element} classes[] = {{\n        {table}\n    }};\n    return classes[number];\n}}\n\n"
    )


def _trace(net: Network) -> str:
    fields = "".join(f"    REAL a{l}[{net.sizes[l]}], delta{l}[{net.sizes[l]}];\n" for l in range(1, net.L + 1))
    about = "/* What the two passes leave behind: a^l, and delta^l = dC/dz^l. */"
    return f"{about}\ntypedef struct {{\n{fields}}} NAME_trace;\n"


def _backprop(net: Network) -> str:
    n, L = net.sizes, net.L
    lines, below = "", "x"
    for l in range(1, L):
        sigma = net.activations[l].name
        slope = "1.0" if sigma == "identity" else f"NAME_{sigma}_slope(t->a{l}[j])"
        lines += f"    NAME_weigh(p->W{l}, p->b{l}, {below}, {n[l - 1]}, {n[l]}, t->a{l});\n"
        lines += f"    for (int j = 0; j < {n[l]}; j++) t->delta{l}[j] = {slope};\n"
        lines += _apply(sigma, f"t->a{l}", n[l])
        below = f"t->a{l}"
    lines += f"    NAME_weigh(p->W{L}, p->b{L}, {below}, {n[L - 1]}, {n[L]}, a);\n"
    lines += _output(net.output.name, net.cost.name, n[L])
    for l in range(L - 1, 0, -1):
        lines += f"    NAME_back(p->W{l + 1}, t->delta{l + 1}, {n[l]}, {n[l + 1]}, t->delta{l});  /* BP2 */\n"
    return (
        f"/* Both passes over one sample, target y[CAPITALS_OUTPUTS]; returns C ({net.cost.name}). */\n"
        "static inline REAL NAME_backprop(const NAME_parameters *p, const REAL *x, const REAL *y, NAME_trace *t) {\n"
        f"    REAL C = 0.0, *a = t->a{L}, *delta = t->delta{L};\n{lines}    return C;\n}}\n"
    )


def _output(output: str, cost: str, count: int) -> str:
    """From z^L, in `a`, to C, a^L and delta^L: BP1."""
    each = f"    for (int j = 0; j < {count}; j++) "
    if (output, cost) in JOINED:
        lines = ""
        if output == "softmax":
            lines += "    REAL top = a[0], total = 0.0, all = 0.0;\n"
            lines += f"{each}top = a[j] > top ? a[j] : top;\n"
            lines += f"{each}total += exp(a[j] - top);\n"
            lines += f"{each}all += y[j];\n"
            lines += "    total = log(total) + top;\n"
        lines += f"{each}{COST_OF_Z[cost]}\n{_apply(output, 'a', count)}"
        return lines + f"{each}delta[j] = a[j]{' * all' if output == 'softmax' else ''} - y[j];  /* BP1 */\n"
    value, grad = COST[cost]
    if output == "softmax":
        lines = f"{_apply(output, 'a', count)}    REAL inner = 0.0;\n{each}C += {value};\n{each}delta[j] = {grad};\n"
        lines += f"{each}inner += delta[j] * a[j];\n"
        return lines + f"{each}delta[j] = a[j] * (delta[j] - inner);  /* BP1 */\n"
    slope = "1.0" if output == "identity" else f"NAME_{output}_slope(a[j])"
    lines = f"{each}delta[j] = {slope};\n{_apply(output, 'a', count)}{each}C += {value};\n"
    return lines + f"{each}delta[j] *= {grad if '?' not in grad and '-' not in grad else f'({grad})'};  /* BP1 */\n"


def _learn(net: Network) -> str:
    n = net.sizes
    lines = ""
    for l in range(1, net.L + 1):
        below = "x" if l == 1 else f"t->a{l - 1}"
        lines += (
            f"    NAME_descend(p->W{l}, p->b{l}, t->delta{l}, {below}, {n[l - 1]}, {n[l]}, eta);  /* BP3, BP4 */\n"
        )
    return (
        "/* One step of gradient descent on one sample; returns C before it. */\n"
        "static inline REAL NAME_learn(NAME_parameters *p, const REAL *x, const REAL *y, REAL eta, NAME_trace *t) {\n"
        f"    const REAL C = NAME_backprop(p, x, y, t);\n{lines}    return C;\n}}\n"
    )


def _c_string(text: str) -> str:
    """A string constant: ASCII as it is, all else as octal bytes of UTF-8."""
    plain = set(range(32, 127)) - set(b'"\\?')
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode()) + '"'


def _about(net: Network, name: str, backward: bool) -> str:
    """The comment at the top."""
    import deltarule

    size, count = net.dtype.itemsize, sum(W.size + b.size for W, b in zip(net.W, net.b, strict=True))
    lines = [
        f"{net!r}",
        f"Written by deltarule {deltarule.__version__}. C99, or C++11; no memory is allocated.",
        f"Input: x[{net.sizes[0]}]. Output: a[{net.sizes[-1]}], {net.output.name}.",
        f"Memory: {count * size:,} bytes of constants, and {_scratch(net):,} bytes of stack for a prediction.",
    ]
    if backward:
        each = 2 * sum(net.sizes[1:]) * size
        lines.append(
            f"To learn: {count * size:,} bytes of {name}_parameters and {each:,} of {name}_trace, in memory."
        )
    if net.classes is not None:
        words = net.classes.dtype.kind == "U"
        names = [_c_string(str(one)) if words else str(one) for one in net.classes]
        lines.append("Classes: " + ", ".join(f"{i}: {one}" for i, one in enumerate(names)) + ".")
    safe = [line.replace("*/", "* /").replace("/*", "/ *") for line in lines]
    wrapped = [textwrap.fill(line, 110, initial_indent="   ", subsequent_indent="     ") for line in safe]
    return "/* " + "\n".join(wrapped).lstrip() + " */"
