"""A stretch of a flat array, as an array.

Numba's own slice is made for any bounds and counts references; it takes fifty instructions, and there are a hundred
stretches. This one takes five: the bounds are in order and inside.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core.imputils import impl_ret_borrowed
from numba.extending import intrinsic


@intrinsic
def stretch(typing: Any, array: Any, low: Any, high: Any) -> Any:
    """array[low:high] of a one-dimensional array, 0 <= low <= high <= its size."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        whole = context.make_array(array)(context, builder, args[0])
        part = context.make_array(array)(context, builder)
        count = builder.sub(args[2], args[1])
        part.meminfo, part.parent = whole.meminfo, whole.parent
        part.itemsize, part.strides = whole.itemsize, whole.strides
        part.nitems = count
        part.shape = builder.insert_value(whole.shape, count, 0)
        part.data = builder.gep(whole.data, [args[1]])
        return impl_ret_borrowed(context, builder, array, part._getvalue())  # counted, where references are

    return array(array, types.intp, types.intp), emit
