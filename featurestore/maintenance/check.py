"""Is a store whole? Every file against its checksum, every part against the schema and against what it refers to."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy
import pyarrow
import pyarrow.compute
import pyarrow.parquet

from featurestore.errors import BadRequest, BadStore, FeatureStoreError
from featurestore.progress import Progress, no_progress
from featurestore.search import keyword, vectors
from featurestore.snapshot import page_copies
from featurestore.snapshot.decoder_vectors import open_vectors, target_layers
from featurestore.storage import numpy_files
from featurestore.storage.base import Entry
from featurestore.storage.directory import APPENDED, OF_A_GRAPH, STORE_FILE, Directory, read_about, write_about
from featurestore.storage.log import Part, Snapshot, checkpoint_name, checkpoint_number, commit_number
from featurestore.tables import schema, token_stream
from featurestore.tables.best_label import RULE_TABLE
from featurestore.tables.feature_rows import FeatureRows
from featurestore.tables.row_reader import Rows
from featurestore.tables.schema import Gate
from featurestore.tables.writer import SHARD_FEATURES, Writer

# What can be made again from the rest.
REBUILT = ("feature_rows", "example_rows", "label_rows", "token_stream", "decoder_index", "label_index", "token_index")
# What pages read, and what it is a copy of.
COPIES = {"feature_rows": "features", "example_rows": "examples", "label_rows": "labels"}
INDEXES = ("decoder_index", "label_index", "token_index")


class Finding(msgspec.Struct, frozen=True):
    """Something wrong with a file, and what can be done."""

    file: str
    problem: str
    remedy: str


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found. A store with no `problems` is whole; `leftovers` are files of writers that were killed."""

    location: str
    commit: int
    files: int
    bytes: int
    problems: tuple[Finding, ...]
    leftovers: tuple[str, ...]
    leftover_bytes: int
    repaired: tuple[str, ...] = ()


def check(directory: Directory, progress: Progress = no_progress) -> Checked:
    """Read everything and say what is wrong. Raises BadStore when the log itself cannot be followed."""
    snapshot = directory.snapshot()
    problems = [*_log_problems(directory, snapshot), *_about_problems(directory)]
    advance = progress("checking bytes", sum(part.bytes for part in snapshot.all()))
    rows = Rows(directory)
    damaged: set[str] = set()
    with contextlib.closing(Gate()) as gate:
        # Originals before their copies: a copy is compared with what is whole only.
        for part in sorted(snapshot.all(), key=lambda part: (part.table in COPIES, part.file)):
            found = [*_byte_problems(directory, part)]
            originals = snapshot.parts(COPIES[part.table], part.key) if part.table in COPIES else []
            if not found and not any(one.file in damaged for one in originals):
                found = [*_content_problems(directory, snapshot, rows, gate, part)]
            damaged |= {part.file} if found else set()
            problems += found
            advance(part.bytes)
    problems += _reference_problems(snapshot, rows, damaged)
    left = directory.leftovers()
    return Checked(
        location=directory.location,
        commit=snapshot.commit,
        files=len(snapshot.all()),
        bytes=sum(part.bytes for part in snapshot.all()),
        problems=tuple(problems),
        leftovers=tuple(one.name for one in left),
        leftover_bytes=sum(one.bytes for one in left),
    )


def repair(directory: Directory, found: Checked, tool: str) -> list[str]:
    """Remove leftovers, and what can be made again from the rest where it is damaged; lines that say what was done.

    Removed indexes are built by `Store.index`; token streams here.
    """
    said = []
    for entry in directory.leftovers():
        directory.storage.delete(entry.name)
    if found.leftovers:
        said.append(f"removed {len(found.leftovers):,} leftovers, {found.leftover_bytes:,} bytes")
    damaged = {finding.file for finding in found.problems}
    snapshot = directory.snapshot()
    if STORE_FILE in damaged:
        write_about(directory.storage, directory.format, directory.created_at)
        said.append(f"wrote {STORE_FILE} again")
    if any("checkpoint" in file or commit_number(file) is not None for file in damaged):
        # What the log says up to now is known: a checkpoint makes the damaged file unneeded.
        directory.log.write_checkpoint(snapshot)
        for file in damaged:
            if (commit_number(file) or checkpoint_number(file) or snapshot.commit) < snapshot.commit:
                directory.storage.delete(file)
        said.append(f"wrote {checkpoint_name(snapshot.commit)}")
    rows = Rows(directory)
    broken = [part for part in snapshot.all() if part.table in REBUILT and _touched(part, damaged)]
    missing = {key for key in snapshot.keys("tokens") if not snapshot.has("token_stream", key)}
    missing |= {part.key for part in broken if part.table == "token_stream"}
    copied = [part for table in page_copies.OF_PARTS for part in snapshot.parts(table) if part.file not in damaged]
    lacking = [part for part in copied if page_copies.copy_of(snapshot, part) in (None, *broken)]
    if broken or missing or lacking:
        with contextlib.closing(Writer(directory, tool)) as writer:
            writer.remove_parts(broken)
            for corpus in sorted(missing):
                _rebuild_stream(writer, snapshot, rows, corpus)
            for part in lacking:
                page_copies.add_copy(writer, rows, part)
            for part in broken:
                if part.table == "label_rows":
                    page_copies.gather_labels(writer, rows, snapshot, part.key, part.shard)
            writer.commit()
        said += [f"removed {part.file}" for part in broken if part.table in INDEXES]
        said += [f"gathered the labels of {part.key} again" for part in broken if part.table == "label_rows"]
        said += [f"copied the rows of {part.file} again" for part in lacking]
        said += [f"built the token stream of corpus {corpus} again" for corpus in sorted(missing)]
    return said


def _touched(part: Part, damaged: set[str]) -> bool:
    return any(file == part.file or file.startswith(part.file + "/") for file in damaged)


def _rebuild_stream(writer: Writer, snapshot: Snapshot, rows: Rows, corpus: str) -> None:
    documents = pyarrow.concat_tables([rows.all(part) for part in snapshot.parts("documents", corpus)])
    runs = pyarrow.concat_tables([rows.all(part) for part in snapshot.parts("tokens", corpus)])
    runs = runs.sort_by([("document", "ascending"), ("run", "ascending")])
    numbers, lengths = documents["document"].to_numpy(), documents["length"].to_numpy()
    stream = runs["tokens"].combine_chunks().flatten().to_numpy()
    writer.add_built(
        "token_stream", corpus, "", lambda path: token_stream.write_stream(path, numbers, lengths, stream), {}
    )


def _log_problems(directory: Directory, snapshot: Snapshot) -> Iterator[Finding]:
    entries: list[Entry] = directory.storage.entries("log")
    checkpoints = [n for one in entries if (n := checkpoint_number(one.name)) is not None]
    for one in entries:
        number, before = commit_number(one.name), checkpoint_number(one.name)
        try:
            if number is not None:
                directory.log.read(number)
            elif before is not None:
                directory.log.checkpoint(before)
        except FileNotFoundError:
            continue
        except BadStore as exc:
            yield Finding(one.name, str(exc), "`featurestore check --repair` writes what it said into a checkpoint")
    commits = {n for one in entries if (n := commit_number(one.name)) is not None}
    for number in range(max(checkpoints, default=0) + 1, snapshot.commit + 1):
        if number not in commits:
            yield Finding(f"log/{number:010d}.json", "is missing", "`featurestore check --repair` writes a checkpoint")


def _about_problems(directory: Directory) -> Iterator[Finding]:
    try:
        _, stated = read_about(directory.storage)
        if stated != directory.format:
            yield Finding(
                STORE_FILE, f"states format {stated}, the log {directory.format}", "run `featurestore migrate`"
            )
    except FeatureStoreError as exc:
        yield Finding(STORE_FILE, str(exc), "`featurestore check --repair` writes it again")


def _remedy(part: Part) -> str:
    if part.table in REBUILT:
        return "`featurestore check --repair` builds it again"
    if part.table in ("tokenizers", "documents", "tokens"):
        return "restore it from a copy, or harvest the dictionaries of this corpus again"
    if part.table == RULE_TABLE:
        return "set it again with `featurestore label rule`"
    if part.table in OF_A_GRAPH:
        return "restore it from a copy, or import it again with `featurestore graph add --replace`"
    return f"restore it from a copy, or write {part.table} of {part.key} again (harvest --replace)"


def _byte_problems(directory: Directory, part: Part) -> Iterator[Finding]:
    """Files that are not what they were when they were written."""
    there = {one.name: one for one in directory.storage.entries(part.file)} if part.files else {}
    for name, digest in (part.files or {"": part.sha256}).items():
        file = f"{part.file}/{name}" if name else part.file
        try:
            found = _digest(directory, file)
        except FileNotFoundError:
            yield Finding(file, "is missing", _remedy(part))
            continue
        except (FeatureStoreError, OSError) as exc:
            yield Finding(file, f"cannot be read: {exc}", _remedy(part))
            continue
        if found != digest:
            yield Finding(file, "is damaged: its content is not what its checksum says", _remedy(part))
    for extra in sorted(set(there) - {f"{part.file}/{name}" for name in part.files}):
        yield Finding(extra, f"is no file of {part.file}", _remedy(part))
    if part.files and hashlib.sha256(msgspec.json.encode(part.files)).hexdigest() != part.sha256:
        yield Finding(part.file, "is not what the log says: the hashes of its files do not fit together", _remedy(part))


def _digest(directory: Directory, file: str) -> str:
    with directory.storage.stream(file) as chunks:
        digest = hashlib.sha256()
        for chunk in chunks:
            digest.update(chunk)
        return digest.hexdigest()


def _content_problems(
    directory: Directory, snapshot: Snapshot, rows: Rows, gate: Gate, part: Part
) -> Iterator[Finding]:
    """Parts that are whole and yet not what they should be."""
    try:
        if part.table in schema.tables():
            problem = _table_problem(snapshot, rows, gate, part)
        elif part.table == "decoder_vectors":
            problem = _vector_problem(directory, snapshot, rows, part)
        elif part.table == "feature_rows":
            features = [one for one in snapshot.parts("features", part.key) if one.shard == part.shard]
            same = len(features) == 1 and rows.feature_rows(part).table().equals(rows.all(features[0]))
            problem = "" if same else "has other rows than the features it is a copy of"
        elif part.table in ("example_rows", "label_rows"):
            problem = _gathered_problem(snapshot, rows, part)
        elif part.table == "token_stream":
            token_stream.Stream(directory.local(part))
            wanted = sum(_column(rows, one, "length").sum() for one in snapshot.parts("documents", part.key))
            problem = "" if part.rows == wanted else f"has {part.rows} tokens, its documents {wanted}"
        else:
            problem = _index_problem(directory, snapshot, part)
    except (FeatureStoreError, OSError, ValueError, KeyError, RuntimeError, pyarrow.ArrowException) as exc:
        problem = f"cannot be read: {exc}"
    if problem:
        yield Finding(part.file, problem, _remedy(part))


def _gathered_problem(snapshot: Snapshot, rows: Rows, part: Part) -> str:
    if part.table == "example_rows":
        examples = [one for one in snapshot.parts("examples", part.key) if one.shard == part.shard]
        wanted = rows.all(examples[0]) if len(examples) == 1 else None
    elif page_copies.newer_labels(snapshot, part) is None:
        wanted = None
    else:
        those = [one for one in snapshot.parts("labels", part.key) if one.commit <= part.about["commit"]]
        wanted = page_copies.labels_of(rows, those, part.shard)
    found = rows.gathered(part).table()
    same = wanted is not None and found.equals(wanted.select(found.column_names))
    return "" if same else "has other rows than those it is a copy of"


def _column(rows: Rows, part: Part, name: str) -> numpy.ndarray:
    return rows.all(part, [name])[name].to_numpy()


def _table_problem(snapshot: Snapshot, rows: Rows, gate: Gate, part: Part) -> str:
    table = rows.all(part)
    wanted = schema.arrow_schema(part.table)
    if table.column_names != wanted.names:
        return f"has columns {', '.join(table.column_names)}; the schema has {', '.join(wanted.names)}"
    if table.num_rows != part.rows:
        return f"has {table.num_rows} rows, the log says {part.rows}"
    try:
        gate.checked(part.table, table)
    except BadRequest as exc:
        return str(exc)
    if part.table in ("features", "examples", *APPENDED):
        features = table["feature"].to_numpy()
        d_sae = _d_sae(snapshot, rows, part.key)
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


def _d_sae(snapshot: Snapshot, rows: Rows, dictionary: str) -> int:
    found = snapshot.parts("dictionaries", dictionary)
    if not found:
        raise BadStore(f"the store has no dictionary {dictionary}")
    return rows.dictionary(found[0]).d_sae


def _vector_problem(directory: Directory, snapshot: Snapshot, rows: Rows, part: Part) -> str:
    mapped = numpy_files.mapped(directory.local(part))
    dictionary = rows.dictionary(snapshot.parts("dictionaries", part.key)[0])
    size = min(SHARD_FEATURES, dictionary.d_sae - part.shard * SHARD_FEATURES) * len(target_layers(part))
    if mapped.shape != (size, dictionary.d_out) or mapped.dtype != numpy.float16:
        return f"is {mapped.dtype} of shape {mapped.shape}; float16 of ({size}, {dictionary.d_out}) is wanted"
    return "" if numpy.isfinite(mapped).all() else "has numbers that are not finite"


def _index_problem(directory: Directory, snapshot: Snapshot, part: Part) -> str:
    path = directory.local(part)
    if part.table == "decoder_index":
        live = {one.file: one for one in snapshot.parts("decoder_vectors")}
        for file, count in zip(part.about["covers"], part.about["rows"], strict=True):
            if file in live and live[file].rows != count:
                return f"covers {count} vectors of {file}, which has {live[file].rows}"
        covered = [open_vectors(directory, live[f]) if f in live else None for f in part.about["covers"]]
        index = vectors.VectorIndex(path, covered)
        if sum(part.about["rows"]) != len(index):
            return f"covers {sum(part.about['rows'])} vectors, and has {len(index)}"
        return ""
    if part.table == RULE_TABLE:
        return "" if path.read_text("utf-8") == part.about["rule"] else "is not the rule that the log says"
    if part.table == "token_index":
        keyword.KeywordIndex(path, part.rows)
        return ""
    found = FeatureRows(path / "rows.arrow").table().num_rows
    if found != part.rows:
        return f"has {found} rows, the log says {part.rows}"
    if part.about["embedder_id"]:
        vectors.VectorIndex(path / "index.faiss", [numpy_files.mapped(path / "vectors.npy")])
    return ""


def _reference_problems(snapshot: Snapshot, rows: Rows, damaged: set[str]) -> Iterator[Finding]:
    """Rows that point at something that is not there."""
    for part in snapshot.parts("dictionaries"):
        if part.file in damaged:
            continue
        one = rows.dictionary(part)
        shards = -(-one.d_sae // SHARD_FEATURES)
        for table in ("features", "decoder_vectors"):
            there = {p.shard for p in snapshot.parts(table, part.key)}
            if there and there != set(range(shards)):
                lacking = sorted(set(range(shards)) - there)
                yield Finding(part.file, f"{part.key} lacks parts {lacking} of {table}", "harvest it again (--replace)")
        if not snapshot.has("features", part.key):
            yield Finding(part.file, f"{part.key} has no features", "harvest it again (--replace)")
        if one.tokenizer and snapshot.has("examples", part.key) and not snapshot.has("tokenizers", one.tokenizer):
            yield Finding(
                part.file, f"{part.key} refers to tokenizer {one.tokenizer}, which is missing", "harvest again"
            )
    for part in snapshot.parts("graphs"):
        if part.file not in damaged and (problem := _graph_problem(snapshot, rows, part, damaged)):
            yield Finding(part.file, problem, _remedy(part))
    for part in snapshot.parts("examples"):
        if part.file not in damaged and part.rows:
            problem = _window_problem(snapshot, rows, part, damaged)
            if problem:
                yield Finding(part.file, problem, "harvest the dictionary again (--replace)")


def _graph_problem(snapshot: Snapshot, rows: Rows, part: Part, damaged: set[str]) -> str:
    """What is wrong with a graph, given the part that says what it has."""
    those = {table: snapshot.parts(table, part.key) for table in OF_A_GRAPH}
    lacking = [table for table, parts in those.items() if len(parts) != 1]
    if lacking:
        return f"graph {part.key} lacks its {' and '.join(lacking)}"
    if any(parts[0].file in damaged for parts in those.values()):
        return ""
    row = rows.all(part, ["nodes", "links"]).to_pylist()[0]
    for table, count in (("graph_nodes", row["nodes"]), ("graph_links", row["links"])):
        if those[table][0].rows != count:
            return f"graph {part.key} says it has {count} {table}, there are {those[table][0].rows}"
    numbers = _column(rows, those["graph_nodes"][0], "node")
    if not (numbers == numpy.arange(len(numbers))).all():
        return f"graph {part.key}: its nodes should be numbered from 0, in order"
    ends = [_column(rows, those["graph_links"][0], name) for name in ("source", "target")]
    beyond = any(len(end) and end.max() >= row["nodes"] for end in ends)
    return f"graph {part.key} has links to nodes that it has not" if beyond else ""


def _window_problem(snapshot: Snapshot, rows: Rows, part: Part, damaged: set[str]) -> str:
    table = rows.all(part, ["corpus", "document", "start", "length"])
    for corpus in table["corpus"].unique().to_pylist():
        documents = snapshot.parts("documents", corpus)
        if not documents or not snapshot.has("tokens", corpus):
            return f"refers to corpus {corpus}, which is missing"
        if any(one.file in damaged for one in documents):
            continue
        known = pyarrow.concat_tables([rows.all(one, ["document", "length"]) for one in documents])
        lengths = numpy.zeros(int(known["document"].to_numpy().max()) + 1, dtype=numpy.int64)
        lengths[known["document"].to_numpy()] = known["length"].to_numpy()
        mine = table.filter(pyarrow.compute.equal(table["corpus"], corpus))
        document = mine["document"].to_numpy()
        end = mine["start"].to_numpy().astype(numpy.int64) + mine["length"].to_numpy()
        inside = document < len(lengths)
        if not inside.all() or (end > lengths[numpy.where(inside, document, 0)]).any():
            return f"has windows beyond the documents of corpus {corpus}"
    return ""


def summary(found: Checked) -> dict[str, Any]:
    """A check as one line of JSON."""
    return msgspec.to_builtins(found)
