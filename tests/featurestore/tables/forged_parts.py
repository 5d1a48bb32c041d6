"""Parts of a store written past the gate, as somebody would who wants readers to fail: the log names them rightly."""

import pyarrow
import pyarrow.parquet

from featurestore.storage.directory import Directory
from featurestore.storage.staging import Staging


def forge(folder, table, change, only=None):
    """Replace each Parquet part of a table by what `change` makes of its rows; `only` names the key of one."""
    directory = Directory(folder)
    staging = Staging(directory.storage)
    added, removed = [], []
    for part in directory.snapshot().parts(table, *([only] if only else [])):
        rows = change(pyarrow.parquet.read_table(directory.local(part), partitioning=None))
        name, path = staging.new_file(table, part.key, part.shard, ".parquet")
        pyarrow.parquet.write_table(rows, path)
        fields = {"rows": rows.num_rows, "about": part.about, "commit": part.commit}
        added.append(staging.part(name, path, table=table, key=part.key, shard=part.shard, **fields))
        removed.append(part.file)
    staging.keep(part.file for part in added)
    directory.commit(added, removed, "tests", staging.writer)
    staging.close()


def set_column(name, values):
    """A change that replaces a column by `values(column)`, or by as many equal values."""

    def change(rows):
        column = values(rows[name]) if callable(values) else pyarrow.array([values] * rows.num_rows)
        return rows.set_column(rows.column_names.index(name), name, column)

    return change


def drop_column(name):
    """A change that leaves a column out."""
    return lambda rows: rows.drop_columns([name])


def drop_copies(folder):
    """Remove what is copied beside the rows, and the indexes, so that the parts themselves are read."""
    directory = Directory(folder)
    indexes = ("decoder_index", "label_index", "example_index", "token_index")
    files = [
        part.file
        for table in ("feature_rows", "example_rows", "label_rows", *indexes)
        for part in directory.snapshot().parts(table)
    ]
    staging = Staging(directory.storage)
    directory.commit([], files, "tests", staging.writer)
    staging.close()
