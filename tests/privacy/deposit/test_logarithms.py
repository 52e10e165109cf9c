"""Small discrete logarithms: every value within the bound is found, and nothing beyond."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from privacy.deposit import LogTable, table_bits
from privacy.deposit.errors import LogarithmNotFound, TableInvalid, ValueOutOfRange
from privacy.deposit.points import generator, scalar
from privacy.deposit.sizes import BOUND_MAX
from tests.privacy.deposit.deposit_world import logarithms

REACH = 1 << 10
STRIDE = 2 * REACH + 1
BOUND = 1 << 23


@settings(max_examples=60, deadline=None)
@given(st.integers(-BOUND, BOUND))
@example(0)
@example(REACH)
@example(REACH + 1)
@example(-REACH - 1)
@example(STRIDE)
@example(-STRIDE)
@example(2048 * STRIDE)
@example(2049 * STRIDE - 1)
@example(STRIDE + REACH)
@example(BOUND)
@example(-BOUND)
def test_every_value_within_the_bound_is_found(value: int) -> None:
    assert logarithms().find([generator() * scalar(value)], [BOUND]) == [value]


def test_every_value_around_the_first_strides_is_found() -> None:
    values = [*range(-3, 4), *range(REACH - 3, REACH + 4), *range(STRIDE + REACH - 3, STRIDE + REACH + 4)]
    values += [-value for value in values]
    points = [generator() * scalar(value) for value in values]
    assert logarithms().find(points, [3 * STRIDE] * len(values)) == values


@pytest.mark.parametrize("value", [101, -101, 5 * STRIDE])
def test_a_value_beyond_its_bound_is_not_found(value: int) -> None:
    points = [generator(), generator() * scalar(value)]
    with pytest.raises(LogarithmNotFound) as refused:
        logarithms().find(points, [100, 100])
    assert refused.value.position == 1


@pytest.mark.parametrize("bound", [-1, BOUND_MAX + 1])
def test_a_bound_out_of_range_is_refused(bound: int) -> None:
    with pytest.raises(ValueOutOfRange):
        logarithms().find([generator()], [bound])


def test_a_table_has_the_x_of_every_small_multiple() -> None:
    table = LogTable.make(8)
    assert sorted(table.steps.tolist()) == list(range(1, 257))
    assert bool(np.all(table.keys[1:] > table.keys[:-1]))
    place = table.steps.tolist().index(77)
    x = (generator() * scalar(77)).to_xy_bytes_be()[:48]
    assert int(table.keys[place]) == int.from_bytes(x[-8:], "big")


@pytest.mark.parametrize("bits", [7, 23])
def test_no_table_of_these_bits(bits: int) -> None:
    with pytest.raises(ValueOutOfRange):
        LogTable.make(bits)


def test_a_kept_table_is_read_again_and_a_damaged_one_made_again(tmp_path: Path) -> None:
    first = LogTable.kept(8, tmp_path)
    (path,) = tmp_path.iterdir()
    data = path.read_bytes()
    assert LogTable.kept(8, tmp_path).to_bytes() == data == first.to_bytes()
    path.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    assert LogTable.kept(8, tmp_path).to_bytes() == data
    assert path.read_bytes() == data


def test_a_table_that_cannot_be_kept_serves_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert LogTable.kept(8, tmp_path / "file").bits == 8


def test_other_bytes_are_no_table() -> None:
    data = LogTable.make(8).to_bytes()
    for each in (b"", data[:-1], data + b"\x00", b"SYL\x02" + data[4:], data[:-1] + bytes([data[-1] ^ 1])):
        with pytest.raises(TableInvalid):
            LogTable.from_bytes(each)


def test_a_larger_bound_gets_a_larger_table_up_to_a_limit() -> None:
    assert [table_bits(bound) for bound in (1, 1 << 20, 1 << 34, 1 << 40)] == [8, 15, 22, 22]
