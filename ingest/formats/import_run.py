"""One import: files to batches, batches to a spool, and the spool into the store in one commit."""

from __future__ import annotations

import contextlib
import datetime
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

import featurestore
from featurestore import BadRequest, Progress
from featurestore.extension.progress import no_progress
from ingest.formats.batches import SourceFile
from ingest.formats.joining.join import join_dictionary
from ingest.formats.joining.report import ImportReport
from ingest.formats.joining.spool import DictionarySpool, FileSummary, Spool, name_write_errors
from ingest.formats.reading import REJECTS, Files, read_files

if TYPE_CHECKING:
    from featurestore import Store


class ImportPlan(NamedTuple):
    """What is imported, and how. `facts` are columns of the dictionary's row that the user states."""

    format: ModuleType
    location: str
    sources: list[SourceFile]
    options: Mapping[str, Any]
    facts: Mapping[str, Any]
    spool: Path
    rejects: Path | None = None
    strict: bool = False
    described: tuple[str, ...] = ()
    check_words: bool = True
    fetch: Callable[[SourceFile], Any] | None = (
        None  # brings a file here, returns its path; for places that are not files
    )


def local_sources(files: list[Path]) -> list[SourceFile]:
    """Return files of this machine as sources."""
    sources = []
    for file in files:
        about = file.stat()
        sources.append(SourceFile(str(file), file.name, f"{about.st_size}-{about.st_mtime_ns}"))
    return sources


def run(store: Store, plan: ImportPlan, progress: Progress = no_progress) -> ImportReport:
    """Bring the files of a plan into a store, in one commit, and return what that did.

    Files that an interrupted import has read are not read again. Raises BadRequest when nothing can be imported, or
    with `strict` at the first broken record; Conflict when the files are of another dictionary than the store's.
    """
    began = time.monotonic()
    spool = Spool(plan.spool)
    files = Files(plan.format.FORMAT, plan.sources, plan.options, plan.strict, plan.fetch)
    places, resumed = read_files(spool, files, progress)
    summaries = [summary for place in places if (summary := spool.summary(place)) is not None]
    with name_write_errors(plan.rejects or plan.spool):
        rejects_file = _collect_rejects(places, plan)
    dictionaries = _by_dictionary(places, summaries)
    rejects = _add_counts(summary.rejects for summary in summaries)
    if not dictionaries:
        causes = "; ".join(f"{count:,} times: {cause}" for cause, count in rejects.items()) or "there are no records"
        raise BadRequest(f"{plan.location}: nothing in it can be imported as {plan.format.FORMAT}; {causes}")
    changes = []
    stage = progress("writing", len(dictionaries))
    at = datetime.datetime.now(datetime.UTC)
    with contextlib.closing(store.writer(f"featurestore {featurestore.__version__} import")) as writer:
        for dictionary, parts in dictionaries.items():
            facts = _gather_facts(dictionary, summaries, plan)
            folder = plan.spool / "texts" / dictionary.replace("/", "@", 1)
            with name_write_errors(plan.spool):
                folder.mkdir(parents=True, exist_ok=True)
                change = join_dictionary(
                    store, writer, dictionary, DictionarySpool(parts), facts, folder, at, plan.check_words
                )
            changes.append(change)
            stage(1)
        commit = writer.commit() if any(change.state != "unchanged" for change in changes) else None
    spool.remove()
    return ImportReport(
        format=plan.format.FORMAT,
        location=plan.location,
        files=len(places),
        resumed_files=resumed,
        dictionaries=changes,
        rejects=rejects,
        dropped=_add_counts(summary.dropped for summary in summaries),
        rejects_file=None if rejects_file is None else str(rejects_file),
        commit=commit,
        seconds=time.monotonic() - began,
        described=list(plan.described),
    )


def _collect_rejects(places: list[Path], plan: ImportPlan) -> Path | None:
    """Put the rejects of all files into one; returns its path, or None when there are none."""
    parts = [place / REJECTS for place in places if (place / REJECTS).is_file()]
    if not parts or plan.rejects is None:
        return None
    plan.rejects.parent.mkdir(parents=True, exist_ok=True)
    with open(plan.rejects, "wb") as target:
        for part in parts:
            with open(part, "rb") as source:
                shutil.copyfileobj(source, target)
    return plan.rejects


def _by_dictionary(places: list[Path], summaries: list[FileSummary]) -> dict[str, list[Path]]:
    """Return the spooled folders of each dictionary that has rows, in the order of the files."""
    folders: dict[str, list[Path]] = {}
    for place, summary in zip(places, summaries, strict=True):
        for dictionary in summary.facts:
            folder = place / dictionary.replace("/", "@", 1)
            if folder.is_dir() and any(folder.iterdir()):
                folders.setdefault(dictionary, []).append(folder)
    return folders


def _gather_facts(dictionary: str, summaries: list[FileSummary], plan: ImportPlan) -> dict[str, Any]:
    facts: dict[str, Any] = {"import_format": plan.format.FORMAT, "import_location": plan.location}
    for summary in summaries:
        facts |= {name: value for name, value in summary.facts.get(dictionary, {}).items() if value is not None}
    return facts | {name: value for name, value in plan.facts.items() if value is not None}


def _add_counts(counts: Iterator[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in counts:
        for name, count in each.items():
            total[name] = total.get(name, 0) + count
    return total


def encode(report: ImportReport) -> dict[str, Any]:
    """Return a report as values of JSON."""
    built: dict[str, Any] = msgspec.to_builtins(report)
    return built
