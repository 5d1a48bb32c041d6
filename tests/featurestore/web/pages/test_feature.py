"""The page of a feature: what it shows of it, the feature on a text, the filter of examples, and moves to others."""

import re

import msgspec
import numpy
import pytest

import featurestore
from featurestore.values.feature import Coactive, LogitEffect
from featurestore.web import create_app

PATH = "/features/tiny/0-res/8"
HTML = {"Accept": "text/html"}


@pytest.fixture(scope="module")
def store(tiny_store):
    with featurestore.connect(tiny_store) as opened:
        yield opened


@pytest.fixture(scope="module")
def http(store):
    return create_app(store).test_client()


@pytest.fixture
def model(monkeypatch):
    """A model of two words, on the second of which feature 8 fires with 1.5, and feature 9 with 7."""

    def run(dictionaries, text):
        fired = (numpy.array([8, 9]), numpy.array([1, 1]), numpy.array([1.5, 7.0], numpy.float32))
        return ["hello", " world"], {dictionary.dictionary: fired for dictionary in dictionaries}

    monkeypatch.setattr("featurestore.search.activating._model_runner", lambda: run)


def changed(store, monkeypatch, **fields):
    """Have the store's pages of features with these fields in place of their own."""
    plain = store.feature
    monkeypatch.setattr(store, "feature", lambda id, **asked: msgspec.structs.replace(plain(id, **asked), **fields))


def test_a_text_is_read_by_this_feature_alone(http, model):
    page = http.get(f"{PATH}/on-text?text=hello+world", headers=HTML)
    assert page.status_code == 200
    reading = page.text[page.text.index('id="on-text"') : page.text.index('class="columns"')]
    assert 'data-v="1.500"> world</span>' in reading and "Largest 1.5 on <code>·world</code>" in reading
    assert "7.0" not in reading and "/v1/activating?text=hello+world&amp;feature=tiny%2F0-res%2F8" in reading


def test_a_link_to_a_silent_feature_shows_no_other(http, model):
    page = http.get("/features/tiny/0-res/3/on-text?text=hello+world", headers=HTML).text
    assert "It is silent on this text." in page
    page = http.get("/text?text=hello+world&feature=tiny/0-res/3", headers=HTML).text
    assert '<h2 class="sub"><a href="/features/tiny/0-res/3"' in page
    page = http.get("/text?text=hello+world&feature=tiny@0-res:3&k=1", headers=HTML).text
    assert '<h2 class="sub"><a href="/features/tiny/0-res/3"' in page
    assert http.get("/text?text=hello+world&feature=tiny/0-res/999999", headers=HTML).status_code == 404


def test_a_text_that_cannot_be_run_stays_in_its_box(http):
    page = http.get(f"{PATH}/on-text?text=hello+world", headers=HTML)
    assert page.status_code == 503 and 'role="alert"' in page.text and ">hello world</textarea>" in page.text
    assert http.get(f"{PATH}/on-text?text=", headers=HTML).status_code == 200
    assert http.get(f"{PATH}/on-text?text={'x' * 20_001}", headers=HTML).status_code == 400


def test_a_link_of_another_site_runs_nothing(http, model):
    headers = HTML | {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    page = http.get(f"{PATH}/on-text?text=hello", headers=headers)
    assert page.status_code == 200 and "so nothing was run" in page.text and "Largest" not in page.text


def test_examples_are_filtered_by_text(store, http):
    examples = store.feature("tiny/0-res/8").examples
    word = max("".join(examples[0].tokens).split(), key=len)
    number = sum(word.lower() in "".join(example.tokens).lower() for example in examples)
    page = http.get(PATH, query_string={"contains": word.upper()}, headers=HTML).text
    assert f"{number} of {len(examples)} examples contain" in page and page.count('class="act"') == number
    page = http.get(PATH, query_string={"contains": "<nowhere>"}, headers=HTML).text
    assert f"0 of {len(examples)} examples contain “&lt;nowhere&gt;”" in page and 'class="act"' not in page


def test_what_the_strongest_show_is_folded_in_other_bands(store, http, monkeypatch):
    top = [example for example in store.feature("tiny/0-res/8").examples if example.band == "top"]
    again = msgspec.structs.replace(top[0], band="[1, 2)", rank=0)
    other = msgspec.structs.replace(top[0], band="[1, 2)", rank=1, document=top[0].document + 1000)
    changed(store, monkeypatch, examples=(*top, again, other))
    page = http.get(f"{PATH}?contains=", headers=HTML).text
    band = page[page.index("Sampled from activations in [1, 2)") :]
    assert page.count('class="act"') == len(top) + 2 and page.count('<details class="repeated">') == 1
    folded = band[band.index('<details class="repeated">') : band.index("</details>")]
    assert "1 shown above already" in folded and folded.count('class="act"') == 1


def test_what_is_stored_is_shown(store, http, monkeypatch):
    changed(
        store,
        monkeypatch,
        first_active=17,
        last_active=2300,
        coactive=(Coactive(3, 0.25), Coactive(9, 0.125)),
        top_logits=tuple(LogitEffect(f" t{n}", 2.0 - n / 10, 100 + n) for n in range(14)),
        bottom_logits=(LogitEffect("down", -1.0),),
        logit_histogram=tuple(range(40)),
        logit_histogram_edges=tuple(n / 10 - 2 for n in range(41)),
    )
    monkeypatch.setattr(store, "sql", lambda *given, **named: pytest.fail("a page waits for no SQL"))
    page = http.get(PATH, headers=HTML).text
    assert "at token 17 and 2,300" in page
    companions = re.findall(r'href="/features/tiny/0-res/(\d+)"', page[page.index("Fires with") :])[:2]
    assert companions == ["3", "9"] and "25 %" in page
    assert store.feature("tiny/0-res/3").label in page[page.index("Fires with") :]
    assert "<summary>4 more</summary>" in page and '<span class="token-id">113</span>' in page
    assert page.count('class="meter neg"') == 1 and page.count('<td class="meter">') == 14
    assert "Histogram of effects on the logits of all tokens" in page


def test_lines_to_copy_read_the_feature(store, http):
    page = http.get(PATH, headers=HTML).text
    lines = [line.replace("&#39;", "'") for line in re.findall(r"<code data-copy>(.*?)</code>", page)]
    assert lines[0] == "tiny/0-res/8" and lines[1] == "store.feature('tiny/0-res/8')"
    assert store.sql(lines[2])["feature"].to_pylist() == [8]
    assert len(http.get("/v1/vectors/tiny/0-res/8").json["vector"]) == store.vector("tiny/0-res/8").size


def test_a_jump_and_a_random_feature(store, http):
    assert http.get("/features/tiny/0-res?index=5").headers["Location"] == "/features/tiny/0-res/5"
    beyond = http.get("/features/tiny/0-res?index=99999", headers=HTML)
    assert beyond.status_code == 400 and "features, from 0" in beyond.text
    assert http.get("/features/tiny/0-res?index=-1", headers=HTML).status_code == 400
    assert http.get("/features/tiny/nothing", headers=HTML).status_code == 404
    answer = http.get("/features/tiny/0-res")
    assert answer.status_code == 303
    assert store.feature(answer.headers["Location"].removeprefix("/features/")).state != "dead"


def test_a_frame_has_no_forms(http):
    page = http.get(f"{PATH}?embed=true", headers=HTML).text
    assert "<form" not in page[page.index("<main") :] and "To copy" not in page


def test_names_of_documents_break_at_their_folders_and_stay_text(store, http, monkeypatch):
    first = msgspec.structs.replace(store.feature("tiny/0-res/8").examples[0], document_name="a<b>/c&d.py")
    changed(store, monkeypatch, examples=(first,))
    assert ">a&lt;b&gt;/<wbr>c&amp;d.py</span>" in http.get(PATH, headers=HTML).text


def test_what_the_files_of_an_import_say_beyond_columns_is_shown(http, store, monkeypatch):
    said = {"neuron_alignment_values": [0.5, 0.25], "correlated_features_indices": [3, 5], "ablation": [1] * 20}
    said |= {"note": "<b>\x07", "nested": {"a": [1]}}
    changed(store, monkeypatch, extra=msgspec.json.encode(said).decode())
    page = http.get(PATH, headers=HTML).text
    facts = page[page.index("What its files say") :]
    assert '<dt>neuron alignment values</dt><dd dir="auto">0.5, 0.25</dd>' in facts
    assert '<a href="/features/tiny/0-res/3">3</a>, <a href="/features/tiny/0-res/5">5</a>' in facts
    assert "1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, … (20)" in facts
    assert "&lt;b&gt;" in facts and "\x07" not in facts and "{&#34;a&#34;:[1]}" in facts


@pytest.mark.parametrize("extra", [None, "", "[1]", "{", "1", "[" * 5000])
def test_what_is_no_object_of_json_is_not_shown(http, store, monkeypatch, extra):
    changed(store, monkeypatch, extra=extra)
    page = http.get(PATH, headers=HTML)
    assert page.status_code == 200 and "What its files say" not in page.text
