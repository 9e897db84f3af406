"""Networks out of deltarule and into it: ONNX, PyTorch, C; and our numeric check for any PyTorch module.

PyTorch and ONNX are imported when a function needs them, and asked for by name where they are not installed.

>>> from deltarule.interop import check_backward, from_torch, to_c, to_onnx, to_torch
"""

from deltarule.interop.c_header import to_c
from deltarule.interop.gradient_records import BackwardCheck, GradientFinding
from deltarule.interop.onnx_model import to_onnx
from deltarule.interop.torch_check import check_backward
from deltarule.interop.torch_stack import from_torch, to_torch

__all__ = ["BackwardCheck", "GradientFinding", "check_backward", "from_torch", "to_c", "to_onnx", "to_torch"]
