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

    def add_up_four(self, values: list[Any]) -> Any:
        """The sums over the lanes of four vectors, as one vector of four: each step halves what is left of each."""

        def halves(x: Any, y: Any, parts: int, length: int) -> Any:
            """x and y hold `parts` parts each, of `length` lanes; every part's halves are added."""
            lanes = x.type.count
            starts = [part * length + lanes * (vector is y) for vector in (x, y) for part in range(parts)]
            starts = starts if y is not x else starts[:parts]
            half = length // 2
            sides = []
            for side in (0, half):
                mask = [start + side + lane for start in starts for lane in range(half)]
                kind = ir.VectorType(I32, len(mask))
                sides.append(self.builder.shuffle_vector(x, y, ir.Constant(kind, mask)))
            return self.builder.fadd(*sides)

        a, b, c, d = values
        total = halves(halves(a, b, 1, self.lanes), halves(c, d, 1, self.lanes), 2, self.lanes // 2)
        length = self.lanes // 4
        while length > 1:
            total = halves(total, total, 4, length)
            length //= 2
        return total

    def four(self, start: Any, offset: Any) -> Any:
        """The address of four numbers in a row."""
        return self.builder.bitcast(self.builder.gep(start, [offset]), ir.VectorType(self.scalar, 4).as_pointer())


def _data(context: Any, builder: Any, kind: Any, value: Any, offset: Any) -> Any:
    """The address of element `offset` of a one-dimensional array."""
    return builder.gep(context.make_array(kind)(context, builder, value).data, [offset])


@intrinsic(prefer_literal=True)
def dots(typing: Any, rows: Any, columns: Any, blocks: Any, A: Any, A_at: Any, W: Any, W_at: Any, b: Any, b_at: Any,
         Z: Any, Z_at: Any, width: Any, length: Any) -> Any:  # fmt: skip
    """Z[i, j] = sum_k A[i, k] W[j, k] + b[j] for `rows` i and `blocks` times `columns` j.

    A and W have rows of `length` numbers, Z has rows of `width`; each array is flat and comes with the
    offset where the block starts. Twin: :func:`deltarule.reference.weighted_input`.
    """
    R, C = rows.literal_value, columns.literal_value
    n = types.intp
    signature = types.void(rows, columns, n, A, n, W, n, b, n, Z, n, n, n)

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        A, W_first, b_first, Z_first = (_data(context, builder, kinds[i], args[i], args[i + 1]) for i in (3, 5, 7, 9))
        width, length = args[11], args[12]
        builder.function.attributes.add("noinline")  # one copy in a door, not one in every caller
        v = _Vectors(builder, kinds[3].dtype)
        lanes = I64(v.lanes)
        sums = v.sums(R * C)
        A_rows = [builder.gep(A, [builder.mul(I64(i), length)]) for i in range(R)]
        whole = builder.sdiv(length, lanes)
        done = builder.mul(whole, lanes)
        left = builder.sub(length, done)
        with cgutils.for_range(builder, args[2]) as block:
            j = builder.mul(block.index, I64(C))
            W, b, Z = (
                builder.gep(W_first, [builder.mul(j, length)]),
                builder.gep(b_first, [j]),
                builder.gep(Z_first, [j]),
            )
            W_rows = [builder.gep(W, [builder.mul(I64(i), length)]) for i in range(C)]
            for slot in sums:
                builder.store(v.zero, slot)

            def add_products(k: Any, mask: Any = None, W_rows: list[Any] = W_rows) -> None:
                w = [v.load(row, k, mask) for row in W_rows]
                for i, row in enumerate(A_rows):
                    a = v.load(row, k, mask)
                    for j in range(C):
                        slot = sums[i * C + j]
                        builder.store(v.fma(a, w[j], builder.load(slot)), slot)

            with cgutils.for_range(builder, whole) as loop:
                add_products(builder.mul(loop.index, lanes))
            with builder.if_then(builder.icmp_signed(">", left, I64(0))):
                add_products(done, v.mask(left))
            for i in range(R):
                row = builder.mul(I64(i), width)
                values = [builder.load(slot) for slot in sums[i * C : (i + 1) * C]]
                if C == 4:
                    bias = builder.load(v.four(b, I64(0)))
                    bias.align = v.bytes
                    builder.store(builder.fadd(v.add_up_four(values), bias), v.four(Z, row)).align = v.bytes
                    continue
                for column, value in enumerate(values):
                    total = builder.fadd(v.add_up(value), builder.load(builder.gep(b, [I64(column)])))
                    builder.store(total, builder.gep(Z, [builder.add(row, I64(column))]))
        return context.get_dummy_value()

    return signature, emit


@intrinsic(prefer_literal=True)
def combine(typing: Any, rows: Any, vectors: Any, blocks: Any, C: Any, C_at: Any, keep: Any, old: Any, old_at: Any,
            old_row: Any, scale: Any, X: Any, X_at: Any, X_row: Any, X_term: Any, Y: Any, Y_at: Any,
            width: Any, terms: Any, lanes: Any) -> Any:  # fmt: skip
    """C[r, k] = keep old[r, k] + scale sum_t X[r, t] Y[t, k] for `blocks` times `rows` r and `vectors` vectors of k.

    C and Y have rows of `width` numbers, old has rows of `old_row`: it is C itself, or with 0 one row for all.
    X[r, t] stands at r * X_row + t * X_term. With `vectors` 0 the block is `lanes` numbers wide, a vector or less.
    Where `keep` is 0, old is not read.
    Twins: the first move of :func:`deltarule.reference.bp2`, and :func:`deltarule.reference.bp4`.
    """
    R, V = rows.literal_value, vectors.literal_value
    n = types.intp
    signature = types.void(rows, vectors, n, C, n, C.dtype, old, n, n, C.dtype, X, n, n, n, Y, n, n, n, n)

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        C_first, old_first, X_first, Y = (
            _data(context, builder, kinds[i], args[i], args[i + 1]) for i in (3, 6, 10, 14)
        )
        keep, old_row, scale, X_row, X_term, width, terms, lanes = (args[i] for i in (5, 8, 9, 12, 13, 16, 17, 18))
        builder.function.attributes.add("noinline")  # one copy in a door, not one in every caller
        v = _Vectors(builder, kinds[3].dtype)
        mask = v.mask(lanes) if V == 0 else None
        columns = [I64(i * v.lanes) for i in range(max(V, 1))]
        sums = v.sums(R * len(columns))
        scale = v.spread(scale)
        fresh = builder.fcmp_ordered("==", keep, ir.Constant(v.scalar, 0.0))
        keep = v.spread(keep)
        read = v.mask(builder.select(fresh, I64(0), lanes))  # masked lanes are not read, and count as 0
        with cgutils.for_range(builder, args[2]) as block:
            first = builder.mul(block.index, I64(R))
            C, old, X = (builder.gep(start, [builder.mul(first, row)]) for start, row in
                         ((C_first, width), (old_first, old_row), (X_first, X_row)))  # fmt: skip
            X_rows = [builder.gep(X, [builder.mul(I64(r), X_row)]) for r in range(R)]
            for slot in sums:
                builder.store(v.zero, slot)
            with cgutils.for_range(builder, terms) as loop:
                Y_row = builder.gep(Y, [builder.mul(loop.index, width)])
                y = [v.load(Y_row, column, mask) for column in columns]
                step = builder.mul(loop.index, X_term)
                for r, row in enumerate(X_rows):
                    x = v.spread(builder.load(builder.gep(row, [step])))
                    for i in range(len(columns)):
                        slot = sums[r * len(columns) + i]
                        builder.store(v.fma(x, y[i], builder.load(slot)), slot)
            for r in range(R):
                C_here, old_here = (builder.gep(start, [builder.mul(I64(r), row)]) for start, row in
                                    ((C, width), (old, old_row)))  # fmt: skip
                for i, column in enumerate(columns):
                    total = builder.fmul(scale, builder.load(sums[r * len(columns) + i]))
                    v.store(v.fma(keep, v.load(old_here, column, read), total), C_here, column, mask)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def turn(typing: Any, W: Any, W_at: Any, W_row: Any, T: Any, T_at: Any, T_row: Any) -> Any:
    """T[k, j] = W[j, k] for a square block, as wide as a vector, of matrices with rows of W_row and T_row numbers.

    In each stage the vectors exchange halves: pairs of numbers next to each other, then of twos, fours and eights.
    """
    n = types.intp
    signature = types.void(W, n, n, T, n, n)

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        W, T = (_data(context, builder, signature.args[i], args[i], args[i + 1]) for i in (0, 3))
        v = _Vectors(builder, signature.args[0].dtype)
        lanes = range(v.lanes)
        rows = [v.load(W, builder.mul(I64(j), args[2])) for j in lanes]
        distance = 1
        while distance < v.lanes:
            for i in lanes:
                if i & distance:
                    continue
                pair = rows[i], rows[i + distance]
                for which in (0, 1):
                    mask = [
                        (lane if not lane & distance else v.lanes + lane - distance) + which * distance
                        for lane in lanes
                    ]
                    kind = ir.VectorType(I32, v.lanes)
                    rows[i + which * distance] = builder.shuffle_vector(*pair, ir.Constant(kind, mask))
            distance *= 2
        for k in lanes:
            v.store(rows[k], T, builder.mul(I64(k), args[5]))
        return context.get_dummy_value()

    return signature, emit
