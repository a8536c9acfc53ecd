"""Arrow columns made of their buffers, and read from them.

``pyarrow.array`` and ``Array.to_numpy`` import pandas on their first call, whatever they are given (pyarrow 26): a
quarter of a second of every start, for nothing that is used here.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa


def numbers(values: Sequence[int] | np.ndarray, kind: pa.DataType) -> pa.Array:
    """Integers or floats of that type, without nulls. Raises ``OverflowError`` for one that does not fit."""
    made = np.ascontiguousarray(values, dtype=kind.to_pandas_dtype())
    return pa.Array.from_buffers(kind, len(made), [None, pa.py_buffer(made)])


def texts(values: Sequence[str], kind: pa.DataType) -> pa.Array:
    """Texts as ``string`` (2 GB in all) or ``large_string``, without nulls.

    Raises ``UnicodeEncodeError`` for a lone surrogate, ``OverflowError`` where they are too long together.
    """
    encoded = [value.encode() for value in values]
    ends = np.zeros(len(encoded) + 1, dtype=np.int64)
    np.cumsum([len(each) for each in encoded], out=ends[1:])
    if kind == pa.string():
        if ends[-1] >= 2**31:
            raise OverflowError("a column of texts holds 2 GB at most")
        ends = ends.astype(np.int32)
    return pa.Array.from_buffers(kind, len(encoded), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))])


def flags(values: np.ndarray) -> pa.Array:
    """Booleans, without nulls."""
    bits = np.packbits(values.astype(bool), bitorder="little")
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(bits)])


def array_of(column: pa.Array) -> np.ndarray:
    """The numbers of a column without nulls, not copied."""
    assert column.null_count == 0
    if not len(column):
        return np.zeros(0, dtype=column.type.to_pandas_dtype())
    found = np.frombuffer(column.buffers()[1], dtype=column.type.to_pandas_dtype())
    return found[column.offset : column.offset + len(column)]
