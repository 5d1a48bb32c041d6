"""The page of a text: features of the whole text and of one token, the matrix, and two texts side by side."""

import html
import re

import numpy
import pytest

import featurestore
from featurestore.web import create_app
from featurestore.web.pages import text as page_of_text
from featurestore.web.pages.text import list_cells

HTML = {"Accept": "text/html"}
# By text: of tiny/0-res feature, token and activation.
TEXTS = {
    "a b\nc": [(3, 0, 1.0), (3, 2, 4.0), (5, 1, -2.0)],
    "d": [(5, 0, 6.0), (7, 0, 3.0)],
}


@pytest.fixture(scope="module")
def http(tiny_store):
    def run(dictionaries, text):
        columns = [
            numpy.array(column, type_)
            for column, type_ in zip(
                zip(*TEXTS[text], strict=True), (numpy.int32, numpy.int32, numpy.float32), strict=True
            )
        ]
        none = [column[:0] for column in columns]
        tokens = re.findall(r"\S|\s+\S?", text) if len(text) > 1 else [text]
        active = {d.dictionary: tuple(columns if d.dictionary == "tiny/0-res" else none) for d in dictionaries}
        return tokens, active

    with pytest.MonkeyPatch.context() as patch, featurestore.connect(tiny_store) as store:
        patch.setattr("featurestore.search.activating._model_runner", lambda: run)
        yield create_app(store).test_client()


def read(http, query):
    answer = http.get(f"/text?{query}", headers=HTML)
    assert answer.status_code == 200
    return answer.text


def features_of(page):
    return re.findall(r'<span class="id">(tiny/[^<]+)</span>', page)


def test_the_whole_text(http):
    page = read(http, "text=a+b%0Ac&order=activation")
    assert features_of(page) == ["tiny/0-res/3", "tiny/0-res/5"]
    assert len(re.findall(r'<button form="pick-token"', page)) == 7, "two in the text of the token with a break"
    assert "On the whole text" in page and "More features" not in page


def test_a_token_lists_what_fires_on_it(http):
    page = read(http, "text=a+b%0Ac&order=activation&token=1")
    assert features_of(page) == ["tiny/0-res/5"]
    assert "On <code>·b</code>" in page and page.count("aria-pressed=true") == 2
    nothing = read(http, "text=d&token=0&dictionary=tiny/1-res")
    assert "No feature fires on this token" in nothing
    link = html.unescape(re.search(r'href="(/v1/activating[^"]+)"', page)[1])
    assert [feature["id"] for feature in http.get(link).json["features"]] == ["tiny/0-res/5"]


def test_the_matrix_has_each_activation(http):
    page = read(http, "text=a+b%0Ac&order=activation")
    matrix = page[page.index('class="scroll grid"') :]
    rows = re.findall(r"<tr><th scope=\"row\">.*?</tr>", matrix, re.S)
    values = [re.findall(r'<td(?: [^>]*data-v="([^"]+)")?', row) for row in rows]
    assert values == [["1", "", "4"], ["", "-2", ""]]
    assert 'neg"' in rows[1]


def test_the_matrix_shows_tokens_around_the_chosen_one(http, monkeypatch):
    monkeypatch.setattr(page_of_text, "MOST_COLUMNS", 2)
    page = read(http, "text=a+b%0Ac&token=2")
    matrix = page[page.index('class="scroll grid"') :]
    assert re.findall(r'name="token" value="(\d)"', matrix) == ["1", "2"]
    assert "2 of 3 tokens, around the chosen one" in page


def test_line_breaks_of_a_form_are_those_of_the_text(http):
    assert features_of(read(http, "text=a+b%0D%0Ac")) == features_of(read(http, "text=a+b%0Ac")) != []


def test_more_features_and_another_one_keep_what_was_asked(http):
    page = read(http, "text=a+b%0Ac&k=1&token=0&dictionary=tiny/0-res")
    form = re.search(r'<form id="more-features".*?</form>', page, re.S)[0]
    assert 'name="k"' not in form and 'name="token" value="0"' in form and 'value="tiny/0-res"' in form
    assert 'form="more-features" name="k" value="2"' in page
    assert re.search(r'<form id="pick-token".*?</form>', page, re.S)[0].count('name="token"') == 0


def test_two_texts_side_by_side(http):
    page = read(http, "text=a+b%0Ac&against=d")
    first, second = page.split("More on the other text")
    assert features_of(first) == ["tiny/0-res/3"]
    assert features_of(second) == ["tiny/0-res/5", "tiny/0-res/7"]
    assert "6 against 2" in second, "the largest by magnitude on either text"
    shown = read(http, "text=a+b%0Ac&against=d&feature=tiny/0-res/5")
    assert "largest -2</span>" in shown and "largest 6</span>" in shown


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("text=d&token=null", 400, "token: null is of JSON"),
        ("text=d&token=1", 400, "token: 1 is not there; the text has 1 tokens"),
        ("text=d&k=0", 400, "k: 0"),
    ],
)
def test_mistakes_are_said_beside_the_form(http, query, status, message):
    answer = http.get(f"/text?{query}", headers=HTML)
    assert (answer.status_code, message in answer.text, 'role="alert"' in answer.text) == (status, True, True)


def test_a_character_of_several_tokens_is_one_button():
    cells = list_cells(("a", "é", "", "\n\n  "), None)
    assert [cell[:4] for cell in cells] == [(0, "a", 0, ""), (1, "é", 0, ""), (3, "⏎⏎", 2, "  ")]
    assert list_cells(("\u202ex",), None)[0].text != "\u202ex"


def test_given_features_are_listed_alone_those_that_fire_first(http):
    ids = [f"tiny/0-res/{n}" for n in (9, 5, 3, 5)]
    page = read(http, "text=a+b%0Ac&" + "&".join(f"only={id}" for id in ids))
    shares = {3: 4.0, 5: 2.0, 9: 0.0}
    largest = {n: http.get(f"/v1/features/tiny/0-res/{n}").json["max_activation"] for n in shares}
    wanted = sorted(shares, key=lambda n: -shares[n] / largest[n])
    assert features_of(page) == [f"tiny/0-res/{n}" for n in wanted]
    assert "2 of 3 fire on it" in page and page.count("silent on it") == 1 and "More features" not in page
    json = html.unescape(re.search(r'href="(/v1/activating[^"]+)"', page)[1])
    assert [each["id"] for each in http.get(json).json["features"]] == ["tiny/0-res/9", "tiny/0-res/5", "tiny/0-res/3"]
    assert page.count('<input type="hidden" name="only"') >= 4
