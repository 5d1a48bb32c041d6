"""`featurestore migrate`: a store of any older format holds the same afterwards, and is whole."""

import json

import pyarrow
import pytest

import featurestore
from featurestore import UnsupportedVersion
from featurestore.cli.main import main
from featurestore.maintenance.migrate import _move_odd_histograms
from tests.featurestore.maintenance import older_stores
from tests.support import tiny, writer_jobs


def test_a_store_of_format_1_is_migrated(tmp_path, invoke):
    expected = writer_jobs.content(tiny.write_tiny_store(tmp_path / "new", index=False).location)
    folder = older_stores.write_format_1(tmp_path / "old")
    with pytest.raises(UnsupportedVersion, match=f"of format 1; .* run `featurestore migrate --store {folder}`"):
        featurestore.connect(folder)
    result = invoke(main, ["migrate", "--store", str(folder)])
    assert result.exit_code == 0, result.output
    assert "format 1 -> 4" in result.stdout
    assert writer_jobs.content(folder) == expected
    with featurestore.connect(folder) as store:
        assert store.check().problems == ()
        store.compact()
        assert store.info().format == 4
    assert writer_jobs.content(folder) == expected
    assert "is of format 4 already" in invoke(main, ["migrate", "--store", str(folder)]).stdout


@pytest.mark.parametrize("format", [2, 3])
def test_a_store_of_a_later_format_is_migrated(tmp_path, invoke, format):
    folder = tmp_path / "old"
    with tiny.write_tiny_store(folder) as store:
        store.compact()
        store.index()
        hits = [hit.id for hit in store.search("ValueError", mode="keyword")]
    expected = writer_jobs.content(folder)
    older_stores.make_older(folder, format)
    with pytest.raises(UnsupportedVersion, match=f"of format {format}; .* run `featurestore migrate"):
        featurestore.connect(folder)
    assert f"format {format} -> 4" in invoke(main, ["migrate", "--store", str(folder)]).stdout
    assert writer_jobs.content(folder) == expected
    with featurestore.connect(folder) as store:
        assert store.check().problems == ()
        # The token index was built from the same rows, and is not stale.
        assert not any("token index" in line for line in store.index())
        assert [hit.id for hit in store.search("ValueError", mode="keyword")] == hits


def test_a_migration_killed_before_its_last_step_is_ended(tmp_path, invoke):
    folder = older_stores.write_format_1(tmp_path / "old")
    old = (folder / "store.json").read_text()
    assert invoke(main, ["migrate", "--store", str(folder)]).exit_code == 0
    (folder / "store.json").write_text(old)  # the commit stands, store.json is not written yet
    with featurestore.connect(folder) as store:
        assert store.dictionaries()
        assert [finding.problem for finding in store.check().problems] == ["states format 1, the log 4"]
    assert invoke(main, ["migrate", "--store", str(folder)]).exit_code == 0
    with featurestore.connect(folder) as store:
        assert store.check().problems == ()


def test_histograms_of_an_unknown_length_are_kept_aside():
    columns = {"feature": [0, 1, 2], "histogram": [[1] * 64, [2, 3], None], "logit_histogram": [[1], [1] * 40, None]}
    table, moved = _move_odd_histograms(pyarrow.table(columns))
    assert moved == 2
    assert table["histogram"].to_pylist() == [[1] * 64, None, None]
    assert table["logit_histogram"].to_pylist() == [None, [1] * 40, None]
    extra = [text and json.loads(text) for text in table["extra"].to_pylist()]
    assert extra == [{"logit_histogram": [1]}, {"histogram": [2, 3]}, None]
