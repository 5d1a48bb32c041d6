"""Checks what the parts of a store hold: rows against the schema, copies and indexes against originals, references."""

from __future__ import annotations

from collections.abc import Iterator

import numpy
import pyarrow
import pyarrow.compute

from featurestore.errors import BadRequest, BadStore, FeatureStoreError
from featurestore.maintenance.findings import Finding, remedy_of
from featurestore.search import embedders, keyword, label_vectors, vectors
from featurestore.snapshot import page_copies
from featurestore.snapshot.decoder_vectors import open_vectors, target_layers
from featurestore.sql.rules import check_expression
from featurestore.storage import numpy_files
from featurestore.storage.border import APPENDED, OF_A_DICTIONARY, OF_A_GRAPH, OF_A_LIST
from featurestore.storage.directory import Directory
from featurestore.storage.log import Snapshot
from featurestore.storage.log_files import Part
from featurestore.tables import schema, token_stream
from featurestore.tables.best_label import RULE_TABLE
from featurestore.tables.feature_rows import FeatureRows
from featurestore.tables.layout import SHARD_FEATURES
from featurestore.tables.row_reader import Rows
from featurestore.tables.schema import Gate
from featurestore.tables.structural import STRUCTURAL_TABLE


def find_content_problems(
    directory: Directory, snapshot: Snapshot, rows: Rows, gate: Gate, part: Part
) -> Iterator[Finding]:
    """Yield what is wrong with the content of a part whose bytes are as they were written."""
    try:
        if part.table in schema.tables():
            problem = _table_problem(snapshot, rows, gate, part)
        elif part.table == "decoder_vectors":
            problem = _vector_problem(directory, snapshot, rows, part)
        elif part.table == "feature_rows":
            originals = _parts_of_shard(snapshot, "features", part)
            same = len(originals) == 1 and rows.feature_rows(part).table().equals(rows.all(originals[0]))
            problem = "" if same else "has other rows than the features it is a copy of"
        elif part.table in ("example_rows", "label_rows"):
            problem = _copy_problem(snapshot, rows, part)
        elif part.table == "token_stream":
            token_stream.Stream(directory.local(part))
            documents = snapshot.parts("documents", part.key)
            tokens = sum(_read_column(rows, document, "length").sum() for document in documents)
            problem = "" if part.rows == tokens else f"has {part.rows} tokens, its documents {tokens}"
        else:
            problem = _index_problem(directory, snapshot, part)
    except (FeatureStoreError, OSError, ValueError, KeyError, RuntimeError, pyarrow.ArrowException) as exc:
        problem = f"cannot be read: {exc}"
    if problem:
        yield Finding(part.file, problem, remedy_of(part))


def _copy_problem(snapshot: Snapshot, rows: Rows, part: Part) -> str:
    if part.table == "example_rows":
        examples = _parts_of_shard(snapshot, "examples", part)
        originals = rows.all(examples[0]) if len(examples) == 1 else None
    elif page_copies.newer_labels(snapshot, part) is None:
        originals = None
    else:
        labels = [added for added in snapshot.parts("labels", part.key) if added.commit <= part.about["commit"]]
        originals = page_copies.labels_of(rows, labels, part.shard)
    copies = rows.grouped_rows(part).table()
    same = originals is not None and copies.equals(originals.select(copies.column_names))
    return "" if same else "has other rows than those it is a copy of"


def _parts_of_shard(snapshot: Snapshot, table: str, copy: Part) -> list[Part]:
    """The parts of `table` with the same dictionary and shard as `copy`."""
    return [part for part in snapshot.parts(table, copy.key) if part.shard == copy.shard]


def _read_column(rows: Rows, part: Part, name: str) -> numpy.ndarray:
    column: numpy.ndarray = rows.all(part, [name])[name].to_numpy()
    return column


def _table_problem(snapshot: Snapshot, rows: Rows, gate: Gate, part: Part) -> str:
    table = rows.as_written(part)
    wanted = schema.arrow_schema(part.table)
    # Columns that are younger than the file may be missing; the gate refuses those that must be there.
    if table.column_names != [name for name in wanted.names if name in table.column_names]:
        return f"has columns {', '.join(table.column_names)}; the schema has {', '.join(wanted.names)}"
    if table.num_rows != part.rows:
        return f"has {table.num_rows} rows, the log says {part.rows}"
    if problem := gate.find_foreign_type(part.table, table):
        return problem
    try:
        gate.check(part.table, table)
    except BadRequest as exc:
        return str(exc)
    if part.table in OF_A_LIST and table["list"].to_pylist() != [part.key]:
        return f"should hold one row, of the list {part.key}"
    owners = table["dictionary"].unique().to_pylist() if "dictionary" in table.column_names else []
    if part.table in OF_A_DICTIONARY and owners not in ([], [part.key]):
        return f"has rows of {', '.join(map(str, owners)):.200}, and is a part of {part.key}"
    if part.table in ("features", "examples", *APPENDED):
        features = table["feature"].to_numpy()
        d_sae = _read_d_sae(snapshot, rows, part.key)
        if part.table == "features":
            first = part.shard * SHARD_FEATURES
            size = min(SHARD_FEATURES, d_sae - first)
            if len(features) != size or not (features == numpy.arange(first, first + size)).all():
                return f"should hold features {first} to {first + size - 1} in order, each once"
        elif len(features) and (features.max() >= d_sae or (numpy.diff(features) < 0).any()):
            return f"its features should be in order and below d_sae, {d_sae}"
        if part.table == "examples" and len(features) and (features // SHARD_FEATURES != part.shard).any():
            return f"has features that belong to another part than number {part.shard}"
    return ""


def _read_d_sae(snapshot: Snapshot, rows: Rows, dictionary: str) -> int:
    parts = snapshot.parts("dictionaries", dictionary)
    if not parts:
        raise BadStore(f"the store has no dictionary {dictionary}")
    return rows.dictionary(parts[0]).d_sae


def _vector_problem(directory: Directory, snapshot: Snapshot, rows: Rows, part: Part) -> str:
    mapped = numpy_files.map_array(directory.local(part))
    dictionary = rows.dictionary(snapshot.parts("dictionaries", part.key)[0])
    size = min(SHARD_FEATURES, dictionary.d_sae - part.shard * SHARD_FEATURES) * len(target_layers(part))
    if mapped.shape != (size, dictionary.d_out) or mapped.dtype != numpy.float16:
        return f"is {mapped.dtype} of shape {mapped.shape}; float16 of ({size}, {dictionary.d_out}) is wanted"
    return "" if numpy.isfinite(mapped).all() else "has numbers that are not finite"


def _index_problem(directory: Directory, snapshot: Snapshot, part: Part) -> str:
    path = directory.local(part)
    if part.table == "decoder_index":
        live = {vector_part.file: vector_part for vector_part in snapshot.parts("decoder_vectors")}
        for file, count in zip(part.about["covers"], part.about["rows"], strict=True):
            if file in live and live[file].rows != count:
                return f"covers {count} vectors of {file}, which has {live[file].rows}"
        covered = [open_vectors(directory, live[file]) if file in live else None for file in part.about["covers"]]
        index = vectors.VectorIndex(path, covered)
        if sum(part.about["rows"]) != len(index):
            return f"covers {sum(part.about['rows'])} vectors, and has {len(index)}"
        return ""
    if part.table in (RULE_TABLE, STRUCTURAL_TABLE):
        return _rule_problem(part.table, part.about["rule"], path.read_text("utf-8"))
    if part.table == "token_index":
        keyword.KeywordIndex(path, part.rows)
        return ""
    count = FeatureRows(path / "rows.arrow").table().num_rows
    if count != part.rows:
        return f"has {count} rows, the log says {part.rows}"
    if part.about["embedder_id"]:
        matrix = label_vectors.map_vectors(path / "vectors.npy", count)
        label_vectors.open_index(path, matrix)
        width = embedders.find_width(part.about["embedder_id"])
        label_vectors.check_width(path / "vectors.npy", matrix, part.about["embedder_id"], width or matrix.shape[1])
    return ""


def _rule_problem(table: str, rule: str, written: str) -> str:
    try:
        check_expression(rule, table)
    except BadRequest as exc:
        return f"is not one that featurestore takes, and is not run: {exc}"
    return "" if written == rule else "is not the rule that the log says"


def find_reference_problems(snapshot: Snapshot, rows: Rows, damaged: set[str]) -> Iterator[Finding]:
    """Yield rows that refer to something the store does not have; files in `damaged` are not read."""
    for part in snapshot.parts("dictionaries"):
        if part.file in damaged:
            continue
        dictionary = rows.dictionary(part)
        shards = -(-dictionary.d_sae // SHARD_FEATURES)
        for table in ("features", "decoder_vectors"):
            present = {shard_part.shard for shard_part in snapshot.parts(table, part.key)}
            if present and present != set(range(shards)):
                lacking = sorted(set(range(shards)) - present)
                yield Finding(part.file, f"{part.key} lacks parts {lacking} of {table}", "harvest it again (--replace)")
        if not snapshot.has("features", part.key):
            yield Finding(part.file, f"{part.key} has no features", "harvest it again (--replace)")
        tokenizer = dictionary.tokenizer
        if tokenizer and snapshot.has("examples", part.key) and not snapshot.has("tokenizers", tokenizer):
            yield Finding(part.file, f"{part.key} refers to tokenizer {tokenizer}, which is missing", "harvest again")
    for part in snapshot.parts("graphs"):
        if part.file not in damaged and (problem := _graph_problem(snapshot, rows, part, damaged)):
            yield Finding(part.file, problem, remedy_of(part))
    for part in snapshot.parts("examples"):
        if part.file not in damaged and part.rows:
            problem = _window_problem(snapshot, rows, part, damaged)
            if problem:
                yield Finding(part.file, problem, "harvest the dictionary again (--replace)")


def _graph_problem(snapshot: Snapshot, rows: Rows, part: Part, damaged: set[str]) -> str:
    """What is wrong with a graph, given the part that counts its nodes and links; "" if nothing is."""
    parts_of_table = {table: snapshot.parts(table, part.key) for table in OF_A_GRAPH}
    lacking = [table for table, parts in parts_of_table.items() if len(parts) != 1]
    if lacking:
        return f"graph {part.key} lacks its {' and '.join(lacking)}"
    if any(parts[0].file in damaged for parts in parts_of_table.values()):
        return ""
    row = rows.all(part, ["nodes", "links"]).to_pylist()[0]
    for table, count in (("graph_nodes", row["nodes"]), ("graph_links", row["links"])):
        if parts_of_table[table][0].rows != count:
            return f"graph {part.key} says it has {count} {table}, there are {parts_of_table[table][0].rows}"
    numbers = _read_column(rows, parts_of_table["graph_nodes"][0], "node")
    if not (numbers == numpy.arange(len(numbers))).all():
        return f"graph {part.key}: its nodes should be numbered from 0, in order"
    ends = [_read_column(rows, parts_of_table["graph_links"][0], name) for name in ("source", "target")]
    beyond = any(len(end) and end.max() >= row["nodes"] for end in ends)
    return f"graph {part.key} has links to nodes that it has not" if beyond else ""


def _window_problem(snapshot: Snapshot, rows: Rows, part: Part, damaged: set[str]) -> str:
    table = rows.all(part, ["corpus", "document", "start", "length"])
    for corpus in table["corpus"].unique().to_pylist():
        documents = snapshot.parts("documents", corpus)
        if not documents or not snapshot.has("tokens", corpus):
            return f"refers to corpus {corpus}, which is missing"
        if any(part.file in damaged for part in documents):
            continue
        known = pyarrow.concat_tables([rows.all(part, ["document", "length"]) for part in documents])
        lengths = numpy.zeros(int(known["document"].to_numpy().max()) + 1, dtype=numpy.int64)
        lengths[known["document"].to_numpy()] = known["length"].to_numpy()
        windows = table.filter(pyarrow.compute.equal(table["corpus"], corpus))
        document = windows["document"].to_numpy()
        end = windows["start"].to_numpy().astype(numpy.int64) + windows["length"].to_numpy()
        inside = document < len(lengths)
        if not inside.all() or (end > lengths[numpy.where(inside, document, 0)]).any():
            return f"has windows beyond the documents of corpus {corpus}"
    return ""
