"""skl2onnx learns the estimators of `deltarule.sklearn`: alone, and in a Pipeline behind what it knows already."""

from __future__ import annotations

from typing import Any

import numpy as np

from deltarule.errors import BadInput, MissingExtra
from deltarule.interop.onnx_model import Graph, Parts
from deltarule.sklearn import MLPClassifier, MLPRegressor

LEAST_OPSET = 13
"""Softmax and Squeeze mean since then what they are written for here."""


def register() -> None:
    """Tell skl2onnx how to convert MLPClassifier and MLPRegressor; to be called once, before a conversion.

    The converted estimator counts in double where its input is declared a DoubleTensorType, else in float. The
    classifier gives `label` and `probabilities` and knows the usual options, `zipmap` among them; labels may be
    words, integers, or a multilabel indicator. The regressor gives (N, n_outputs).

    Raises
    ------
    MissingExtra
        Without skl2onnx: ``pip install "deltarule[onnx]"``.
    BadInput
        In the conversion: for an activation of your own, or a target_opset before 13.

    Examples
    --------
    >>> import numpy as np, onnxruntime, skl2onnx
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> register()
    >>> X, y = load_iris(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), MLPClassifier((8,), solver="lbfgs", random_state=0)).fit(X, y)
    >>> onnx = skl2onnx.to_onnx(model, X[:1].astype("float32"), options={"zipmap": False})
    >>> session = onnxruntime.InferenceSession(onnx.SerializeToString(), providers=["CPUExecutionProvider"])
    >>> label, probabilities = session.run(None, {"X": X.astype("float32")})
    >>> np.array_equal(label, model.predict(X)), np.allclose(probabilities, model.predict_proba(X), atol=1e-4)
    (True, True)
    """
    try:
        from skl2onnx import update_registered_converter
        from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes
    except ImportError as error:
        raise MissingExtra('this needs skl2onnx: pip install "deltarule[onnx]"') from error

    update_registered_converter(
        MLPClassifier,
        "DeltaruleMLPClassifier",
        calculate_linear_classifier_output_shapes,
        _convert_classifier,
        options={"zipmap": [True, False, "columns"], "output_class_labels": [False, True], "nocl": [True, False]},
    )
    update_registered_converter(MLPRegressor, "DeltaruleMLPRegressor", _regressor_shape, _convert_regressor)


def _dtype(operator: Any) -> str:
    """What the converted estimator counts in."""
    from skl2onnx.common.data_types import DoubleTensorType

    return "float64" if isinstance(operator.inputs[0].type, DoubleTensorType) else "float32"


def _regressor_shape(operator: Any) -> None:
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    kind = DoubleTensorType if _dtype(operator) == "float64" else FloatTensorType
    N = operator.inputs[0].get_first_dimension()
    operator.outputs[0].type = kind([N, operator.raw_operator.n_outputs_])


def _convert_regressor(scope: Any, operator: Any, container: Any) -> None:
    _Addition(scope, operator, container).end({"a": operator.outputs[0].full_name})


def _convert_classifier(scope: Any, operator: Any, container: Any) -> None:
    model = operator.raw_operator
    made = _Addition(scope, operator, container)
    label, probabilities = (output.full_name for output in operator.outputs[:2])
    parts = Parts(made.graph, "output")
    int64 = made.graph.onnx.TensorProto.INT64
    if model._label_binarizer.y_type_ == "multilabel-indicator":
        made.graph.add("Cast", [parts("Greater", "a", 0.5)], "label", to=int64)
    else:
        words = model.classes_.dtype.kind in "UO"
        made.graph.label(np.array(model.classes_, dtype=np.str_ if words else np.int64))
    if model.n_outputs_ == 1:
        made.graph.add("Concat", [parts("Sub", 1.0, "a"), "a"], "both", axis=1)
        made.end({"label": label, "both": probabilities})
    else:
        made.end({"label": label, "a": probabilities})


class _Addition:
    """The network's graph, under names that are free in the model that it becomes a part of."""

    def __init__(self, scope: Any, operator: Any, container: Any) -> None:
        if container.target_opset < LEAST_OPSET:
            raise BadInput(f"target_opset is {container.target_opset}; these estimators need {LEAST_OPSET} or later")
        self.scope, self.operator, self.container = scope, operator, container
        self.graph = Graph(operator.raw_operator.network_.astype(_dtype(operator)))

    def end(self, outputs: dict[str, str]) -> None:
        """Hand all nodes and constants over; `outputs` says which values become which outputs of the model."""
        helper = self.graph.onnx.helper
        known: dict[str, str] = {}

        def free(name: str) -> str:
            if name not in known:
                known[name] = self.scope.get_unique_variable_name(f"deltarule_{name}")
            return known[name]

        cast = {"to": self.graph.type}
        self.container.add_node("Cast", [self.operator.inputs[0].full_name], [free("x")], name=free("Cast"), **cast)
        for one in self.graph.initializers:
            words = one.data_type == self.graph.onnx.TensorProto.STRING
            values = list(one.string_data) if words else self.graph.onnx.numpy_helper.to_array(one).ravel()
            self.container.add_initializer(free(one.name), one.data_type, list(one.dims), values)
        for node in self.graph.nodes:
            attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
            inputs, made = ([free(name) for name in names] for names in (node.input, node.output))
            self.container.add_node(
                node.op_type, inputs, made, name=free(f"{node.op_type}_{node.name}"), **attributes
            )
        for name, output in outputs.items():
            self.container.add_node("Identity", [free(name)], [output], name=free(f"Identity_{name}"))
