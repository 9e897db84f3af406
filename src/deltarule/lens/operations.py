"""What an operation of the backward graph is called, and what kind of step it is for the error.

PyTorch names a node after its operation, `ReluBackward0`. Those names are the key; an operation that is not in
the table keeps its own name, in small letters, and counts as "other": it is measured like any, and judged by its
size alone.
"""

from __future__ import annotations

import re

WEIGHTS = {
    "Addmm": "linear",
    "Mm": "linear",
    "Linear": "linear",
    "Mv": "linear",
    "Addmv": "linear",
    "Convolution": "convolution",
    "ConvolutionOverrideable": "convolution",
    "MkldnnConvolution": "convolution",
    "Embedding": "embedding",
    "EmbeddingBag": "embedding",
    "MkldnnRnnLayer": "lstm",
    "CudnnRnn": "rnn",
    "Bilinear": "bilinear",
}
"""The error moves through weights. `Mm` of two activations has none; see :func:`kind`."""

PRODUCTS = {"Bmm": "matmul", "Baddbmm": "matmul", "Dot": "dot", "Matmul": "matmul"}
"""Weights where one factor is a parameter; otherwise a product of two activations, as in attention."""

ATTENTION = "ScaledDotProduct"
"""How the fused attentions' names begin; their operands are the query, the key and the value."""

ACTIVATIONS = {
    "Relu": "relu",
    "Threshold": "relu",
    "Hardtanh": "hardtanh",
    "LeakyRelu": "leaky_relu",
    "Elu": "elu",
    "Celu": "celu",
    "Selu": "selu",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Gelu": "gelu",
    "Silu": "silu",
    "Mish": "mish",
    "Softplus": "softplus",
    "Hardswish": "hardswish",
    "Hardsigmoid": "hardsigmoid",
    "LogSigmoid": "log_sigmoid",
    "Glu": "glu",
    "PreluKernel": "prelu",
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
    "SafeSoftmax": "softmax",
}

PEAKS = {"sigmoid": 0.25, "tanh": 1.0, "log_sigmoid": 1.0}
"""The steepest slope of the activations that flatten out on both sides, or for good on one."""

RECTIFIERS = {"relu", "hardtanh", "prelu"}
"""Activations whose slope can be 0 for every sample."""

NORMALISATIONS = {
    "NativeBatchNorm": "batch_norm",
    "CudnnBatchNorm": "batch_norm",
    "MiopenBatchNorm": "batch_norm",
    "NativeBatchNormLegit": "batch_norm",
    "BatchNormWithUpdate": "batch_norm",
    "NativeLayerNorm": "layer_norm",
    "FusedRmsNorm": "rms_norm",
    "NativeGroupNorm": "group_norm",
}

ADDITIONS = {"Add": "addition", "Sub": "subtraction", "Addcmul": "addition", "Addcdiv": "addition"}

POOLINGS = ("AvgPool", "MaxPool", "AdaptiveAvgPool", "AdaptiveMaxPool", "Mean", "Sum", "Upsample", "Amax", "Max")

LOSSES = ("NllLoss", "MseLoss", "BinaryCrossEntropy", "HuberLoss", "SmoothL1Loss", "KlDiv", "CtcLoss", "L1Loss")

KEEPS = {
    *("View", "UnsafeView", "ReshapeAlias", "Reshape", "Permute", "Transpose", "T", "Mt", "Squeeze", "Unsqueeze"),
    *("Alias", "Clone", "Select", "Slice", "Narrow", "Flip", "Roll", "Identity", "Flatten"),
}
"""Shape alone: every number goes back as it is, to one place, so the length of the error stays."""

SHAPES = {
    *KEEPS,
    *("Expand", "Cat", "Stack", "Split", "SplitWithSizes", "UnsafeSplit", "UnsafeSplitWithSizes", "Unbind", "Chunk"),
    *("ToCopy", "AsStrided", "Index", "IndexSelect", "Gather", "ConstantPadNd", "Repeat", "CopySlices", "Copy"),
    "RegisterPostBackwardFunction",  # fully_shard's, where a module's inputs enter it
    *("CopyBackwards", "ReflectionPad1D", "ReflectionPad2D", "ReplicationPad1D", "ReplicationPad2D", "PixelShuffle"),
}

COMPILED = "CompiledFunction"

_TAIL = re.compile(r"Backward\d*$")
_LOWER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_PLANE = re.compile(r"(\d)D")


def base(name: str) -> str:
    """The operation's own name.

    >>> base("ReluBackward0"), base("torch::autograd::AccumulateGrad"), base("SqueezeBackward1")
    ('Relu', 'AccumulateGrad', 'Squeeze')
    """
    return _TAIL.sub("", name.rsplit("::", 1)[-1])


def kind(name: str, has_parameter: bool = False) -> tuple[str, str]:
    """What users call an operation, and the step that the error takes there.

    >>> kind("AddmmBackward0"), kind("GeluBackward0"), kind("MaxPool2DWithIndicesBackward0")
    (('linear', 'weights'), ('gelu', 'activation'), ('max_pool2d_with_indices', 'pooling'))
    >>> kind("BmmBackward0"), kind("BmmBackward0", has_parameter=True), kind("MyOwnBackward")
    (('matmul', 'product'), ('matmul', 'weights'), ('my_own', 'other'))
    """
    own = base(name)
    word = _LOWER.sub("_", _PLANE.sub(r"\1d_", own)).strip("_").lower()
    for table, step in (
        (WEIGHTS, "weights"),
        (ACTIVATIONS, "activation"),
        (NORMALISATIONS, "normalisation"),
        (ADDITIONS, "addition"),
    ):
        if own in table:
            return table[own], step
    if own in PRODUCTS:
        return PRODUCTS[own], "weights" if has_parameter else "product"
    if own.startswith(ATTENTION):
        return "attention", "product"
    if own == COMPILED:
        return "compiled region", "compiled"
    if own.startswith(POOLINGS):
        return word, "pooling"
    if own.startswith(LOSSES):
        return word, "loss"
    return word, "shape" if own in SHAPES else "other"
