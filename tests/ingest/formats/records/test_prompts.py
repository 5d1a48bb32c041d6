"""Windows find their prompts by where their tokens repeat, whatever the tokens are called."""

import numpy
import pyarrow
import pytest

from featurestore import BadRequest
from ingest.formats.batches import Windows
from ingest.formats.records.prompts import find_first_places, match_prompts

torch = pytest.importorskip("torch")


def make_windows(texts):
    length = numpy.array([len(text) for text in texts])
    tokens = pyarrow.array([token for text in texts for token in text]).dictionary_encode()
    zeros, nan = numpy.zeros(len(texts)), numpy.full(len(texts), numpy.nan)
    values = numpy.ones(int(length.sum()), numpy.float32)
    return Windows(zeros.astype(int), length, tokens, values, zeros.astype(int), ["top"] * len(texts), nan, nan)


def test_places_of_first_tokens_are_those_of_a_plain_search():
    ids = numpy.random.default_rng(0).integers(0, 6, (20, 30))
    assert find_first_places(ids).tolist() == [[row.index(id) for id in row] for row in ids.tolist()]


def test_windows_of_prompts_are_found_and_others_are_not(tmp_path):
    ids = numpy.random.default_rng(1).integers(5, 45, (300, 64))
    ids[:, 0] = 2  # BOS
    ids[7] = ids[3]
    torch.save(torch.tensor(ids), tmp_path / "tokens_300.pt")
    name = "piece{}".format
    texts = [[name(id) for id in ids[row, 1:]] for row in (250, 3, 7, 17)]
    texts.append([name(id) for id in ids[9, 1:40]])  # padded at its end, which the tool cuts
    texts.append([name(id) for id in reversed(ids[30, 1:].tolist())])
    changed = [name(id) for id in ids[40, 1:]]
    texts.append([{"piece9": "piece10", "piece10": "piece9"}.get(piece, piece) for piece in changed])
    matched = match_prompts(make_windows(texts), tmp_path / "tokens_300.pt").tolist()
    assert matched == [250, 3, 3, 17, 9, -1, -1]


def test_a_file_of_something_else_is_refused(tmp_path):
    torch.save({"a": torch.zeros(2)}, tmp_path / "tokens_2.pt")
    with pytest.raises(BadRequest, match="is no table of token ids"):
        match_prompts(make_windows([["a"] * 20]), tmp_path / "tokens_2.pt")


@pytest.mark.parametrize(
    "tokens",
    [
        torch.zeros(1, dtype=torch.int64).expand(10**10, 64),
        torch.zeros((0, 64), dtype=torch.int64),
        torch.zeros((4, 4), dtype=torch.int64).to_sparse(),
    ],
    ids=["a view", "nothing", "sparse"],
)
def test_a_table_that_promises_more_than_it_has_is_refused(tmp_path, tokens):
    torch.save(tokens, tmp_path / "tokens_1.pt")
    with pytest.raises(BadRequest, match="fewer token ids than its shape"):
        match_prompts(make_windows([["a"] * 20]), tmp_path / "tokens_1.pt")
