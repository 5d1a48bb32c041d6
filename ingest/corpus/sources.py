"""From what a user names to documents: the grammar of sources, see docs/corpora.md. Nothing is tokenised here."""

from __future__ import annotations

import dataclasses
import glob
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from featurestore import BadRequest, NotFound
from ingest.corpus import readers
from ingest.corpus.readers import Document

HUB = "hf://"
# What the number types of a file without a header are called.
DTYPES = {"uint16": "<u2", "uint32": "<u4"}


@dataclasses.dataclass(frozen=True)
class Source:
    """One parsed source: files or a dataset, and what was said after the path."""

    files: tuple[tuple[Path, str], ...] = ()  # each with the name its documents go by
    dataset: readers.Dataset | None = None
    fields: tuple[str, ...] = ()


class _Kind(NamedTuple):
    """How files of a suffix are read, and what may be said after their path."""

    read: Callable[..., Iterator[Document]]
    fields: tuple[str, ...]


def _text(file: Path, name: str) -> Iterator[Document]:
    return readers.text(file, name)


def _raw(file: Path, name: str, dtype: str | None = None, tokenizer: str | None = None) -> Iterator[Document]:
    if dtype is not None and dtype not in DTYPES:
        raise BadRequest(f"{file}: '{dtype}' is no type of its numbers; write {file}:uint16:TOKENIZER or uint32")
    return readers.raw_array(file, name, DTYPES[dtype or "uint16"], tokenizer)


KINDS = {
    ".jsonl": _Kind(readers.json_lines, ("COLUMN", "TOKENIZER")),
    ".ndjson": _Kind(readers.json_lines, ("COLUMN", "TOKENIZER")),
    ".parquet": _Kind(readers.parquet, ("COLUMN", "TOKENIZER")),
    ".arrow": _Kind(readers.arrow, ("COLUMN", "TOKENIZER")),
    ".npy": _Kind(readers.array, ("TOKENIZER",)),
    ".bin": _Kind(_raw, ("uint16 or uint32", "TOKENIZER")),
}
TEXT = _Kind(_text, ())


def documents(sources: Sequence[str | Path]) -> Iterator[Document]:
    """The documents of all sources, one after another, read as they are asked for.

    Raises NotFound for what is not there and BadRequest for what is not said rightly now, before anything is read;
    BadRequest, naming the file and the line or row, for what cannot be read when it is come to.
    """
    parsed = [parse(str(source)) for source in sources]
    return (document for source in parsed for document in _read(source))


def parse(given: str) -> Source:
    """What a source means: PATH, PATTERN or hf://DATASET, then fields after colons. Raises NotFound or BadRequest."""
    if given.startswith(HUB):
        return _parse_dataset(given)
    # A path may hold colons itself, so the longest thing that is there is the path.
    for cuts in range(3):
        path, *fields = given.rsplit(":", cuts)
        if len(fields) == cuts and (files := _files(path)):
            for file, _ in files:
                kind = kind_of(file)
                if len(fields) > len(kind.fields):
                    may = (
                        f"after it one can say {', '.join(kind.fields)}" if kind.fields else "nothing follows its path"
                    )
                    raise BadRequest(f"'{given}': {file.name} was given {':'.join(fields)}, but {may}")
            return Source(files=tuple(files), fields=tuple(fields))
    if Path(given.split(":")[0]).is_dir():
        raise BadRequest(f"the corpus is empty: no file in {given.split(':')[0]}")
    raise NotFound(f"no text at {given}: there is no such file or directory")


def kind_of(file: Path) -> _Kind:
    """How a file is read, by its suffix before .gz or .zst."""
    return KINDS.get(readers.plain_suffix(file), TEXT)


def _parse_dataset(given: str) -> Source:
    rest = given.removeprefix(HUB)
    name, _, tail = rest.partition("#")
    fields: list[str] = []
    if tail:
        tail, *fields = tail.split(":")
    elif not Path(name).exists():
        name, *fields = name.split(":")
    local = name.startswith((".", "/", "~"))
    path, _, revision = (name, "", "") if local else name.partition("@")
    if local and not Path(path).expanduser().is_dir():
        raise NotFound(f"no dataset at {given}: there is no directory {path}")
    if not local and path.count("/") != 1:
        raise BadRequest(f"'{given}' is no dataset: the hub's names have an owner, as in hf://roneneldan/TinyStories")
    if len(fields) > 2 or tail.count("/") > 1:
        raise BadRequest(f"'{given}': write hf://NAME[@REVISION][#[CONFIG/]SPLIT][:COLUMN[:TOKENIZER]]")
    config, _, split = tail.rpartition("/")
    path = str(Path(path).expanduser()) if local else path
    return Source(
        dataset=readers.Dataset(path, revision or None, config or None, split or "train"),
        fields=tuple(fields),
    )


def _files(given: str) -> list[tuple[Path, str]]:
    """The files a path or pattern stands for, with the names their documents go by."""
    path = Path(given)
    if path.is_dir():
        if (path / "dataset_dict.json").is_file():
            splits = ", ".join(sorted(one.name for one in path.iterdir() if one.is_dir()))
            raise BadRequest(f"{given} is a dataset of several splits ({splits}): name one, as in {path / 'train'}")
        if readers.is_saved_dataset(path):
            return [(file, file.name) for file in readers.saved_files(path)]
        return [(file, file.relative_to(path).as_posix()) for file in sorted(path.rglob("*")) if file.is_file()]
    if path.is_file():  # a name may hold brackets
        return [(path, path.name)]
    matching = sorted(one for one in map(Path, glob.glob(given, recursive=True)) if one.is_file())
    return [(file, file.name) for file in matching]


def _read(source: Source) -> Iterator[Document]:
    if source.dataset:
        yield from readers.dataset(source.dataset, *source.fields)
    for file, name in source.files:
        yield from kind_of(file).read(file, name, *source.fields)
