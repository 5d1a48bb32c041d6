"""Batches of rows in pieces of a limited size, so that whoever passes them on holds little of a large result."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow

from featurestore.errors import BadRequest


def split_batch(batch: pyarrow.RecordBatch, most: int) -> Iterator[pyarrow.RecordBatch]:
    """Yield the rows of a batch in pieces of at most `most` bytes, or of one row."""
    if batch.num_rows > 1 and batch.nbytes > most:
        half = batch.num_rows // 2
        yield from split_batch(batch.slice(0, half), most)
        yield from split_batch(batch.slice(half), most)
    elif batch.num_rows:
        yield batch


def check_row(batch: pyarrow.RecordBatch, most: int, where: str = "") -> None:
    """Raise BadRequest for a piece that is one row of more than `most` bytes; `where` says what cannot take it."""
    if batch.num_rows == 1 and batch.nbytes > most:
        raise BadRequest(
            f"SQL: a row takes {batch.nbytes:,} bytes; {most:,} are sent at most{where}. Select less of it, as with "
            "left(text, 1000) or list[:1000]"
        )
