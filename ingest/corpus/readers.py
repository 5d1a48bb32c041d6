"""Documents of one file or dataset, a generator for each kind, which holds one document or a batch of rows at a time."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import msgspec
import numpy
import pyarrow
from pyarrow import parquet as pq

from featurestore import BadRequest, Unavailable

ROWS = 256  # rows of a table read at a time
OTHERWISE = "convert it, or name the files that are by a pattern, as in 'folder/**/*.txt'"
COLUMNS = ("text", "messages", "input_ids", "tokens")  # what is read when no column is named, the first there is


class Tokens(NamedTuple):
    """Token ids made elsewhere, (n,) of any integer type, and whose they are said to be ("model": the model's own)."""

    ids: numpy.ndarray
    tokenizer: str
    stream: bool = False  # many documents one after another, to be parted at the tokenizer's separators


Chat = list[dict[str, Any]]


class Document(NamedTuple):
    """A name, and a text, a chat to be rendered, or tokens."""

    name: str
    content: str | Chat | Tokens


class Dataset(NamedTuple):
    """A dataset of the hub, or a directory in its layout."""

    path: str
    revision: str | None
    config: str | None
    split: str


def plain_suffix(file: Path) -> str:
    """The suffix in small letters, that before .gz or .zst if the file is compressed."""
    compressed = file.suffix.lower() in (".gz", ".zst")
    return Path(file.stem).suffix.lower() if compressed else file.suffix.lower()


def opened(file: Path) -> BinaryIO:
    """A file's bytes, decompressed as they are read."""
    if file.suffix.lower() == ".gz":
        return cast(BinaryIO, gzip.open(file))
    if file.suffix.lower() == ".zst":
        return cast(
            BinaryIO, io.BufferedReader(cast(io.RawIOBase, pyarrow.input_stream(str(file), compression="zstd")))
        )
    return file.open("rb")


def text(file: Path, name: str) -> Iterator[Document]:
    """The one document of a text file. Raises BadRequest when it is not UTF-8 text."""
    try:
        with opened(file) as stream:
            raw = stream.read()
    except (OSError, EOFError, zlib.error) as exc:
        raise _unreadable(file, exc) from None
    if b"\0" in raw:
        raise BadRequest(f"{file} is not text: byte {raw.index(0)} is zero; {OTHERWISE}")
    try:
        yield Document(name, raw.decode("utf-8"))
    except UnicodeDecodeError as exc:
        raise BadRequest(f"{file} is not UTF-8 text: byte {exc.start} is 0x{raw[exc.start]:02x}; {OTHERWISE}") from None


def json_lines(file: Path, name: str, column: str | None = None, tokenizer: str | None = None) -> Iterator[Document]:
    """A document for each line, an object of which one column is read; blank lines are none."""
    decode = msgspec.json.Decoder().decode
    try:
        with opened(file) as stream:
            for number, line in enumerate(stream, 1):
                if not line.strip():
                    continue
                where = f"{file}, line {number}"
                try:
                    row = decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError) as exc:
                    raise BadRequest(f"{where}: not JSON: {exc}") from None
                if not isinstance(row, dict):
                    raise BadRequest(f"{where}: not a JSON object but {type(row).__name__}; each line is one")
                chosen = _column(list(row), column, where)
                yield Document(f"{name}:{number}", _content(row[chosen], where, chosen, tokenizer))
    except (OSError, EOFError, zlib.error) as exc:
        raise _unreadable(file, exc) from None


def parquet(file: Path, name: str, column: str | None = None, tokenizer: str | None = None) -> Iterator[Document]:
    """A document for each row of a Parquet file, rows counted from 1."""
    try:
        with pq.ParquetFile(file) as opened_file:
            chosen = _column(opened_file.schema_arrow.names, column, str(file))
            batches = opened_file.iter_batches(batch_size=ROWS, columns=[chosen])
            yield from _rows(batches, file, name, chosen, tokenizer)
    except (OSError, pyarrow.ArrowException) as exc:
        raise _unreadable(file, exc) from None


def arrow(file: Path, name: str, column: str | None = None, tokenizer: str | None = None) -> Iterator[Document]:
    """A document for each row of an Arrow file: a stream, as datasets saves, or a file with a footer."""
    try:
        with pyarrow.memory_map(str(file)) as source:
            if source.read(6) == b"ARROW1":
                reader = pyarrow.ipc.open_file(source)
                batches = (reader.get_batch(n) for n in range(reader.num_record_batches))
            else:
                source.seek(0)
                reader = pyarrow.ipc.open_stream(source)
                batches = iter(reader)
            chosen = _column(reader.schema.names, column, str(file))
            yield from _rows((batch.select([chosen]) for batch in batches), file, name, chosen, tokenizer)
    except (OSError, pyarrow.ArrowException) as exc:
        raise _unreadable(file, exc) from None


def _rows(
    batches: Iterator[pyarrow.RecordBatch], file: Path, name: str, column: str, tokenizer: str | None
) -> Iterator[Document]:
    number = 0
    for batch in batches:
        for first in range(0, batch.num_rows, ROWS):  # a saved dataset's batches are large
            for value in batch.column(0).slice(first, ROWS).to_pylist():
                number += 1
                yield Document(f"{name}:{number}", _content(value, f"{file}, row {number}", column, tokenizer))


def is_saved_dataset(folder: Path) -> bool:
    """Whether `datasets` saved one split here (save_to_disk)."""
    return (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()


def saved_files(folder: Path) -> list[Path]:
    """The Arrow files of a saved dataset in their order. Raises BadRequest when they are not all of it."""
    try:
        state = json.loads((folder / "state.json").read_text("utf-8"))
        files = [folder / one["filename"] for one in state["_data_files"]]
    except (ValueError, KeyError, TypeError) as exc:
        raise BadRequest(f"{folder / 'state.json'} is damaged: {exc!r}; save the dataset again") from None
    if state.get("_indices_data_files"):
        raise BadRequest(f"{folder} holds a selection of its rows: call flatten_indices() and save the dataset again")
    if missing := [file for file in files if not file.is_file()]:
        raise BadRequest(f"{folder} is not whole: {missing[0].name} is missing; save the dataset again")
    return files


def dataset(which: Dataset, column: str | None = None, tokenizer: str | None = None) -> Iterator[Document]:
    """A document for each row of a dataset of the hub, streamed, or of a directory in its layout.

    Raises Unavailable without the package datasets or when the hub does not answer, BadRequest when there is no such dataset, configuration, split or
    column.
    """
    try:
        import datasets
    except ImportError:
        raise Unavailable("hf:// needs the package datasets: pip install 'featurestore[datasets]'") from None
    datasets.disable_progress_bars()
    said = f"hf://{which.path}#{which.config + '/' if which.config else ''}{which.split}"
    name = Path(which.path).name if Path(which.path).is_dir() else which.path
    try:
        rows = iter(
            datasets.load_dataset(which.path, which.config, split=which.split, revision=which.revision, streaming=True)
        )
        number = 0
        while (row := next(rows, None)) is not None:
            number += 1
            where = f"{said}, row {number}"
            chosen = _column(list(row), column, where)
            yield Document(f"{name}/{which.split}:{number}", _content(row[chosen], where, chosen, tokenizer))
    except (BadRequest, GeneratorExit):
        raise
    except ConnectionError as exc:
        raise Unavailable(f"{said} is not to be had now: {exc}") from None
    # datasets passes on whatever file systems, parsers and the hub raise.
    except Exception as exc:
        what = " ".join(str(exc).split())[:300] or type(exc).__name__
        raise BadRequest(f"{said} cannot be read: {what}") from None


def array(file: Path, name: str, tokenizer: str | None = None) -> Iterator[Document]:
    """Tokens of a NumPy file of integers: a stream (n,), or a document for each row (rows, n)."""
    try:
        found = numpy.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as exc:
        raise _unreadable(file, exc) from None
    if found.dtype.kind not in "iu" or found.ndim not in (1, 2):
        raise BadRequest(
            f"{file} has {found.dtype} of shape {found.shape}: token ids are integers in one or two dimensions"
        )
    whose = _whose(tokenizer, str(file), f"{file}:")
    if found.ndim == 1:
        yield Document(name, Tokens(found, whose, stream=True))
        return
    for number, row in enumerate(found, 1):
        yield Document(f"{name}:{number}", Tokens(row, whose))


def raw_array(file: Path, name: str, dtype: str, tokenizer: str | None = None) -> Iterator[Document]:
    """Tokens of a file of nothing but little-endian numbers, as nanoGPT and many others write: a stream."""
    whose = _whose(tokenizer, str(file), f"{file}:uint16:")
    size, width = file.stat().st_size, numpy.dtype(dtype).itemsize
    if size % width:
        raise BadRequest(
            f"{file} has {size} bytes, which are no whole numbers of {width} bytes: say :uint16 or :uint32"
        )
    ids = numpy.memmap(file, dtype=dtype, mode="r") if size else numpy.zeros(0, dtype)
    yield Document(name, Tokens(ids, whose, stream=True))


def _column(there: Sequence[str], asked: str | None, where: str) -> str:
    if asked in there:
        return cast(str, asked)
    found = next((name for name in COLUMNS if name in there), None) if asked is None else None
    if found is None:
        what = f"no column '{asked}'" if asked is not None else f"no column {', '.join(COLUMNS[:-1])} or {COLUMNS[-1]}"
        names = ", ".join(there) if there else "none"
        raise BadRequest(f"{where}: {what}; there are: {names}. Name one after a colon, as in FILE:COLUMN")
    return found


def _content(value: Any, where: str, column: str, tokenizer: str | None) -> str | Chat | Tokens:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        if not value:
            return ""
        if all(isinstance(one, dict) for one in value):
            if not all({"role", "content"} <= one.keys() for one in value):
                raise BadRequest(
                    f"{where}: messages in column '{column}' have no role and content, but {list(value[0])}"
                )
            return value
        if all(isinstance(one, int) and not isinstance(one, bool) for one in value):
            whose = _whose(tokenizer, where, f"FILE:{column}:")
            wrong = next((n for n, one in enumerate(value) if not 0 <= one < 2**31), None)
            if wrong is not None:
                what = f"token {wrong} (counted from 0) of column '{column}' is {value[wrong]}"
                raise BadRequest(f"{where}: {what}, which is no token id")
            return Tokens(numpy.array(value, dtype=numpy.int32), whose)
    raise BadRequest(
        f"{where}: column '{column}' holds {type(value).__name__}, which is no text, list of messages or list of token ids"
    )


def _whose(tokenizer: str | None, where: str, write: str) -> str:
    if tokenizer is None:
        raise BadRequest(
            f"{where} holds token ids: say which tokenizer made them, as in {write}openai-community/gpt2, "
            f"or {write}model if it was the model's own"
        )
    return tokenizer


def _unreadable(file: Path, exc: Exception) -> BadRequest:
    first = (str(exc).strip().splitlines() or [type(exc).__name__])[0][:300]
    return BadRequest(f"{file} cannot be read: {first}")
