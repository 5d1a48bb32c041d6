"""Notes for programs: a code and its numbers for every sentence, the same from a store and from a service."""

import re

import msgspec
import numpy
import pytest

import featurestore
from featurestore.notes import CODES, NoteCode, Notes
from featurestore.web import create_app
from featurestore.wire.answers import SearchAnswer
from tests.support import ROOT


def test_each_code_is_given_somewhere():
    source = "".join(path.read_text() for path in (ROOT / "featurestore").rglob("*.py") if path.name != "notes.py")
    given = set(re.findall(r'\.add\(\s*"([a-z_]+)"', source))
    assert sorted(CODES) == list(CODES) and set(CODES) <= given


def test_notes_are_collected_and_those_of_others_stay_as_they_are():
    before = Notes().add("no_words", "the text has no words to look for")
    after = Notes(before).add("weak", "weak", cosine=0.25, words_asked=None)
    assert (before.sentences, after.sentences) == (("the text has no words to look for",), (*before.sentences, "weak"))
    assert after.codes == (NoteCode("no_words"), NoteCode("weak", {"cosine": 0.25}))


def test_a_search_says_in_numbers_what_it_left_out(either):
    hits = either.search("zzz qqq", k=2, within="tiny/0-res")
    assert len(hits.notes) == len(hits.note_codes)
    by_code = {note.code: note.numbers for note in hits.note_codes}
    (left_out,) = [note for note in hits.notes if note.startswith("left out")]
    assert sorted(map(int, re.findall(r"\d+", left_out))) == sorted(by_code["left_out"].values())
    assert hits[:1].note_codes == hits.note_codes


def test_every_answer_has_a_code_for_each_note(either):
    nothing = either.search("self", where="density > 2")
    assert nothing.note_codes[-1] == NoteCode("nothing_left")
    assert either.search("self", within=()).note_codes[0] == NoteCode("empty_list")
    for answer in (either.info(), either.neighbourhood("tiny/0-res/3"), either.compare("tiny/0-res", "tiny/1-res")):
        assert len(answer.notes) == len(answer.note_codes)
        assert {note.code for note in answer.note_codes} <= CODES.keys()


def test_an_answer_of_a_service_without_codes_is_read_and_so_is_a_code_that_is_new():
    older = b'{"query": {"text": "x"}, "hits": [], "notes": ["weak"]}'
    assert msgspec.json.decode(older, type=SearchAnswer).note_codes == ()
    newer = older[:-1] + b', "note_codes": [{"code": "yet_unknown", "numbers": {"n": 2.5}, "more": 1}]}'
    assert msgspec.json.decode(newer, type=SearchAnswer).note_codes == (NoteCode("yet_unknown", {"n": 2.5}),)


@pytest.fixture(scope="module")
def client(tiny_store):
    with featurestore.connect(tiny_store) as store:
        yield create_app(store).test_client()


def test_the_document_lists_the_codes_and_says_that_there_will_be_more(client):
    schemas = client.get("/openapi.json").json["components"]["schemas"]
    code = schemas["NoteCode"]["properties"]["code"]
    assert code["x-extensible-enum"] == list(CODES) and "enum" not in code
    assert "There will be more" in code["description"] and all(f"`{name}`" in code["description"] for name in CODES)
    assert "note_codes" not in schemas["Found"]["required"]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/search?text=self&k=5",
        "/v1/nearest?near=tiny/0-res/3&k=5",
        "/v1/neighbourhood/tiny/0-res/3",
        "/v1/compare?id=tiny/0-res/3&id=tiny/0-res/5",
        "/v1/compare?id=tiny/0-res&id=tiny/1-res",
        "/v1/vectors/tiny/0-res/3",
        "/v1/sql?sql=from+features+select+max_activation,mean_activation,top_logits+limit+9",
        "/v1/sql?sql=from+features+select+max_activation,top_logits+limit+9&format=json",
        "/v1/sql?sql=from+features+select+max_activation,top_logits+limit+9&format=csv",
    ],
)
def test_numbers_of_32_bits_have_no_more_digits_than_they_have(client, path):
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    numbers = re.findall(r"(?<![\w.])-?\d+\.\d+(?:e-?\d+)?", answer.text)
    assert numbers
    for number in numbers:
        assert len(number.lstrip("-0.").replace(".", "").partition("e")[0]) <= 9, number
        assert float(str(numpy.float32(number))) == float(number)


def test_a_page_has_the_numbers_that_are_stored(client):
    page = client.get("/v1/features/tiny/0-res/3").json
    stored = client.get("/v1/sql?sql=from+features+where+dictionary='tiny/0-res'+and+feature=3").json
    row = dict(zip([column["name"] for column in stored["columns"]], stored["rows"][0], strict=True))
    for name in ("mean_activation", "max_activation", "decoder_norm", "encoder_decoder_cosine"):
        assert page[name] == row[name]
    assert [effect["value"] for effect in page["top_logits"]] == [effect["value"] for effect in row["top_logits"]]
    for example in page["examples"]:
        assert max(example["activations"], key=abs) == example["activation"]


def test_the_total_counts_what_the_filters_leave(either):
    everything = either.search("self", k=2, all=True)
    assert everything.total == either.info().features and everything[:1].total == everything.total
    dense = either.search("self", k=2, all=True, where="density > 0.001")
    assert dense.total == either.sql("select count(*) as n from features where density > 0.001").to_pylist()[0]["n"]
    assert (
        either.nearest("tiny/0-res/3", k=2, all=True, within="tiny/1-res").total
        == either.dictionary("tiny/1-res").d_sae
    )
    assert either.search("self", where="density > 2").total == 0
