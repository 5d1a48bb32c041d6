"""An Iceberg catalog over a store's Parquet files, so that engines read its tables by name. No data is copied.

The format is Apache Iceberg's table specification, version 2, written by pyiceberg; the catalog is a SQLite file.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from featurestore.display.text import first_line
from featurestore.errors import BadRequest, Unavailable
from featurestore.maintenance.live_files import TableFiles
from featurestore.progress import Progress, no_progress
from featurestore.tables import schema

if TYPE_CHECKING:
    from pyiceberg.table import Table

CATALOG = "catalog.db"
NAME = "featurestore"  # of the catalog and of its one namespace


def write_catalog(files: TableFiles, folder: Path, progress: Progress = no_progress) -> list[str]:
    """Write the catalog into `folder`, or bring the one there up to date; returns a line for each table that changed.

    Who reads a table meanwhile sees it as it was or as it is now. Raises BadRequest when the folder holds something
    else, and Unavailable when pyiceberg is not installed or a file cannot be read or written.
    """
    try:
        from pyiceberg.catalog.sql import SqlCatalog
        from pyiceberg.exceptions import NoSuchTableError
    except ImportError as exc:
        raise Unavailable(f"an Iceberg catalog needs {exc.name}: pip install 'featurestore[iceberg]'") from None
    stage = progress("writing the catalog", len(schema.tables()))
    lines = []
    with _translate_errors(folder):
        catalog = SqlCatalog(NAME, **_list_properties(folder.absolute()))
        catalog.create_namespace_if_not_exists(NAME)
        for name in schema.tables():
            try:
                table = catalog.load_table((NAME, name))
            except NoSuchTableError:
                table = catalog.create_table((NAME, name), schema=schema.arrow_schema(name))
            live = [entry for entry in files if entry.table == name]
            if _replace_files(table, name, [_as_url(entry.file) for entry in live]):
                lines.append(f"{NAME}.{name}: rows {sum(entry.rows for entry in live):,}, files {len(live):,}")
            stage(1)
    return lines


@contextlib.contextmanager
def _translate_errors(folder: Path) -> Iterator[None]:
    """Raise Unavailable for what a disk, an object store, SQLite or pyiceberg cannot do."""
    from pyiceberg.exceptions import CommitFailedException, ValidationError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (OSError, SQLAlchemyError, CommitFailedException, ValidationError, ValueError) as exc:
        raise Unavailable(f"the catalog in {folder} cannot be written: {first_line(exc, 300)}") from None


def _list_properties(folder: Path) -> dict[str, str]:
    """Return what a catalog in `folder` is opened with; the folder is made where it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        present = os.listdir(folder)
    except OSError as exc:
        raise BadRequest(f"{folder} cannot hold a catalog: {exc.strerror}") from None
    if present and CATALOG not in present:
        raise BadRequest(f"{folder} holds other files: name a new folder, or one that has a catalog already")
    properties = {"uri": f"sqlite:///{folder / CATALOG}", "warehouse": _as_url(str(folder))}
    # pyiceberg does not read this variable by itself; keys and region it does.
    if endpoint := os.environ.get("AWS_ENDPOINT_URL"):
        properties["s3.endpoint"] = endpoint
    return properties


def _replace_files(table: Table, name: str, paths: list[str]) -> bool:
    """Let a table hold these files and no others; returns whether it held others before."""
    from pyiceberg.expressions import AlwaysTrue

    held = {task.file.file_path for task in table.scan().plan_files()}
    if held == set(paths):
        return False
    with table.transaction() as change, warnings.catch_warnings():
        # It warns that a delete of nothing deletes nothing.
        warnings.simplefilter("ignore", UserWarning)
        change.update_schema().union_by_name(schema.arrow_schema(name)).commit()
        if held:
            change.delete(AlwaysTrue())
        if paths:
            change.add_files(paths, check_duplicate_files=False)
    return True


def _as_url(file: str) -> str:
    """Return a location as pyiceberg reads it: a path is not escaped there, and ends at "?" and "#"."""
    if "://" in file:
        return file
    if "?" in file or "#" in file:
        raise BadRequest(f"{file}: Iceberg's paths have neither ? nor #; move it, or name another folder")
    return f"file://{file}"
