"""Rows of one table as columns: what the fold produces many of.

A column is one of: an array of unsigned integers, texts, times, or lists of either (`Lists`). The array's type is the
table's, so that ClickHouse has nothing to convert. A few rows at a time are `rows.Row` instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]


class Lists(NamedTuple):
    """A column of arrays: the length of each row's array, and all their elements one after another."""

    lengths: NDArray[np.int64]
    elements: Numbers | Sequence[str]


class Times(NamedTuple):
    """A column of moments: since 1970, in units of 10^-digits seconds; 0 digits are a DateTime, others a DateTime64."""

    moments: NDArray[np.int64]
    digits: int


Column = Numbers | Sequence[str] | Lists | Times


@dataclass(frozen=True, slots=True)
class RowBlock:
    """`count` rows of `table`, by column."""

    table: str
    count: int
    columns: Mapping[str, Column]


def concatenate(blocks: Sequence[RowBlock]) -> RowBlock:
    """Return the rows of blocks of one table, which have the same columns, as one block."""
    first = blocks[0]
    if len(blocks) == 1:
        return first
    columns = {name: _concatenate([block.columns[name] for block in blocks]) for name in first.columns}
    return RowBlock(first.table, sum(block.count for block in blocks), columns)


def _concatenate(columns: Sequence[Any]) -> Column:
    first = columns[0]
    if isinstance(first, Lists):
        elements = _concatenate([each.elements for each in columns])
        if isinstance(elements, Lists | Times):
            raise TypeError("the elements of lists are numbers or texts")
        return Lists(np.concatenate([each.lengths for each in columns]), elements)
    if isinstance(first, Times):
        return Times(np.concatenate([each.moments for each in columns]), first.digits)
    if isinstance(first, np.ndarray):
        return np.concatenate(columns)
    return [text for texts in columns for text in texts]
