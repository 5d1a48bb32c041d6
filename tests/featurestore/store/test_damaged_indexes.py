"""Indexes with changed bytes: BadStore that names the file, and `index --rebuild` mends it; the process lives on."""

import shutil
import subprocess
import sys

import pytest

import featurestore
from featurestore import BadStore
from featurestore.cli.main import main
from featurestore.storage.directory import Directory

TABLES = ("decoder_index", "label_index", "token_index")
# Changes bytes of an index's files one at a time and asks whatever reads it; prints how often the damage was named.
ASK = """
import random, sys
import featurestore
folder, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
from tests.featurestore.store.test_damaged_indexes import ask, files_of
rng, named = random.Random(seed), 0
files = files_of(folder)
for turn in range(count):
    file = rng.choice(files)
    whole = file.read_bytes()
    ends = min(64, len(whole))
    place = rng.choice([rng.randrange(len(whole)), rng.randrange(ends), len(whole) - 1 - rng.randrange(ends)])
    file.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << rng.randrange(8))]) + whole[place + 1:])
    try:
        ask(folder)
    except featurestore.BadStore as exc:
        named += file.name in str(exc) and "--rebuild" in str(exc)
    file.write_bytes(whole)
print(named)
"""


def ask(folder):
    """Read every index of the store."""
    with featurestore.connect(folder) as store:
        store.search("raise", mode="hybrid")
        store.search("raise", over=["tokens", "logits"])
        store.nearest("tiny/0-res/1")


def files_of(folder):
    """The files of indexes that hold something."""
    with featurestore.connect(folder):
        parts = [part for table in TABLES for part in Directory(folder).snapshot().parts(table)]
    named = [Directory(folder).local(part) / name for part in parts for name in part.files or ("",)]
    return [file for file in named if file.stat().st_size]


@pytest.fixture
def folder(tmp_path, tiny_store):
    return shutil.copytree(tiny_store, tmp_path / "copy")


def run_flips(folder, seed, count):
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(folder), str(seed), str(count)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout)


def test_flipped_bytes_are_named_and_end_nothing(folder):
    assert run_flips(folder, seed=1, count=25) == 25


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_hundreds_of_flipped_bytes(folder, seed):
    assert run_flips(folder, seed, count=60) == 60


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_index_is_built_again(folder, table, damage, invoke):
    file = max((file for file in files_of(folder) if f"/{table}/" in str(file)), key=lambda file: file.stat().st_size)
    whole = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(whole[:-1] if damage == "cut" else whole[:20] + bytes([whole[20] ^ 1]) + whole[21:])
    with pytest.raises(BadStore, match=file.name):
        ask(folder)
    done = invoke(main, ["index", "--store", str(folder)])
    assert done.exit_code == 0 and "index" in done.output
    ask(folder)


def test_rebuild_reads_nothing_of_the_old_indexes(folder, tiny_store):
    names = {part.file for table in TABLES for part in Directory(folder).snapshot().parts(table)}
    with featurestore.connect(folder) as store:
        assert store.index() == []
        for name in names:
            shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()
        assert len(store.index(rebuild=True)) >= len(TABLES)
        assert names.isdisjoint(part.file for part in Directory(folder).snapshot().all())
        with featurestore.connect(tiny_store) as before:
            assert store.search("raise").hits == before.search("raise").hits
    ask(folder)
