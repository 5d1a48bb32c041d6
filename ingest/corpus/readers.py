"""Documents of one file or dataset: a generator for each kind, with one document or one batch of rows in memory."""

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
from featurestore.extension.text import first_line

ROWS = 256  # rows of a table read at a time
OTHERWISE = "convert it, or name the text files by a pattern, as in 'folder/**/*.txt'"
COLUMNS = ("text", "messages", "input_ids", "tokens")  # the first of these that exists is read when no column is named


class Tokens(NamedTuple):
    """Token ids (n,) of any integer type, and the tokenizer that the user names for them ("model": the model's own)."""

    ids: numpy.ndarray
    tokenizer: str
    stream: bool = False  # many documents in a row, to be split at the tokenizer's separators


Chat = list[dict[str, Any]]


class Document(NamedTuple):
    """A document's name and its content: a text, a chat to be rendered, or tokens."""

    name: str
    content: str | Chat | Tokens


class Dataset(NamedTuple):
    """A dataset of the hub, or a directory in the hub's layout."""

    path: str
    revision: str | None
    config: str | None
    split: str


def plain_suffix(file: Path) -> str:
    """Returns the suffix in small letters; of a compressed file, the one before .gz or .zst."""
    compressed = file.suffix.lower() in (".gz", ".zst")
    return Path(file.stem).suffix.lower() if compressed else file.suffix.lower()


def open_stream(file: Path) -> BinaryIO:
    """Opens a file for reading bytes, decompressed on the fly."""
    if file.suffix.lower() == ".gz":
        return cast(BinaryIO, gzip.open(file))
    if file.suffix.lower() == ".zst":
        return cast(
            BinaryIO, io.BufferedReader(cast(io.RawIOBase, pyarrow.input_stream(str(file), compression="zstd")))
        )
    return file.open("rb")


def text(file: Path, name: str) -> Iterator[Document]:
    """Yields the one document of a text file. Raises BadRequest when it is not UTF-8 text."""
    try:
        with open_stream(file) as stream:
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
    """Yields a document for each line that is not blank: one column of its JSON object."""
    decode = msgspec.json.Decoder().decode
    try:
        with open_stream(file) as stream:
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
                selected = _column(list(row), column, where)
                yield Document(f"{name}:{number}", _content(row[selected], where, selected, tokenizer))
    except (OSError, EOFError, zlib.error) as exc:
        raise _unreadable(file, exc) from None


def parquet(file: Path, name: str, column: str | None = None, tokenizer: str | None = None) -> Iterator[Document]:
    """Yields a document for each row of a Parquet file; names count rows from 1."""
    try:
        with pq.ParquetFile(file) as table_file:
            selected = _column(table_file.schema_arrow.names, column, str(file))
            batches = table_file.iter_batches(batch_size=ROWS, columns=[selected])
            yield from _rows(batches, file, name, selected, tokenizer)
    except (OSError, pyarrow.ArrowException) as exc:
        raise _unreadable(file, exc) from None


def arrow(file: Path, name: str, column: str | None = None, tokenizer: str | None = None) -> Iterator[Document]:
    """Yields a document for each row of an Arrow file: a stream, as datasets saves it, or a file with a footer."""
    try:
        with pyarrow.memory_map(str(file)) as source:
            if source.read(6) == b"ARROW1":
                reader = pyarrow.ipc.open_file(source)
                batches = (reader.get_batch(n) for n in range(reader.num_record_batches))
            else:
                source.seek(0)
                reader = pyarrow.ipc.open_stream(source)
                batches = iter(reader)
            selected = _column(reader.schema.names, column, str(file))
            yield from _rows((batch.select([selected]) for batch in batches), file, name, selected, tokenizer)
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
    """Tells whether `datasets` saved one split here (save_to_disk)."""
    return (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()


def list_saved_files(folder: Path) -> list[Path]:
    """Returns the Arrow files of a saved dataset in their order. Raises BadRequest when some are missing."""
    try:
        state = json.loads((folder / "state.json").read_text("utf-8"))
        files = [folder / entry["filename"] for entry in state["_data_files"]]
    except (ValueError, KeyError, TypeError) as exc:
        raise BadRequest(f"{folder / 'state.json'} is damaged: {exc!r}; save the dataset again") from None
    if state.get("_indices_data_files"):
        raise BadRequest(f"{folder} holds a selection of its rows: call flatten_indices() and save the dataset again")
    if missing := [file for file in files if not file.is_file()]:
        raise BadRequest(f"{folder} is not whole: {missing[0].name} is missing; save the dataset again")
    return files


def dataset(source: Dataset, column: str | None = None, tokenizer: str | None = None) -> Iterator[Document]:
    """Yields a document for each row of a dataset of the hub, streamed, or of a directory in the hub's layout.

    Raises Unavailable without the package datasets or when the hub does not answer, and BadRequest when there is no
    such dataset, configuration, split or column.
    """
    try:
        import datasets
    except ImportError:
        raise Unavailable("hf:// needs the package datasets: pip install 'featurestore[datasets]'") from None
    datasets.disable_progress_bars()
    location = f"hf://{source.path}#{source.config + '/' if source.config else ''}{source.split}"
    name = Path(source.path).name if Path(source.path).is_dir() else source.path
    try:
        rows = iter(
            datasets.load_dataset(
                source.path, source.config, split=source.split, revision=source.revision, streaming=True
            )
        )
        number = 0
        while (row := next(rows, None)) is not None:
            number += 1
            where = f"{location}, row {number}"
            selected = _column(list(row), column, where)
            yield Document(f"{name}/{source.split}:{number}", _content(row[selected], where, selected, tokenizer))
    except (BadRequest, GeneratorExit):
        raise
    except ConnectionError as exc:
        raise Unavailable(f"{location} cannot be reached now: {exc}") from None
    # datasets passes on whatever file systems, parsers and the hub raise.
    except Exception as exc:
        what = " ".join(str(exc).split())[:300] or type(exc).__name__
        raise BadRequest(f"{location} cannot be read: {what}") from None


def array(file: Path, name: str, tokenizer: str | None = None) -> Iterator[Document]:
    """Yields the tokens of a NumPy file of integers: one stream (n,), or a document for each row (rows, n)."""
    try:
        ids = numpy.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as exc:
        raise _unreadable(file, exc) from None
    if ids.dtype.kind not in "iu" or ids.ndim not in (1, 2):
        raise BadRequest(
            f"{file} has {ids.dtype} of shape {ids.shape}: token ids are integers in one or two dimensions"
        )
    whose = _whose(tokenizer, str(file), f"{file}:")
    if ids.ndim == 1:
        yield Document(name, Tokens(ids, whose, stream=True))
        return
    for number, row in enumerate(ids, 1):
        yield Document(f"{name}:{number}", Tokens(row, whose))


def raw_array(file: Path, name: str, dtype: str, tokenizer: str | None = None) -> Iterator[Document]:
    """Yields the stream of tokens of a file of little-endian numbers without a header, as nanoGPT writes it."""
    whose = _whose(tokenizer, str(file), f"{file}:uint16:")
    size, width = file.stat().st_size, numpy.dtype(dtype).itemsize
    if size % width:
        raise BadRequest(
            f"{file} has {size} bytes, which are no whole numbers of {width} bytes: say :uint16 or :uint32"
        )
    ids = numpy.memmap(file, dtype=dtype, mode="r") if size else numpy.zeros(0, dtype)
    yield Document(name, Tokens(ids, whose, stream=True))


def _column(names: Sequence[str], wanted: str | None, where: str) -> str:
    """Returns the column to read: the one wanted, or the first of COLUMNS. Raises BadRequest if it does not exist."""
    if wanted is not None and wanted in names:
        return wanted
    default = next((name for name in COLUMNS if name in names), None) if wanted is None else None
    if default is None:
        what = (
            f"no column '{wanted}'" if wanted is not None else f"no column {', '.join(COLUMNS[:-1])} or {COLUMNS[-1]}"
        )
        columns = ", ".join(names) or "none"
        raise BadRequest(f"{where}: {what}; there are: {columns}. Name one after a colon, as in FILE:COLUMN")
    return default


def _content(value: Any, where: str, column: str, tokenizer: str | None) -> str | Chat | Tokens:
    """Returns the content of a cell by its type. Raises BadRequest for a type that is no text, chat or tokens."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        if not value:
            return ""
        if all(isinstance(item, dict) for item in value):
            if not all({"role", "content"} <= item.keys() for item in value):
                raise BadRequest(
                    f"{where}: messages in column '{column}' have no role and content, but {list(value[0])}"
                )
            return value
        if all(isinstance(item, int) and not isinstance(item, bool) for item in value):
            whose = _whose(tokenizer, where, f"FILE:{column}:")
            wrong = next((n for n, item in enumerate(value) if not 0 <= item < 2**31), None)
            if wrong is not None:
                what = f"token {wrong} (counted from 0) of column '{column}' is {value[wrong]}"
                raise BadRequest(f"{where}: {what}, which is no token id")
            return Tokens(numpy.array(value, dtype=numpy.int32), whose)
    raise BadRequest(
        f"{where}: column '{column}' holds {type(value).__name__}, which is no text, list of messages or list of token "
        "ids"
    )


def _whose(tokenizer: str | None, where: str, write: str) -> str:
    """Returns the tokenizer that the user named for token ids. Raises BadRequest when none was named."""
    if tokenizer is None:
        raise BadRequest(
            f"{where} holds token ids: say which tokenizer made them, as in {write}openai-community/gpt2, "
            f"or {write}model if it was the model's own"
        )
    return tokenizer


def _unreadable(file: Path, exc: Exception) -> BadRequest:
    return BadRequest(f"{file} cannot be read: {first_line(exc, 300)}")
