import hashlib
import os

import pytest

from featurestore.storage import checksums
from featurestore.storage.checksums import find_changed


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A directory with two files that were written an hour ago; nothing is remembered of others."""
    monkeypatch.setenv("FEATURESTORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(checksums, "_known", {})
    monkeypatch.setattr(checksums, "SMALL", 0)
    monkeypatch.setattr(checksums, "YOUNG_SECONDS", -1.0)
    path = tmp_path / "part"
    path.mkdir()
    for name in "ab":
        (path / name).write_bytes(name.encode() * 1000)
    return path


def digests(path):
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(path.iterdir())}


def test_a_changed_and_a_missing_file_are_named(folder):
    written = digests(folder)
    assert find_changed(folder, written, 2000) is None
    (folder / "b").write_bytes(b"b" * 999 + b"c")
    assert find_changed(folder, written, 2000) == "b"
    (folder / "a").unlink()
    assert find_changed(folder, written, 2000) == "a"


def test_a_single_file_is_named_too(folder):
    digest = hashlib.sha256(b"a" * 1000).hexdigest()
    assert find_changed(folder / "a", {"": digest}, 1000) is None
    assert find_changed(folder / "b", {"": digest}, 1000) == "b"


@pytest.mark.parametrize("keeps_time", [False, True])
def test_files_are_read_once_for_each_version(folder, monkeypatch, keeps_time):
    written, read = digests(folder), []
    hash_file = checksums._hash
    monkeypatch.setattr(checksums, "_hash", lambda file: read.append(file.name) or hash_file(file))
    assert find_changed(folder, written, 2000) is None
    assert find_changed(folder, written, 2000) is None
    assert read == ["a", "b"]
    monkeypatch.setattr(checksums, "_known", {})  # as in another process
    assert find_changed(folder, written, 2000) is None
    assert read == ["a", "b"]
    before = (folder / "a").stat()
    (folder / "a").write_bytes(b"a" * 500 + b"b" + b"a" * 499)
    if keeps_time:
        os.utime(folder / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert find_changed(folder, written, 2000) == "a"


def test_what_was_written_a_moment_ago_is_read_again(folder, monkeypatch):
    written = digests(folder)
    monkeypatch.setattr(checksums, "YOUNG_SECONDS", 1000.0)
    assert find_changed(folder, written, 2000) is None
    assert checksums._known == {}
    assert not (folder.parent / "cache").exists()


def test_a_damaged_or_forbidden_cache_is_no_hindrance(folder, monkeypatch):
    written = digests(folder)
    find_changed(folder, written, 2000)
    (record,) = (folder.parent / "cache" / "checked").iterdir()
    record.write_bytes(b"[1")
    monkeypatch.setattr(checksums, "_known", {})
    assert find_changed(folder, written, 2000) is None
    monkeypatch.setenv("FEATURESTORE_CACHE", str(folder / "a"))  # a file
    assert find_changed(folder, written, 2000) is None
