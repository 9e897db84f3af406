"""The two register-blocked inner kernels, written in the machine's vectors.

A loop over scalars leaves it to the compiler whether it becomes vectors and how many sums stay in
registers. Here both are stated: each function emits the code of one block whose sums live in registers
from the first product to the last, and Numba puts that code where it is called.

``dots``     sums along the contiguous axis of both operands:  Z[i, j] = sum_k A[i, k] W[j, k] + b[j]
``combine``  adds up scaled rows:  C[r, k] = keep C[r, k] + scale sum_t X[r, t] Y[t, k]

The first is a layer's forward pass. The second is the move through the transposed weights (rows of W,
scaled by delta), the weight gradient (rows of a, scaled by delta), and SGD's update in the same pass.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

WIDE = bool(llvmlite.binding.get_host_cpu_features().get("avx512f", False))
VECTOR_BYTES = 64 if WIDE else 32
"""The width of a vector register."""

ROWS, COLUMNS = (6, 4) if WIDE else (3, 4)
"""How many samples times neurons `dots` sums at once: 24 sums in 32 registers, or 12 in 16."""

PANEL = 4 if WIDE else 2
"""How many vectors wide a row of `combine` is; with ROWS_COMBINED rows it fills the registers."""

ROWS_COMBINED = 6

I32, I64 = ir.IntType(32), ir.IntType(64)


class _Vectors:
    """Emits operations on vectors of one dtype."""

    def __init__(self, builder: Any, dtype: Any) -> None:
        self.builder = builder
        self.scalar = ir.FloatType() if dtype.bitwidth == 32 else ir.DoubleType()
        self.bytes = dtype.bitwidth // 8
        self.lanes = VECTOR_BYTES // self.bytes
        self.type = ir.VectorType(self.scalar, self.lanes)
        self.zero = ir.Constant(self.type, [0.0] * self.lanes)
        self.suffix = f"v{self.lanes}f{dtype.bitwidth}"

    def sums(self, count: int) -> list[Any]:
        """`count` vectors of sums, zero; LLVM keeps them in registers."""
        slots = [cgutils.alloca_once(self.builder, self.type) for _ in range(count)]
        for slot in slots:
            self.builder.store(self.zero, slot)
        return slots

    def mask(self, count: Any) -> Any:
        """The first `count` lanes."""
        numbers = ir.VectorType(I64, self.lanes)
        index = ir.Constant(numbers, list(range(self.lanes)))
        return self.builder.icmp_signed("<", index, self._everywhere(count, numbers))

    def _everywhere(self, value: Any, kind: Any) -> Any:
        undefined = ir.Constant(kind, ir.Undefined)
        first = self.builder.insert_element(undefined, value, I32(0))
        return self.builder.shuffle_vector(
            first, undefined, ir.Constant(ir.VectorType(I32, self.lanes), [0] * self.lanes)
        )

    def spread(self, value: Any) -> Any:
        """One number in every lane."""
        return self._everywhere(value, self.type)

    def _intrinsic(self, name: str, result: Any, arguments: list[Any], values: list[Any]) -> Any:
        function = cgutils.get_or_insert_function(self.builder.module, ir.FunctionType(result, arguments), name)
        return self.builder.call(function, values)

    def load(self, start: Any, offset: Any, mask: Any = None) -> Any:
        place = self._vector_at(start, offset)
        if mask is None:
            value = self.builder.load(place)
            value.align = self.bytes
            return value
        name = f"llvm.masked.load.{self.suffix}.p0"
        kinds = [place.type, I32, mask.type, self.type]
        return self._intrinsic(name, self.type, kinds, [place, I32(self.bytes), mask, self.zero])

    def store(self, value: Any, start: Any, offset: Any, mask: Any = None) -> None:
        place = self._vector_at(start, offset)
        if mask is None:
            self.builder.store(value, place).align = self.bytes
            return
        name = f"llvm.masked.store.{self.suffix}.p0"
        kinds = [self.type, place.type, I32, mask.type]
        self._intrinsic(name, ir.VoidType(), kinds, [value, place, I32(self.bytes), mask])

    def _vector_at(self, start: Any, offset: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(start, [offset]), self.type.as_pointer())

    def fma(self, x: Any, y: Any, total: Any) -> Any:
        return self._intrinsic(f"llvm.fma.{self.suffix}", self.type, [self.type] * 3, [x, y, total])

    def add_up(self, value: Any) -> Any:
        """The sum over the lanes, in any order."""
        name = f"llvm.vector.reduce.fadd.{self.suffix}"
        function = cgutils.get_or_insert_function(
            self.builder.module, ir.FunctionType(self.scalar, [self.scalar, self.type]), name
        )
        return self.builder.call(function, [ir.Constant(self.scalar, 0.0), value], fastmath=("reassoc",))


def _data(context: Any, builder: Any, kind: Any, value: Any, offset: Any) -> Any:
    """The address of element `offset` of a one-dimensional array."""
    return builder.gep(context.make_array(kind)(context, builder, value).data, [offset])


@intrinsic(prefer_literal=True)
def dots(typing: Any, rows: Any, columns: Any, A: Any, A_at: Any, W: Any, W_at: Any, b: Any, b_at: Any,
         Z: Any, Z_at: Any, width: Any, length: Any) -> Any:  # fmt: skip
    """Z[i, j] = sum_k A[i, k] W[j, k] + b[j] for `rows` i and `columns` j.

    A and W have rows of `length` numbers, Z has rows of `width`; each array is flat and comes with the
    offset where the block starts. Twin: :func:`deltarule.reference.weighted_input`.
    """
    R, C = rows.literal_value, columns.literal_value
    n = types.intp
    signature = types.void(rows, columns, A, n, W, n, b, n, Z, n, n, n)

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        A, W, b, Z = (_data(context, builder, kinds[i], args[i], args[i + 1]) for i in (2, 4, 6, 8))
        width, length = args[10], args[11]
        builder.function.attributes.add("noinline")  # one copy in a door, not one in every caller
        v = _Vectors(builder, kinds[2].dtype)
        lanes = I64(v.lanes)
        sums = v.sums(R * C)
        A_rows = [builder.gep(A, [builder.mul(I64(i), length)]) for i in range(R)]
        W_rows = [builder.gep(W, [builder.mul(I64(j), length)]) for j in range(C)]

        def add_products(k: Any, mask: Any = None) -> None:
            w = [v.load(row, k, mask) for row in W_rows]
            for i, row in enumerate(A_rows):
                a = v.load(row, k, mask)
                for j in range(C):
                    slot = sums[i * C + j]
                    builder.store(v.fma(a, w[j], builder.load(slot)), slot)

        whole = builder.sdiv(length, lanes)
        with cgutils.for_range(builder, whole) as loop:
            add_products(builder.mul(loop.index, lanes))
        done = builder.mul(whole, lanes)
        left = builder.sub(length, done)
        with builder.if_then(builder.icmp_signed(">", left, I64(0))):
            add_products(done, v.mask(left))
        for i in range(R):
            for j in range(C):
                total = v.add_up(builder.load(sums[i * C + j]))
                total = builder.fadd(total, builder.load(builder.gep(b, [I64(j)])))
                place = builder.gep(Z, [builder.add(builder.mul(I64(i), width), I64(j))])
                builder.store(total, place)
        return context.get_dummy_value()

    return signature, emit


@intrinsic(prefer_literal=True)
def combine(typing: Any, rows: Any, vectors: Any, C: Any, C_at: Any, keep: Any, scale: Any, X: Any, X_at: Any,
            X_row: Any, X_term: Any, Y: Any, Y_at: Any, width: Any, terms: Any, lanes: Any) -> Any:  # fmt: skip
    """C[r, k] = keep C[r, k] + scale sum_t X[r, t] Y[t, k] for `rows` r and `vectors` vectors of k.

    C and Y have rows of `width` numbers; X[r, t] stands at r * X_row + t * X_term. With `vectors` 0 the
    block is `lanes` numbers wide, a vector or less. Where `keep` is 0 the old C is not read.
    Twins: the first move of :func:`deltarule.reference.bp2`, and :func:`deltarule.reference.bp4`.
    """
    R, V = rows.literal_value, vectors.literal_value
    n = types.intp
    signature = types.void(rows, vectors, C, n, C.dtype, C.dtype, X, n, n, n, Y, n, n, n, n)

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        C, X, Y = (_data(context, builder, kinds[i], args[i], args[i + 1]) for i in (2, 6, 10))
        keep, scale, X_row, X_term, width, terms, lanes = (args[i] for i in (4, 5, 8, 9, 12, 13, 14))
        builder.function.attributes.add("noinline")  # one copy in a door, not one in every caller
        v = _Vectors(builder, kinds[2].dtype)
        mask = v.mask(lanes) if V == 0 else None
        columns = [I64(i * v.lanes) for i in range(max(V, 1))]
        sums = v.sums(R * len(columns))
        X_rows = [builder.gep(X, [builder.mul(I64(r), X_row)]) for r in range(R)]

        with cgutils.for_range(builder, terms) as loop:
            Y_row = builder.gep(Y, [builder.mul(loop.index, width)])
            y = [v.load(Y_row, column, mask) for column in columns]
            step = builder.mul(loop.index, X_term)
            for r, row in enumerate(X_rows):
                x = v.spread(builder.load(builder.gep(row, [step])))
                for i in range(len(columns)):
                    slot = sums[r * len(columns) + i]
                    builder.store(v.fma(x, y[i], builder.load(slot)), slot)

        scale = v.spread(scale)
        fresh = builder.fcmp_ordered("==", keep, ir.Constant(v.scalar, 0.0))
        keep = v.spread(keep)
        old = v.mask(builder.select(fresh, I64(0), lanes))  # masked lanes are not read, and count as 0
        for r in range(R):
            C_row = builder.gep(C, [builder.mul(I64(r), width)])
            for i, column in enumerate(columns):
                total = builder.fmul(scale, builder.load(sums[r * len(columns) + i]))
                v.store(v.fma(keep, v.load(C_row, column, old), total), C_row, column, mask)
        return context.get_dummy_value()

    return signature, emit
