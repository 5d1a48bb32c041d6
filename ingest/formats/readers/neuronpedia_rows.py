"""Records of Neuronpedia's exports, by kind: features, activations and explanations."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy
import pyarrow
import pyarrow.compute
import pyarrow.json

from ingest.formats import files
from ingest.formats.batches import Batch
from ingest.formats.readers.labels import parse_feature, parse_label
from ingest.formats.records import activation_lines, activation_tables
from ingest.formats.records.activation_tables import NUMBER_LIST, TEXT_LIST
from ingest.formats.records.dashboard_rows import BadRecord, feature_columns
from ingest.formats.records.windows import drop_filler
from ingest.formats.rejects import Rejects

# What is read of an activation; `index` is a text in exports of the database and a number in those of the converter.
_FIELDS = {
    "modelId": pyarrow.string(),
    "layer": pyarrow.string(),
    "index": pyarrow.string(),
    "tokens": TEXT_LIST,
    "values": NUMBER_LIST,
    "binMin": pyarrow.float64(),
    "binMax": pyarrow.float64(),
    "binContains": pyarrow.float64(),
    "qualifyingTokenIndex": pyarrow.int64(),
    "dfaValues": NUMBER_LIST,
    "dfaTargetIndex": pyarrow.int64(),
    "lossValues": NUMBER_LIST,
    "logitContributions": pyarrow.string(),
}
SCHEMAS = (
    pyarrow.schema(list(_FIELDS.items())),
    pyarrow.schema(list((_FIELDS | {"index": pyarrow.int64()}).items())),
)
EXTRA = ("dfaValues", "dfaTargetIndex", "lossValues", "logitContributions")
FEW_BYTES = 1 << 16  # of lines around a broken one that are read slowly
_OBJECTS = msgspec.json.Decoder(dict[str, msgspec.Raw])
OTHER_DICTIONARY = "it is of another model or source"


class Owner(NamedTuple):
    """Whose records are wanted: `expected` is the dictionary that the files must be of ("" for any), `renamed` the one
    that they become ("" for their own)."""

    expected: str
    renamed: str

    def name(self, model: Any, source: Any) -> str | None:
        """Return the dictionary of a record, or None where it is of another one."""
        own = f"{model}/{source}" if model is not None and source is not None else self.expected
        if (self.expected and own != self.expected) or " " in own or own.count("/") != 1:
            return None
        return self.renamed or own


def read_features(
    path: str, rejects: Rejects, owner: Owner, tokens: int | None, facts: Mapping[str, Any]
) -> Iterator[Batch]:
    """Yield features, by dictionary."""
    for lines in files.read_lines(path, rejects):
        rows: dict[str, list[dict[str, Any]]] = {}
        hooks: dict[str, Any] = {}
        for number, record in files.parse_lines(path, lines, rejects):
            place = f"line {number}"
            dictionary, feature = _identify(path, place, record, owner, rejects)
            if dictionary is None:
                continue
            try:
                rows.setdefault(dictionary, []).append({"feature": feature} | feature_columns(record, tokens))
            except BadRecord as exc:
                rejects.add(path, place, str(exc), record)
                continue
            if isinstance(record.get("hookName"), str) and record["hookName"]:
                hooks.setdefault(dictionary, record["hookName"])
        for dictionary, features in rows.items():
            yield Batch(dictionary, {**facts, "hook_point": hooks.get(dictionary)}, features=features)


def read_explanations(
    path: str, rejects: Rejects, owner: Owner, facts: Mapping[str, Any], keep_embeddings: bool = False
) -> Iterator[Batch]:
    """Yield labels, by dictionary; an export of the older kind is one list. With `keep_embeddings`, what was stored of
    them too, as vectors of a dictionary beside: only the encoder that made them could search them."""
    if path.removesuffix(".gz").endswith(".json"):
        content = files.read_json(path)
        records = enumerate(content if isinstance(content, list) else [content])
        yield from _explanations(
            path, ((f"item {n}", record) for n, record in records), rejects, owner, facts, keep_embeddings
        )
        return
    for lines in files.read_lines(path, rejects):
        parsed = ((f"line {n}", record) for n, record in files.parse_lines(path, lines, rejects))
        yield from _explanations(path, parsed, rejects, owner, facts, keep_embeddings)


def _explanations(
    path: str,
    records: Iterator[tuple[str, Any]],
    rejects: Rejects,
    owner: Owner,
    facts: Mapping[str, Any],
    keep_embeddings: bool,
) -> Iterator[Batch]:
    labels: dict[str, list[dict[str, Any]]] = {}
    embeddings: dict[str, dict[int, numpy.ndarray]] = {}
    for place, record in records:
        dictionary, feature = _identify(path, place, record, owner, rejects)
        if dictionary is None:
            continue
        label, problem = parse_label(record.get("description"))
        if problem:
            rejects.add(path, place, problem, record)
            continue
        model, method = record.get("explanationModelName"), record.get("typeName")
        row = {"feature": feature, "label": label, "explainer": _name(model) or _name(method) or "neuronpedia"}
        labels.setdefault(dictionary, []).append(row | {"prompt": _name(method) or None})
        if keep_embeddings and (vector := parse_embedding(record.get("embedding"))) is not None:
            embeddings.setdefault(dictionary, {}).setdefault(feature, vector)
    for dictionary, rows in labels.items():
        yield Batch(dictionary, dict(facts), labels=rows)
    for dictionary, vectors in embeddings.items():
        yield _embedding_batch(dictionary, vectors)


def parse_embedding(value: Any) -> numpy.ndarray | None:
    """Return an embedding, a list of numbers or the text of one as the database writes it; None for anything else."""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError:
            return None
    try:
        vector = numpy.asarray(value, dtype=numpy.float32)
    except (TypeError, ValueError):
        return None
    return vector if vector.ndim == 1 and len(vector) and numpy.isfinite(vector).all() else None


def _embedding_batch(dictionary: str, vectors: Mapping[int, numpy.ndarray]) -> Batch:
    width = len(next(iter(vectors.values())))
    kept = {feature: vector for feature, vector in vectors.items() if len(vector) == width}
    numbers, matrix = numpy.array(list(kept), dtype=numpy.int64), numpy.stack(list(kept.values()))
    facts = {"kind": "vectors", "d_out": width, "space": f"text-embedding-3-large@{width}"}
    dropped = {"embeddings of another width": len(vectors) - len(kept)}
    return Batch(f"{dictionary}__embeddings", facts, vectors=(numbers, matrix), dropped=dropped)


def _name(value: Any) -> str:
    """Return a name of a model or a method, "" where there is none that can be one."""
    text, problem = parse_label(value)
    return "" if problem else text[:190]


def _identify(path: str, place: str, record: Any, owner: Owner, rejects: Rejects) -> tuple[str | None, int]:
    """Return the dictionary and the feature of a record; None for one that is rejected."""
    if not isinstance(record, dict):
        rejects.add(path, place, "it is no object", repr(record))
        return None, 0
    dictionary = owner.name(record.get("modelId"), record.get("layer"))
    feature = parse_feature(record.get("index"))
    if dictionary is None or feature is None:
        rejects.add(path, place, OTHER_DICTIONARY if dictionary is None else "its index is no number", record)
        return None, 0
    return dictionary, feature


def read_activations(path: str, rejects: Rejects, owner: Owner, facts: Mapping[str, Any]) -> Iterator[Batch]:
    """Yield windows, by dictionary. Windows without any activation are filler, and dropped."""
    for lines in files.read_lines(path, rejects):
        for table, places in _parse(path, lines, rejects):
            if table.num_rows:
                yield from _windows(path, table, places, rejects, owner, facts)


def _parse(path: str, lines: files.Lines, rejects: Rejects) -> Iterator[tuple[pyarrow.Table, Sequence[int]]]:
    """Yield activations and their lines' numbers. Where a line is broken, few others are read slowly beside it."""
    for schema in SCHEMAS:
        table = activation_lines.parse(lines.content, schema)
        if table is None:
            table = _parse_columns(lines.content, schema)
        if table is not None:
            yield table, range(lines.first, lines.first + table.num_rows)
            return
    cut = lines.content.find(b"\n", len(lines.content) // 2) + 1
    if len(lines.content) <= FEW_BYTES or not 0 < cut < len(lines.content):
        yield _parse_slowly(path, lines, rejects)
        return
    first, second = lines.content[:cut], lines.content[cut:]
    yield from _parse(path, files.Lines(lines.first, first), rejects)
    yield from _parse(path, files.Lines(lines.first + first.count(b"\n"), second), rejects)


def _parse_columns(content: bytes, schema: pyarrow.Schema) -> pyarrow.Table | None:
    """Return the lines as a table of a schema; None where a line is blank, broken or of another schema."""
    options = pyarrow.json.ReadOptions(use_threads=False, block_size=len(content) + 1)
    parse = pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    try:
        _OBJECTS.decode_lines(content)  # Arrow's reader crashes at a line that is null, and knows no limit of depth
        table = pyarrow.json.read_json(io.BytesIO(content), options, parse)
    except (pyarrow.ArrowException, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return table if table.num_rows == content.count(b"\n") else None


def _parse_slowly(path: str, lines: files.Lines, rejects: Rejects) -> tuple[pyarrow.Table, list[int]]:
    """Return the lines that can be read as a table, and their numbers; the others are rejected."""
    rows: list[dict[str, Any]] = []
    places: list[int] = []
    for number, record in files.parse_lines(path, lines, rejects):
        if not isinstance(record, dict):
            rejects.add(path, f"line {number}", "it is no object", repr(record))
            continue
        row = {name: record.get(name) for name in _FIELDS}
        row["index"] = None if isinstance(row["index"], bool | None) else str(row["index"])
        try:
            pyarrow.Table.from_pylist([row], SCHEMAS[0])
        except (pyarrow.ArrowException, TypeError, ValueError, OverflowError):
            rejects.add(path, f"line {number}", "a field has another type than an activation's", record)
            continue
        rows.append(row)
        places.append(number)
    return pyarrow.Table.from_pylist(rows, SCHEMAS[0]), places


def _windows(
    path: str, table: pyarrow.Table, places: Any, rejects: Rejects, owner: Owner, facts: Mapping[str, Any]
) -> Iterator[Batch]:
    index = table["index"]
    if pyarrow.types.is_string(index.type):
        whole = pyarrow.compute.match_substring_regex(index, r"^[0-9]{1,9}$")
        index = pyarrow.compute.if_else(whole, index, None)
    renamed = {"binMin": "low", "binMax": "high", "binContains": "share", "qualifyingTokenIndex": "position"}
    columns = {"feature": index.cast(pyarrow.int64()), "tokens": table["tokens"], "values": table["values"]}
    columns |= {ours: table[theirs] for theirs, ours in renamed.items()}
    activations = pyarrow.table(columns)
    reasons = activation_tables.find_problems(activations)
    pairs = pyarrow.compute.binary_join_element_wise(
        table["modelId"].fill_null(""), table["layer"].fill_null(""), "\n"
    ).dictionary_encode()
    pairs = pairs.combine_chunks() if isinstance(pairs, pyarrow.ChunkedArray) else pairs
    names = [owner.name(*((part or None) for part in pair.split("\n", 1))) for pair in pairs.dictionary.to_pylist()]
    codes = pairs.indices.to_numpy()
    for code, name in enumerate(names):
        if name is None:
            for row in (codes == code).nonzero()[0].tolist():
                reasons.setdefault(row, OTHER_DICTIONARY)
    for row, reason in sorted(reasons.items()):
        record = {name: values for name, values in table.slice(row, 1).to_pylist()[0].items() if values}
        rejects.add(path, f"line {places[row]}", reason, record)
    activations = activations.append_column("extra", pyarrow.array(_extra(table), pyarrow.string()))
    for name in {name for name in names if name}:
        keep = numpy.array([own == name for own in names])[codes]
        keep[list(reasons)] = False
        kept = activations if keep.all() else activations.filter(pyarrow.array(keep))
        windows, dropped = drop_filler(activation_tables.make_windows(kept))
        yield Batch(name, dict(facts), windows=windows, dropped=dropped)


def _extra(table: pyarrow.Table) -> list[str | None]:
    """Return what activations say beyond tokens and values, as JSON; None for most."""
    filled = table["logitContributions"].is_valid()
    for name in ("dfaValues", "lossValues"):
        sizes = pyarrow.compute.list_value_length(table[name]).fill_null(0)
        filled = pyarrow.compute.or_(filled, pyarrow.compute.greater(sizes, 0))
    extra: list[str | None] = [None] * table.num_rows
    if pyarrow.compute.any(filled).as_py():
        for row in filled.to_numpy().nonzero()[0].tolist():
            record = table.slice(row, 1).select(EXTRA).to_pylist()[0]
            said = {name: value for name, value in record.items() if value is not None}
            extra[row] = msgspec.json.encode(said).decode()
    return extra
