"""What to do about a fault in a PyTorch model, in words and in code."""

from __future__ import annotations

from deltarule.flow import Move
from deltarule.verdicts import number

FORWARD = (
    "look at the forward pass: a learning rate too high, a division or logarithm of 0, or float16 beyond 65504; "
    "torch.isfinite(x).all() after each module finds where"
)

UNDERFLOW = (
    "scale the loss (torch.amp.GradScaler: scaler.scale(loss).backward()), or take torch.bfloat16, whose exponents "
    "reach as far as float32's"
)

DEAD = (
    "draw these layers' weights anew with biases of 0 (torch.nn.init.kaiming_normal_), lower the learning rate, or "
    "take torch.nn.LeakyReLU or GELU, which always pass some error on"
)

SOFTMAX = (
    "make its input smaller: divide the scores by sqrt(d) of the keys, normalise queries and keys, or lower their "
    "weights or the learning rate"
)

SINGULAR = {
    "sqrt": "torch.sqrt(x + eps)",
    "log": "torch.log(x + eps), or torch.nn.functional.log_softmax",
    "pow": "(x + eps) ** p",
    "rsqrt": "torch.rsqrt(x + eps)",
    "div": "x / (y + eps)",
    "reciprocal": "1 / (x + eps)",
    "acos": "torch.acos(x.clamp(-1 + eps, 1 - eps))",
    "asin": "torch.asin(x.clamp(-1 + eps, 1 - eps))",
    "atan2": "torch.atan2(y, x + eps)",
    "linalg_vector_norm": "torch.sqrt((x * x).sum() + eps)",
    "norm": "torch.sqrt((x * x).sum() + eps)",
}
"""Operations whose slope has no size somewhere, and how they are written so that it has."""


def not_finite(move: Move) -> str:
    """For an operation that makes NaN or infinity of an error that was finite."""
    if move.op in SINGULAR:
        return (
            f"its slope is infinite at the edge of its domain; write {SINGULAR[move.op]}. A torch.where after it "
            "does not help, for 0 times infinity is NaN: put one before it, so that it never sees that value"
        )
    if move.dtype == "float16":
        return "the value left float16's range; lower the scale of the loss or take torch.bfloat16"
    return "find the value at which its slope has no size, and keep it out of the operation's input"


def overscaled(scale: float) -> str:
    """For an error that was finite until a gradient scaler's factor was on it."""
    return (
        f"nothing, if it is rare: the gradient scaler's factor {scale:g} was too large, it skips this step and "
        "lowers the factor; if it goes on while that falls, the model's own error grows: look at the largest gains"
    )


def zero(move: Move) -> str:
    """For an operation that leaves nothing."""
    if move.step == "weights":
        return (
            f"its weights are 0 or cancel each other: draw them anew, torch.nn.init.kaiming_normal_({weight(move)})"
        )
    if move.step == "normalisation":
        return "its weight is 0: begin with 1"
    if move.step == "activation":
        return DEAD if move.op == "relu" else saturated(move)
    return "nothing passes here for any sample: look for a product with 0, a mask that is all 0, or rounding"


def saturated(move: Move) -> str:
    """For a sigmoid or tanh that is flat for most samples."""
    if move.op == "softmax":
        return SOFTMAX
    return (
        "make its input smaller: scale what comes into the model to mean 0 and deviation 1, draw the weights before "
        "it with torch.nn.init.xavier_normal_, put a normalisation before it, or lower the learning rate"
    )


def size(word: str, move: Move, mean: float, repeated: bool) -> str:
    """For an error that vanishes or explodes over many operations; `mean` is the gain of a layer."""
    each = f"each layer now multiplies the error by {number(mean)}"
    if repeated:
        return (
            "keep the recurrent weights near a rotation (torch.nn.init.orthogonal_ on weight_hh), clip with "
            "torch.nn.utils.clip_grad_norm_, or take LSTM or GRU cells" + f"; {each}"
        )
    if word == "exploding":
        return (
            f"{each}: draw the weights anew with torch.nn.init.kaiming_normal_, or multiply those of each layer by "
            f"{number(1 / mean)}, or normalise"
        )
    if move.op in ("sigmoid", "tanh", "softmax", "hardsigmoid"):
        other = "GELU or ReLU" if move.op != "sigmoid" else "Tanh, GELU or ReLU"
        return (
            f"take {other} in place of {move.op} with weights drawn for it, or lead the error past it with residual "
            f"additions; {each}"
        )
    return (
        f"{each}: draw the weights with torch.nn.init.kaiming_normal_, or multiply those of each layer by "
        f"{number(1 / mean)}, or put normalisations or residual additions between"
    )


def residual(path: str, count: int) -> str:
    """For a block that has fewer residual additions than its sisters."""
    if count:
        return f"look in {path}'s forward for the part whose input is not added to what it returns: x + part(x)"
    return f"add its input to what it returns, as its sisters do: x + {path}(x)"


def detached(unknown: bool) -> str:
    """For a part of the model that no error reaches."""
    text = "look for .detach(), .item(), .data, .numpy() or torch.no_grad() between it and the loss"
    if unknown:
        text += "; run the forward pass inside `with watch(model)` to learn whether it took part in it at all"
    return text


def frozen(path: str) -> str:
    """For parameters that do not learn."""
    return f"nothing, where that is meant; else model.get_submodule({path!r}).requires_grad_(True)"


def weight(move: Move) -> str:
    """A module's weight as the user writes it."""
    return f"model.get_submodule({move.name!r}).weight"
