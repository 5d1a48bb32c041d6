"""Matrix: the vectors of a whole dictionary, in the parts that they are kept in, which may be mapped files."""

from __future__ import annotations

import contextlib
import tempfile
import tokenize
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING

import numpy

from featurestore.errors import BadRequest
from featurestore.ids import DictionaryLike

if TYPE_CHECKING:
    import pyarrow

LARGE = 256_000_000  # bytes above which a matrix is collected in a file without a name, and mapped


class Matrix:
    """Rows of one width and type, one for each feature, (rows, width)."""

    def __init__(self, parts: Sequence[numpy.ndarray]):
        """`parts` are at least one, of one width and type."""
        self.parts = list(parts)
        self.shape = (sum(len(part) for part in self.parts), self.parts[0].shape[1])
        self.dtype = self.parts[0].dtype

    @property
    def nbytes(self) -> int:
        """The size of all rows."""
        return int(self.shape[0] * self.shape[1] * self.dtype.itemsize)

    def rows(self, first: int, last: int) -> numpy.ndarray:
        """Return rows first .. last - 1, contiguous in memory."""
        pieces, start = [], 0
        for part in self.parts:
            if start < last and first < start + len(part):
                pieces.append(part[max(first - start, 0) : last - start])
            start += len(part)
        return numpy.ascontiguousarray(numpy.concatenate(pieces) if len(pieces) != 1 else pieces[0])

    def to_numpy(self) -> numpy.ndarray:
        """Return all rows as one array: the part itself where there is one, else a copy, mapped where it is large."""
        if len(self.parts) == 1:
            return self.parts[0]
        whole, start = allocate(self.shape, self.dtype), 0
        for part in self.parts:
            whole[start : start + len(part)] = part
            start += len(part)
        return whole

    def to_arrow(self, dictionary: str) -> pyarrow.Table:
        """Return a table of id, feature and vector (a list of fixed size), which shares the memory of the parts."""
        import pyarrow

        vectors = []
        for part in self.parts:
            flat = numpy.ascontiguousarray(part).reshape(-1)
            numbers = pyarrow.Array.from_buffers(
                pyarrow.from_numpy_dtype(self.dtype), len(flat), [None, pyarrow.py_buffer(flat)]
            )
            vectors.append(pyarrow.FixedSizeListArray.from_arrays(numbers, self.shape[1]))
        features = pyarrow.array(numpy.arange(self.shape[0], dtype=numpy.int32))
        ids = pyarrow.array([f"{dictionary}/{feature}" for feature in range(self.shape[0])], pyarrow.string())
        return pyarrow.table({"id": ids, "feature": features, "vector": pyarrow.chunked_array(vectors)})


def check_vectors(
    ids: object, dictionary: DictionaryLike | None, encoder: bool, target: int | None
) -> DictionaryLike | None:
    """Return the dictionary whose vectors are asked for; None where ids are.

    Raises BadRequest for both or neither, and for what goes with a dictionary alone.
    """
    if (ids is None) == (dictionary is None):
        raise BadRequest("say either ids or dictionary: whose vectors to give")
    if dictionary is None and (encoder or target is not None):
        raise BadRequest(f"{'encoder' if encoder else 'target'}: it goes with dictionary, and ids are given")
    if encoder and target is not None:
        raise BadRequest("target: encoder vectors write to no layer")
    return dictionary


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Raise ValueError for what NumPy raises beside it where a .npy file is empty, or its header no literal."""
    try:
        yield
    except (tokenize.TokenError, SyntaxError, TypeError, AttributeError, RecursionError, EOFError) as exc:
        raise ValueError(f"no array can be read: {exc}") from None


def read_stream(stream: IO[bytes]) -> numpy.ndarray:
    """Return the matrix of a .npy file that can be read once. Raises ValueError for another, EOFError for a part."""
    version = numpy.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"a matrix of version {version}")
    with plain_errors():
        shape, by_columns, dtype = numpy.lib.format.read_array_header_1_0(stream)
    if len(shape) != 2 or by_columns or dtype not in (numpy.float16, numpy.float32):
        raise ValueError(f"a matrix of shape {shape} and type {dtype}")
    whole = allocate(shape, dtype)
    bytes_of = whole.reshape(-1).view(numpy.uint8)
    place = 0
    while place < len(bytes_of):
        piece = stream.read(min(1 << 20, len(bytes_of) - place))
        if not piece:
            raise EOFError(f"{place:,} of {len(bytes_of):,} bytes came")
        bytes_of[place : place + len(piece)] = numpy.frombuffer(piece, numpy.uint8)
        place += len(piece)
    return whole


def allocate(shape: tuple[int, int], dtype: numpy.dtype) -> numpy.ndarray:
    """Return an array to be filled: in memory, or mapped to a file without a name where it is large."""
    if shape[0] * shape[1] * dtype.itemsize <= LARGE:
        return numpy.empty(shape, dtype)
    with tempfile.TemporaryFile() as file:  # which the mapping keeps
        return numpy.memmap(file, dtype, "w+", shape=shape)
