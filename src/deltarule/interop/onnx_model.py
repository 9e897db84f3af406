"""A network as an ONNX model: one Gemm and one activation a layer, in the network's dtype.

The opset is 17 of 2022, which runtimes of that year and since read. Some runtimes compute Elu, Selu, Softplus,
Softsign and Erf in float32 alone (ONNX Runtime is one): in float64 these are written in operators that they have.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from deltarule.activations import LEAK, SELU_ALPHA, SELU_SCALE
from deltarule.errors import BadInput, MissingExtra
from deltarule.network import Network
from deltarule.store import architecture, write_whole

OPSET = 17
IR_VERSION = 8
MOST_BYTES = 2**31 - 2**20
"""A protocol buffer holds less than 2 GiB; a mebibyte is left for the graph."""

NATIVE: dict[str, tuple[str, dict[str, float]]] = {
    "sigmoid": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "relu": ("Relu", {}),
    "leaky_relu": ("LeakyRelu", {"alpha": LEAK}),
    "elu": ("Elu", {"alpha": 1.0}),
    "selu": ("Selu", {"alpha": SELU_ALPHA, "gamma": SELU_SCALE}),
    "softplus": ("Softplus", {}),
    "softsign": ("Softsign", {}),
    "identity": ("Identity", {}),
    "exp": ("Exp", {}),
    "softmax": ("Softmax", {"axis": 1}),
}
"""The activations that are one operator."""

SINGLE_ONLY = {"elu", "selu", "softplus", "softsign", "leaky_relu"}
"""Those whose operator runtimes may lack in float64, or whose attribute, a float32, would round the constant."""


def to_onnx(net: Network, path: str | Path, *, layers: bool = False) -> None:
    """Write the network as an ONNX model, whole or not at all.

    z^l = Gemm(a^{l-1}, W^l, b^l) and a^l = sigma(z^l), in the network's dtype, for any number of rows.

    Parameters
    ----------
    net : Network
    path : str or Path
        Ends in `.onnx` by custom.
    layers : bool
        Give every z^l and a^l out too, so that the model can be compared layer by layer.

    Notes
    -----
    Input: ``x`` (N, n_0). Outputs, in this order: ``a`` (N, n_L), what `predict` returns; ``label`` (N,), what
    `classify` returns, strings or int64, where the network knows its classes; with `layers`: ``z1``, ``a1``, ..
    ``z{L}``. The parameters are the initialisers ``W1``, ``b1``, .. as (n_l, n_{l-1}) and (n_l,). The metadata
    holds the architecture under ``deltarule`` and the classes under ``classes``, as JSON.

    Raises
    ------
    BadInput
        An activation of your own, which ONNX has no operator for; 2 GiB of parameters or more; a folder as path.
    MissingExtra
        Without onnx: ``pip install "deltarule[onnx]"``.

    Examples
    --------
    >>> import deltarule as dr, onnxruntime, pathlib, tempfile
    >>> net = dr.Network([4, 8, 3], activation="gelu", output="softmax", cost="log_likelihood", seed=0)
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "net.onnx"
    >>> to_onnx(net, path)
    >>> session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    >>> x = np.eye(4, dtype="float32")
    >>> (a,) = session.run(["a"], {"x": x})
    >>> np.allclose(a, net.predict(x), atol=1e-6)
    True
    """
    if Path(path).is_dir():
        raise BadInput(f"{path} is a folder; expected the name of a file: {Path(path) / 'net.onnx'}")
    write_whole(Path(path), onnx_model(net, layers=layers).SerializeToString(deterministic=True))


def onnx_model(net: Network, *, layers: bool = False) -> Any:
    """The ONNX model as a checked `onnx.ModelProto`; see :func:`to_onnx`."""
    try:
        import onnx
    except ImportError as error:
        raise MissingExtra('writing ONNX needs onnx: pip install "deltarule[onnx]"') from error
    if net.theta.nbytes > MOST_BYTES:
        raise BadInput(f"the parameters take {net.theta.nbytes:,} bytes; an ONNX file holds less than 2 GiB")

    import deltarule

    graph = Graph(net)
    outputs = [graph.value("a", net.sizes[-1])]
    if net.classes is not None:
        outputs.append(graph.label(net.classes))
    if layers:
        for l in range(1, net.L + 1):
            outputs += [graph.value(f"z{l}", net.sizes[l])]
            outputs += [graph.value(f"a{l}", net.sizes[l])] if l < net.L else []

    helper = onnx.helper
    made = helper.make_graph(graph.nodes, "network", [graph.value("x", net.sizes[0])], outputs, graph.initializers)
    model = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="deltarule",
        producer_version=deltarule.__version__,
        doc_string=repr(net),
    )
    about = {"deltarule": json.dumps(architecture(net), sort_keys=True)}
    if net.classes is not None:
        about["classes"] = json.dumps(net.classes.tolist())
    helper.set_model_props(model, about)
    onnx.checker.check_model(model, full_check=True)
    return model


class Graph:
    """The nodes and constants that compute `a` from `x`, and what else is added."""

    def __init__(self, net: Network) -> None:
        import onnx

        self.onnx = onnx
        self.n_L = net.sizes[-1]
        self.dtype = net.dtype
        self.type = onnx.helper.np_dtype_to_tensor_dtype(net.dtype)
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._layers(net)

    def _layers(self, net: Network) -> None:
        own = [l for l in net.activations.layers if net.activations[l].custom]
        if own:
            raise BadInput(
                f"layer {own[0]} has an activation of your own, {net.activations[own[0]].name!r}; ONNX has no "
                "operator for it. Export a copy with a named one, net.copy(activation=...), or the weights with "
                "net.save(path)"
            )
        a = "x"
        for l in range(1, net.L + 1):
            W, b = self.constant(net.W[l], f"W{l}"), self.constant(net.b[l], f"b{l}")
            z = self.add("Gemm", [a, W, b], f"z{l}", transB=1)
            a = self.activation(net.activations[l].name, z, "a" if l == net.L else f"a{l}")

    def value(self, name: str, width: int) -> Any:
        """The description of an input or output, N rows of `width` numbers."""
        return self.onnx.helper.make_tensor_value_info(name, self.type, ["N", width])

    def constant(self, values: Any, name: str) -> str:
        """A constant of the model, once for each name."""
        if all(known.name != name for known in self.initializers):
            self.initializers.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def number(self, value: float) -> str:
        """One number in the network's dtype."""
        return self.constant(self.dtype.type(value), f"number_{value!r}")

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """One node; returns the name of what it gives."""
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def activation(self, name: str, z: str, a: str) -> str:
        """a = sigma(z)."""
        double = self.dtype == np.float64
        if name in NATIVE and not (double and name in SINGLE_ONLY):
            operator, attributes = NATIVE[name]
            return self.add(operator, [z], a, **attributes)
        parts = Parts(self, z)
        if name == "silu":
            return self.add("Mul", [z, parts("Sigmoid", z)], a)
        if name == "gelu":
            return self.add("Mul", [z, parts.normal_below(z) if double else parts.normal_below_by_erf(z)], a)
        if name == "softsign":
            return self.add("Div", [z, parts("Add", parts("Abs", z), 1.0)], a)
        if name == "softplus":
            decay = parts("Exp", parts("Neg", parts("Abs", z)))
            return self.add("Add", [parts("Relu", z), parts("Log", parts("Add", decay, 1.0))], a)
        left, right = parts("Min", z, 0.0), parts("Relu", z)
        if name == "leaky_relu":
            return self.add("Add", [right, parts("Mul", left, LEAK)], a)
        below = parts("Sub", parts("Exp", left), 1.0)
        if name == "elu":
            return self.add("Add", [right, below], a)
        assert name == "selu", name
        return self.add("Add", [parts("Mul", right, SELU_SCALE), parts("Mul", below, SELU_SCALE * SELU_ALPHA)], a)

    def label(self, classes: Any) -> Any:
        """The class of each row as the output `label`: of the largest output, or of one output above a half."""
        int64 = self.onnx.TensorProto.INT64
        words = classes.dtype.kind == "U"
        table = self.constant(classes.astype(object if words else np.int64), "classes")
        parts = Parts(self, "label")
        if self.n_L == 1:
            column = parts("Cast", parts("Greater", "a", 0.5), to=int64)
            code = parts("Squeeze", column, self.constant(np.array([1]), "axis_1"))
        else:
            code = parts("ArgMax", "a", axis=1, keepdims=0)
        self.add("Gather", [table, code], "label")
        kind = self.onnx.TensorProto.STRING if words else int64
        return self.onnx.helper.make_tensor_value_info("label", kind, ["N"])


class Parts:
    """The intermediate values of one formula, named after what they belong to."""

    def __init__(self, graph: Graph, owner: str) -> None:
        self.graph, self.owner, self.count = graph, owner, 0

    def __call__(self, operator: str, *inputs: str | float, **attributes: Any) -> str:
        names = [one if isinstance(one, str) else self.graph.number(one) for one in inputs]
        self.count += 1
        return self.graph.add(operator, names, f"{self.owner}_part{self.count}", **attributes)

    def normal_below_by_erf(self, z: str) -> str:
        """Phi(z) = (1 + erf(z / sqrt 2)) / 2."""
        return self("Mul", self("Add", self("Erf", self("Mul", z, 0.5**0.5)), 1.0), 0.5)

    def normal_below(self, z: str) -> str:
        """Phi(z) without the operator Erf: e^-u^2 erfcx(u) / 2 with u = |z| / sqrt 2, or 1 less that where z > 0.

        erfcx(u) = e^u^2 erfc(u) is smooth in s = (u - 2) / (u + 2), which runs from -1 to 1: a polynomial in s,
        by Horner's scheme.
        """
        u = self("Mul", self("Abs", z), 0.5**0.5)
        s = self("Div", self("Sub", u, 2.0), self("Add", u, 2.0))
        first, *rest = erfcx_coefficients()[::-1]
        sum_ = self("Add", self("Mul", s, first), rest[0])
        for coefficient in rest[1:]:
            sum_ = self("Add", self("Mul", sum_, s), coefficient)
        tail = self("Mul", self("Mul", self("Exp", self("Neg", self("Mul", u, u))), sum_), 0.5)
        return self("Where", self("Greater", z, 0.0), self("Sub", 1.0, tail), tail)


def erfcx_coefficients(degree: int = 24) -> list[float]:
    """erfcx(2 (1 + s) / (1 - s)) for s in [-1, 1] as a polynomial in s, lowest power first.

    >>> import numpy as np
    >>> from scipy.special import erfcx
    >>> u = np.linspace(0, 25, 1001)
    >>> close = np.polynomial.polynomial.polyval((u - 2) / (u + 2), erfcx_coefficients())
    >>> bool(np.abs(close / erfcx(u) - 1).max() < 1e-13)
    True
    """
    from scipy.special import erfcx

    def over_s(s: Any) -> Any:
        return erfcx(2 * (1 + s) / np.maximum(1 - s, 1e-300))

    chebyshev = np.polynomial.chebyshev.chebinterpolate(over_s, degree)
    return [float(one) for one in np.polynomial.chebyshev.cheb2poly(chebyshev)]
