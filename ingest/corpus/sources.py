"""Parses sources, the places of text that a user names (see docs/corpora.md), and reads their documents.

Knows nothing of tokenizers."""

from __future__ import annotations

import dataclasses
import glob
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from featurestore import BadRequest, NotFound
from ingest.corpus import readers
from ingest.corpus.faults import Faults, is_binary
from ingest.corpus.readers import Document

HUB = "hf://"
# Names of the number types in a file without a header.
DTYPES = {"uint16": "<u2", "uint32": "<u4"}


@dataclasses.dataclass(frozen=True)
class Source:
    """One parsed source: files or a dataset, and the fields after the path."""

    files: tuple[tuple[Path, str], ...] = ()  # each with the name of its documents
    dataset: readers.Dataset | None = None
    fields: tuple[str, ...] = ()
    mixed: bool = False  # files that nobody named one by one: some may be no text


class _Kind(NamedTuple):
    """How files of a suffix are read, and which fields may follow their path."""

    read: Callable[..., Iterator[Document]]
    fields: tuple[str, ...]


def _text(file: Path, name: str, *, faults: Faults) -> Iterator[Document]:
    return readers.text(file, name, faults)


def _raw(
    file: Path, name: str, dtype: str | None = None, tokenizer: str | None = None, *, faults: Faults
) -> Iterator[Document]:
    if dtype is not None and dtype not in DTYPES:
        raise BadRequest(f"{file}: '{dtype}' is no type of its numbers; write {file}:uint16:TOKENIZER or uint32")
    return readers.raw_array(file, name, DTYPES[dtype or "uint16"], tokenizer, faults=faults)


KINDS = {
    ".jsonl": _Kind(readers.json_lines, ("COLUMN", "TOKENIZER")),
    ".ndjson": _Kind(readers.json_lines, ("COLUMN", "TOKENIZER")),
    ".json": _Kind(readers.json_file, ("COLUMN", "TOKENIZER")),
    ".csv": _Kind(readers.table, ("COLUMN", "TOKENIZER")),
    ".tsv": _Kind(readers.table, ("COLUMN", "TOKENIZER")),
    ".tab": _Kind(readers.table, ("COLUMN", "TOKENIZER")),
    ".parquet": _Kind(readers.parquet, ("COLUMN", "TOKENIZER")),
    ".arrow": _Kind(readers.arrow, ("COLUMN", "TOKENIZER")),
    ".npy": _Kind(readers.array, ("TOKENIZER",)),
    ".bin": _Kind(_raw, ("uint16 or uint32", "TOKENIZER")),
}
TEXT = _Kind(_text, ())


def documents(
    sources: Sequence[str | Path], faults: Faults | None = None, pattern: str | None = None
) -> Iterator[Document]:
    """Returns an iterator over the documents of all sources; each is read when the iterator reaches it.

    `faults` says what happens to documents that cannot be read; without it they are errors. `pattern` selects files
    of directories, as in "**/*.md".

    Raises NotFound for missing files and BadRequest for wrong fields at once, before anything is read. The iterator
    raises BadRequest, naming the file and the line or row, for content that cannot be read.
    """
    parsed = [parse(str(source), pattern) for source in sources]
    kept = faults or Faults()
    return (document for source in parsed for document in _read(source, kept))


def parse(text: str, pattern: str | None = None) -> Source:
    """Parses a source: PATH, PATTERN or hf://DATASET, then fields after colons. Raises NotFound or BadRequest."""
    if text.startswith(HUB):
        return _parse_dataset(text)
    # A path may hold colons itself, so the longest prefix that exists is the path.
    for cuts in range(3):
        path, *fields = text.rsplit(":", cuts)
        if len(fields) == cuts and (files := _files(path, pattern)):
            for file, _ in files:
                kind = kind_of(file)
                if len(fields) > len(kind.fields):
                    allowed = (
                        f"after it one can say {', '.join(kind.fields)}" if kind.fields else "nothing follows its path"
                    )
                    raise BadRequest(f"'{text}': {file.name} was given {':'.join(fields)}, but {allowed}")
            return Source(files=tuple(files), fields=tuple(fields), mixed=not Path(path).is_file())
    if Path(text.split(":")[0]).is_dir():
        which = f" of the pattern {pattern}" if pattern else ""
        raise BadRequest(f"the corpus is empty: no file{which} in {text.split(':')[0]}")
    raise NotFound(f"no text at {text}: there is no such file or directory")


def kind_of(file: Path) -> _Kind:
    """Returns how a file is read, by its suffix before .gz or .zst."""
    return KINDS.get(readers.plain_suffix(file), TEXT)


def _parse_dataset(text: str) -> Source:
    rest = text.removeprefix(HUB)
    name, _, tail = rest.partition("#")
    fields: list[str] = []
    if tail:
        tail, *fields = tail.split(":")
    elif not Path(name).exists():
        name, *fields = name.split(":")
    local = name.startswith((".", "/", "~"))
    path, _, revision = (name, "", "") if local else name.partition("@")
    if local and not Path(path).expanduser().is_dir():
        raise NotFound(f"no dataset at {text}: there is no directory {path}")
    if not local and path.count("/") != 1:
        raise BadRequest(f"'{text}' is no dataset: the hub's names have an owner, as in hf://roneneldan/TinyStories")
    if len(fields) > 2 or tail.count("/") > 1:
        raise BadRequest(f"'{text}': write hf://NAME[@REVISION][#[CONFIG/]SPLIT][:COLUMN[:TOKENIZER]]")
    config, _, split = tail.rpartition("/")
    path = str(Path(path).expanduser()) if local else path
    return Source(
        dataset=readers.Dataset(path, revision or None, config or None, split or "train"),
        fields=tuple(fields),
    )


def _files(text: str, pattern: str | None) -> list[tuple[Path, str]]:
    """Returns the files that a path or pattern stands for, each with the name of its documents."""
    path = Path(text)
    if path.is_dir():
        if (path / "dataset_dict.json").is_file():
            splits = ", ".join(sorted(folder.name for folder in path.iterdir() if folder.is_dir()))
            raise BadRequest(f"{text} is a dataset of several splits ({splits}): name one, as in {path / 'train'}")
        if readers.is_saved_dataset(path):
            return [(file, file.name) for file in readers.list_saved_files(path)]
        return [
            (file, file.relative_to(path).as_posix()) for file in sorted(path.glob(pattern or "**/*")) if file.is_file()
        ]
    if path.is_file():  # a name may hold brackets
        return [(path, path.name)]
    matching = sorted(file for file in map(Path, glob.glob(text, recursive=True)) if file.is_file())
    return [(file, file.name) for file in matching]


def _read(source: Source, faults: Faults) -> Iterator[Document]:
    if source.dataset:
        yield from readers.dataset(source.dataset, *source.fields, faults=faults)
    for file, name in source.files:
        kind = kind_of(file)
        if source.mixed and kind is TEXT and _is_no_text(file):
            faults.other_files.append(name)
            continue
        yield from kind.read(file, name, *source.fields, faults=faults)


def _is_no_text(file: Path) -> bool:
    try:
        with readers.open_stream(file) as stream:
            return is_binary(stream.read(8192))
    except (OSError, EOFError, zlib.error):
        return False  # its reader says what is wrong with it
