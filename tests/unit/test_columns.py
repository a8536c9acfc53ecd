"""Arrow columns from buffers hold what pyarrow's own conversion would give, and load no pandas."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elysia_dagster.sync import columns


@given(st.lists(st.text(st.characters(codec="utf-8"))), st.sampled_from([pa.string(), pa.large_string()]))
def test_texts_are_what_pyarrow_makes_of_them(values: list[str], kind: pa.DataType) -> None:
    made = columns.texts(values, kind)
    made.validate(full=True)
    assert made.equals(pa.array(values, kind))


@pytest.mark.parametrize("kind", [pa.int8(), pa.int32(), pa.int64()])
def test_numbers_are_what_pyarrow_makes_of_them_and_come_back(kind: pa.DataType) -> None:
    for values in ([], [0], [-128, 127, 3]):
        made = columns.numbers(values, kind)
        made.validate(full=True)
        assert made.equals(pa.array(values, kind))
        assert columns.array_of(made).tolist() == values
        assert columns.array_of(made[1:]).tolist() == values[1:]


@given(st.lists(st.booleans()))
def test_flags_are_what_pyarrow_makes_of_them(values: list[bool]) -> None:
    made = columns.flags(np.array(values, dtype=bool))
    made.validate(full=True)
    assert made.equals(pa.array(values, pa.bool_()))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(OverflowError):
        columns.numbers([2**31], pa.int32())
    with pytest.raises(UnicodeEncodeError):
        columns.texts(["\ud800"], pa.string())


def test_no_pandas_is_loaded() -> None:
    script = (
        "import sys, numpy as np, pyarrow as pa\n"
        "from elysia_dagster.sync import columns\n"
        "made = [columns.numbers([1, 2], pa.int32()), columns.texts(['a', 'b'], pa.string())]\n"
        "batch = pa.RecordBatch.from_arrays(made, schema=pa.schema([('n', pa.int32()), ('t', pa.string())]))\n"
        "columns.array_of(batch.column(0)), columns.flags(np.ones(2, dtype=bool))\n"
        "batch.set_column(0, batch.schema.field(0), made[0]).column(1).to_pylist()\n"
        "assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
