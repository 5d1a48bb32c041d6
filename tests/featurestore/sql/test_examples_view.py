"""The view `examples`: the text of each window, by its document's tokenizer, without copying the vocabulary."""

import contextlib

import numpy
import pytest

import featurestore
from featurestore.sql.engine import Engine
from featurestore.storage.directory import Directory
from tests.support import tiny

LARGE, ROWS, LENGTH = 262_144, 200, 600


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Two corpora of 10 documents each, one with a vocabulary of 262,144 tokens, and 200 examples."""
    path = tmp_path_factory.mktemp("view") / "s"
    rng = numpy.random.default_rng(0)
    with featurestore.create(path) as store, store.writer("tests") as writer:
        for name, size in (("large", LARGE), ("small", 50)):
            pieces = [f"{name}{n}" for n in range(size)]
            row = {"tokenizer": name, "pieces": pieces, "bytes": [piece.encode() for piece in pieces]}
            writer.add("tokenizers", tiny.table([row]), key=name)
            documents = [{"document": n, "name": "", "tokenizer": name, "length": LENGTH} for n in range(10)]
            ids = rng.integers(0, size, 10 * LENGTH).astype(numpy.int32)
            writer.add_corpus(name, tiny.table(documents), ids)
        row = tiny.dictionary_row("0-res", 0) | {"d_sae": ROWS}
        writer.add("dictionaries", tiny.table([row]), key="tiny/0-res")
        window = {"length": 64, "activation": 1.0, "offsets": [0], "activations": [1.0], "band": "top", "rank": 0}
        examples = [
            window
            | {"dictionary": "tiny/0-res", "feature": n, "corpus": ("large", "small")[n % 2]}
            # Some windows begin in one run of 512 tokens and end in the next.
            | {"document": n % 10, "start": n * 2, "position": n * 2}
            for n in range(ROWS)
        ]
        writer.add("examples", tiny.table(examples), key="tiny/0-res")
    return Directory(path)


def test_windows_have_the_texts_that_pages_have(directory):
    with featurestore.connect(directory.location) as store:
        tokens = store.sql("SELECT tokens FROM examples ORDER BY feature")["tokens"].to_pylist()
        for feature in (0, 1, 62, 63, 198, 199):
            (example,) = store.feature(f"tiny/0-res/{feature}").examples
            assert tokens[feature] == list(example.tokens)
    assert all(text.startswith("large") for text in tokens[0])
    assert all(text.startswith("small") for text in tokens[1])


@pytest.mark.parametrize(
    ("condition", "rows"),
    [("true", ROWS), ("feature = 7", 1), ("feature IN (SELECT feature FROM features WHERE feature < 20)", 20)],
)
def test_a_large_vocabulary_is_not_copied_for_each_row(directory, condition, rows):
    # 200 copies of 262,144 texts take 800 MB.
    with contextlib.closing(Engine(directory, directory.snapshot(), memory=300_000_000)) as engine:
        table = engine.table(f"SELECT e.* FROM examples e WHERE {condition}")
        assert table.num_rows == rows
        joined = engine.table(
            f"SELECT tokens, f.state FROM examples e JOIN features f USING (feature) WHERE {condition}"
        )
        assert joined.num_rows == rows
        assert {len(tokens) for tokens in joined["tokens"].to_pylist()} == {64}
