"""Data of a site: blocks that are cut out of their file unpack to the records that were added."""

import base64
import gzip
import json

from ingest.formats.site import data_files


def unpack(text):
    return json.loads(gzip.decompress(base64.b64decode(text)))


def test_every_block_is_where_the_list_says(tmp_path, monkeypatch):
    monkeypatch.setattr(data_files, "FILE_BYTES", 900)
    blocks = data_files.Blocks(tmp_path, "features-0")
    numbers = [*range(0, 600, 2), 100_000]
    for number in numbers:
        blocks.add(number, {"feature": number, "label": f"`${{{number}}}`"})
    blocks.close()
    assert len(blocks.files) > 1
    read = []
    for file in blocks.files:
        text = (tmp_path / f"{file['name']}.js").read_text()
        assert text.startswith(f'receive("{file["name"]}",`') and text.endswith("`)\n")
        assert len(file["places"]) == len(file["first"]) + 1
        for at, first in enumerate(file["first"]):
            records = unpack(text[file["places"][at] : file["places"][at + 1]])
            assert records[0]["feature"] == first
            read += [record["feature"] for record in records]
    assert read == numbers


def test_large_records_end_a_block(tmp_path):
    blocks = data_files.Blocks(tmp_path, "features-0")
    for number in range(3):
        blocks.add(number, {"feature": number, "text": "x" * data_files.BLOCK_BYTES})
    blocks.close()
    assert blocks.files[0]["first"] == [0, 1, 2]


def test_no_features_are_no_file(tmp_path):
    blocks = data_files.Blocks(tmp_path, "features-0")
    blocks.close()
    assert blocks.files == [] and list(tmp_path.iterdir()) == []
