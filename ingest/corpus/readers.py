"""Documents of one file or dataset: a generator for each kind, with one document or one batch of rows in memory."""

from __future__ import annotations

import codecs
import csv
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
from featurestore.extension.arrays import plain_errors
from featurestore.extension.text import first_line
from ingest.corpus.cells import MASK, Chat, Tokens, find_column, name_tokenizer, parse_cell, read_cell
from ingest.corpus.faults import Faults, find_encoding, is_binary

ROWS = 256  # rows of a table read at a time
OTHERWISE = "convert it, or name the text files by a pattern, as in 'folder/**/*.txt'"


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


def text(file: Path, name: str, faults: Faults) -> Iterator[Document]:
    """Yields the one document of a text file. Raises BadRequest when it is no text."""
    raw = _read_all(file)
    try:
        if is_binary(raw):
            at = f"byte {raw.index(0)} is zero" if b"\0" in raw else f"it begins with {raw[:4]!r}"
            raise BadRequest(f"{file} is not text: {at}; {OTHERWISE}")
        content = faults.decode(raw, str(file))
    except BadRequest as exc:
        faults.reject(str(file), exc)
        return
    yield Document(name, content)


def _read_all(file: Path) -> bytes:
    try:
        with open_stream(file) as stream:
            return stream.read()
    except (OSError, EOFError, zlib.error) as exc:
        raise _unreadable(file, exc) from None


def json_lines(
    file: Path, name: str, column: str | None = None, tokenizer: str | None = None, *, faults: Faults
) -> Iterator[Document]:
    """Yields a document for each line that is not blank: one column of its JSON object."""
    try:
        with open_stream(file) as stream:
            encoding = find_encoding(stream.peek(4)[:4] if hasattr(stream, "peek") else b"")
            lines = stream if encoding == "utf-8-sig" else _recode(stream, encoding)
            for number, line in enumerate(lines, 1):
                line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                if not line.strip():
                    continue
                where = f"{file}, line {number}"
                try:
                    row = decode_json(line, where, faults)
                    if not isinstance(row, dict):
                        raise BadRequest(f"{where}: not a JSON object but {type(row).__name__}; each line is one")
                    content = _read_row(row, column, where, tokenizer)
                except BadRequest as exc:
                    faults.reject(where, exc)
                    continue
                yield Document(f"{name}:{number}", content)
    except (OSError, EOFError, zlib.error, UnicodeError) as exc:
        raise _unreadable(file, exc) from None


def _recode(stream: BinaryIO, encoding: str) -> Iterator[bytes]:
    with io.TextIOWrapper(stream, encoding) as lines:
        yield from (line.encode() for line in lines)


def _read_row(row: dict[str, Any], column: str | None, where: str, tokenizer: str | None) -> str | Chat | Tokens:
    selected = find_column(list(row), column, where)
    return read_cell(row[selected], where, selected, tokenizer, row.get(MASK))


def decode_json(raw: bytes, where: str, faults: Faults) -> Any:
    """Returns the value of a JSON text. Raises BadRequest when it is none, or no UTF-8 and faults may not mend it."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        error = BadRequest(f"{where}: not JSON: {exc}")
    # Halves of pairs and bytes that are no UTF-8 are the usual faults of files that are JSON otherwise.
    try:
        return json.loads(faults.decode(raw, where) if faults.replaces else raw)
    except (ValueError, RecursionError):
        raise error from None


def json_file(
    file: Path, name: str, column: str | None = None, tokenizer: str | None = None, *, faults: Faults
) -> Iterator[Document]:
    """Yields a document for each entry of a JSON array, or the one of a JSON object; JSON lines are read as such.

    An entry is a text, a list of messages or token ids, or an object of which one column is read.
    """
    raw = _read_all(file)
    encoding = find_encoding(raw[:4])
    raw = raw.removeprefix(codecs.BOM_UTF8) if encoding == "utf-8-sig" else raw.decode(encoding, "replace").encode()
    try:
        value = decode_json(raw, str(file), faults)
    except BadRequest as exc:
        first = raw.strip().split(b"\n", 1)[0].strip()
        if first.startswith(b"{") and first.endswith(b"}"):
            yield from json_lines(file, name, column, tokenizer, faults=faults)
            return
        faults.reject(str(file), exc)
        return
    entries = value if isinstance(value, list) else [value]
    for number, entry in enumerate(entries, 1):
        where = f"{file}, entry {number}" if isinstance(value, list) else str(file)
        try:
            if isinstance(entry, dict):
                content = _read_row(entry, column, where, tokenizer)
            else:
                content = read_cell(entry, where, "entry", tokenizer)
        except BadRequest as exc:
            faults.reject(where, exc)
            continue
        yield Document(f"{name}:{number}" if isinstance(value, list) else name, content)


def table(
    file: Path, name: str, column: str | None = None, tokenizer: str | None = None, *, faults: Faults
) -> Iterator[Document]:
    """Yields a document for each row of a CSV or TSV file, whose first row names the columns."""
    tabs = plain_suffix(file) in (".tsv", ".tab")
    try:
        with open_stream(file) as stream:
            encoding = find_encoding(stream.peek(4)[:4] if hasattr(stream, "peek") else b"")
            errors = "replace" if faults.replaces else "surrogateescape"
            text_stream = io.TextIOWrapper(stream, encoding, errors=errors, newline="")
            csv.field_size_limit(1 << 30)  # a cell is a document
            rows = csv.DictReader(text_stream, delimiter="\t" if tabs else ",")
            names = [field or "" for field in rows.fieldnames or []]
            selected = find_column(names, column, str(file)) if names else ""
            for number, row in enumerate(rows, 1):
                where = f"{file}, row {number}"
                try:
                    cell, mask = row[selected], row.get(MASK)
                    if cell is not None and any(0xDC80 <= ord(character) < 0xDD00 for character in cell):
                        raise BadRequest(f"{where}: it is not UTF-8 text")
                    if faults.replaces and cell and "\ufffd" in cell:
                        faults.mended += 1
                    value = parse_cell(cell, selected) if cell is not None else None
                    hidden = parse_cell(mask, "tokens") if mask else None
                    content = read_cell(value, where, selected, tokenizer, hidden)
                except BadRequest as exc:
                    faults.reject(where, exc)
                    continue
                yield Document(f"{name}:{number}", content)
    except (OSError, EOFError, zlib.error, csv.Error, UnicodeError) as exc:
        raise _unreadable(file, exc) from None


def parquet(
    file: Path, name: str, column: str | None = None, tokenizer: str | None = None, *, faults: Faults
) -> Iterator[Document]:
    """Yields a document for each row of a Parquet file; names count rows from 1."""
    try:
        with pq.ParquetFile(file) as table_file:
            selected = find_column(table_file.schema_arrow.names, column, str(file))
            columns = _with_mask(selected, table_file.schema_arrow.names)
            batches = table_file.iter_batches(batch_size=ROWS, columns=columns)
            yield from _rows(batches, file, name, selected, tokenizer, faults)
    except (OSError, pyarrow.ArrowException) as exc:
        raise _unreadable(file, exc) from None


def arrow(
    file: Path, name: str, column: str | None = None, tokenizer: str | None = None, *, faults: Faults
) -> Iterator[Document]:
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
            selected = find_column(reader.schema.names, column, str(file))
            columns = _with_mask(selected, reader.schema.names)
            yield from _rows((batch.select(columns) for batch in batches), file, name, selected, tokenizer, faults)
    except (OSError, pyarrow.ArrowException) as exc:
        raise _unreadable(file, exc) from None


def _with_mask(column: str, names: Sequence[str]) -> list[str]:
    return [column, MASK] if MASK in names and column != MASK else [column]


def _rows(
    batches: Iterator[pyarrow.RecordBatch], file: Path, name: str, column: str, tokenizer: str | None, faults: Faults
) -> Iterator[Document]:
    number = 0
    for batch in batches:
        for first in range(0, batch.num_rows, ROWS):  # a saved dataset's batches are large
            part = batch.slice(first, ROWS)
            values = part.column(column).to_pylist()
            masks = part.column(MASK).to_pylist() if MASK in part.schema.names else [None] * len(values)
            for value, mask in zip(values, masks, strict=True):
                number += 1
                where = f"{file}, row {number}"
                try:
                    content = read_cell(value, where, column, tokenizer, mask)
                except BadRequest as exc:
                    faults.reject(where, exc)
                    continue
                yield Document(f"{name}:{number}", content)


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


def dataset(
    source: Dataset, column: str | None = None, tokenizer: str | None = None, *, faults: Faults
) -> Iterator[Document]:
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
            try:
                content = _read_row(row, column, where, tokenizer)
            except BadRequest as exc:
                faults.reject(where, exc)
                continue
            yield Document(f"{name}/{source.split}:{number}", content)
    except (BadRequest, GeneratorExit):
        raise
    except ConnectionError as exc:
        raise Unavailable(f"{location} cannot be reached now: {exc}") from None
    # datasets passes on whatever file systems, parsers and the hub raise.
    except Exception as exc:
        what = " ".join(str(exc).split())[:300] or type(exc).__name__
        raise BadRequest(f"{location} cannot be read: {what}") from None


def array(file: Path, name: str, tokenizer: str | None = None, *, faults: Faults) -> Iterator[Document]:
    """Yields the tokens of a NumPy file of integers: one stream (n,), or a document for each row (rows, n)."""
    try:
        with plain_errors():
            ids = numpy.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as exc:
        raise _unreadable(file, exc) from None
    if ids.dtype.kind not in "iu" or ids.ndim not in (1, 2):
        raise BadRequest(
            f"{file} has {ids.dtype} of shape {ids.shape}: token ids are integers in one or two dimensions"
        )
    whose = name_tokenizer(tokenizer, str(file), f"{file}:")
    if ids.ndim == 1:
        yield Document(name, Tokens(ids, whose, stream=True))
        return
    for number, row in enumerate(ids, 1):
        yield Document(f"{name}:{number}", Tokens(row, whose))


def raw_array(file: Path, name: str, dtype: str, tokenizer: str | None = None, *, faults: Faults) -> Iterator[Document]:
    """Yields the stream of tokens of a file of little-endian numbers without a header, as nanoGPT writes it."""
    whose = name_tokenizer(tokenizer, str(file), f"{file}:uint16:")
    size, width = file.stat().st_size, numpy.dtype(dtype).itemsize
    if size % width:
        raise BadRequest(
            f"{file} has {size} bytes, which are no whole numbers of {width} bytes: say :uint16 or :uint32"
        )
    ids = numpy.memmap(file, dtype=dtype, mode="r") if size else numpy.zeros(0, dtype)
    yield Document(name, Tokens(ids, whose, stream=True))


def _unreadable(file: Path, exc: Exception) -> BadRequest:
    return BadRequest(f"{file} cannot be read: {first_line(exc, 300)}")
