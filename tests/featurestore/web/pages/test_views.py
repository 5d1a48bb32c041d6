"""What pages are drawn from, and that they hold over a remote store too."""

import re

import httpx2
import pytest

import featurestore
from featurestore.client import Client
from featurestore.web import create_app
from tests.support import tiny

HTML = {"Accept": "text/html"}


@pytest.fixture(scope="module")
def app(tiny_store):
    with featurestore.connect(tiny_store) as store:
        yield create_app(store)


@pytest.fixture(scope="module")
def http(app):
    return app.test_client()


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/?text=exception+handling&k=3",
        "/?near=tiny/0-res/3",
        "/?text=x&where=nose+%3D+1",
        "/?text=x&over=tokens",
        "/neighbourhood/tiny/0-res/8?k=4",
        "/features/tiny/0-res/8",
        "/features/tiny/0-res/22",
        "/features/tiny/0-res/99",
        "/dictionaries/tiny/1-res?order=rarest&state=live",
        "/text?text=x",
        "/compare",
        "/compare?id=tiny/0-res/8&id=tiny/0-res/3",
        "/compare?id=tiny/0-res&id=tiny/1-res",
        "/sql?sql=SELECT+dictionary,+feature,+density+FROM+features+ORDER+BY+ALL",
        "/sql?sql=SELEC",
    ],
)
def test_pages_over_a_remote_store_are_the_same(app, path):
    with Client("http://elsewhere", transport=httpx2.WSGITransport(app=app)) as remote:
        answer = create_app(remote).test_client().get(path, headers=HTML)
        far = answer.status_code, answer.text  # read while the client is open: a page may come in parts
    near = app.test_client().get(path, headers=HTML)
    assert far == (near.status_code, near.text)


def test_the_json_link_of_a_search_is_its_data(http):
    for path in ("/?text=closing+brackets&mode=&within=tiny/0-res&where=feature+%3E+2&k=4", "/?near=tiny/0-res/3&k=4"):
        page = http.get(path, headers=HTML).text
        link = re.search(r'href="(/v1/[^"]+)">JSON', page)[1].replace("&amp;", "&")
        shown = re.findall(r'class="label[^"]*" href="/features/([^"]+)"', page)
        assert shown == [hit["id"] for hit in http.get(link).json["hits"]]
        assert len(shown) == 4
        following = re.search(r'rel="next" href="([^"]+)"', page)[1].replace("&amp;", "&")
        page = http.get(following, headers=HTML).text
        assert "First page" in page
        assert not set(shown) & set(re.findall(r'class="label[^"]*" href="/features/([^"]+)"', page))


def test_more_is_offered_only_where_there_is_more(http):
    few = http.get("/?text=exception&where=feature+%3C+3", headers=HTML)
    assert (few.status_code, "Next page" in few.text) == (200, False)


@pytest.mark.parametrize(
    "path", ["/?textt=x", "/?text=x&strict=1", "/?mode=keyword", "/dictionaries/tiny/0-res?pgae=2"]
)
def test_pages_refuse_fields_they_do_not_know(http, path):
    answer = http.get(path, headers=HTML)
    assert (answer.status_code, 'role="alert"' in answer.text) == (400, True)


def test_an_emptied_form_is_the_front_page(http):
    answer = http.get("/?text=&mode=&within=&where=", headers=HTML)
    assert (answer.status_code, "tiny/0-res" in answer.text) == (200, True)


def test_the_sql_page_says_what_columns_mean(http):
    page = http.get("/sql", headers=HTML).text
    assert "Fraction of counted tokens on which the activation is not zero" in page
    assert page.count("Rank within its band; 0 is the strongest.") == 1
    # columns that the view takes from other tables are described as those are
    assert re.search(r"<code>layer</code> INTEGER</dt><dd>The layer of hook_point", page)


def test_results_of_any_type_are_shown(http):
    statement = "SELECT NULL AS n, [1, 2] AS l, 'x'::BLOB AS b, 1.5::FLOAT AS f, true AS t, '<b>' AS feature"
    page = http.get("/sql", query_string={"sql": statement}, headers=HTML)
    assert page.status_code == 200
    for shown in ('<span class="quiet">null</span>', "[1, 2]", "1.5", "True", "&lt;b&gt;"):
        assert shown in page.text


@pytest.fixture(scope="module")
def labels_alone(tmp_path_factory):
    """The client of a store that has labels, and nothing else of its features."""
    name = "tiny/0-res"
    harvested = ("tokenizer", "corpus", "context_size", "tokens_counted", "tokens_excluded")
    row = {field: value for field, value in tiny.dictionary_row("0-res", 0).items() if field not in harvested}
    with featurestore.create(tmp_path_factory.mktemp("labels") / "labels.features") as store:
        with store.writer("tests") as writer:
            writer.add("dictionaries", tiny.table([row]), key=name)
            labels = [*tiny.label_rows(name), HOSTILE, HOSTILE | {"feature": 22, "label": "long " * 400}]
            writer.add("labels", tiny.table(labels), key=name)
        yield create_app(store).test_client()


HOSTILE = {
    "dictionary": "tiny/0-res",
    "feature": 23,
    "tool": "tests",
    "created_at": tiny.WHEN,
    "label": "\u202e <b>turned</b>\x1b around",
    "explainer": "tokens",
    "prompt": "tokens/1",
}


def test_of_labels_alone_nothing_is_shown_that_is_not_known(labels_alone):
    page = labels_alone.get("/features/tiny/0-res/8", headers=HTML).text
    assert "of tokens</dd>" not in page and "decoder norm" not in page and "decoder vector as JSON" not in page
    assert "Not known: they are computed by a harvest or an import." in page
    cards = labels_alone.get("/?text=exception&mode=keyword", headers=HTML).text
    assert 'class="cards"' in cards and "Fires on" not in cards


def test_labels_that_turn_the_text_around_are_shown_as_they_are(labels_alone):
    page = labels_alone.get("/features/tiny/0-res/23", headers=HTML).text
    shown = "⟨202E⟩ &lt;b&gt;turned&lt;/b&gt;␛ around"
    assert f'<h1 class="feature" dir="auto">{shown}</h1>' in page
    assert "\u202e" not in page.replace('value="\u202e', "")


def test_a_label_of_two_thousand_characters_is_whole_on_its_page_alone(labels_alone):
    page = labels_alone.get("/features/tiny/0-res/22", headers=HTML).text
    assert re.search('<h1 class="feature" dir="auto">(long ){46,48}?long…</h1>', page)
    assert f'</summary><span dir="auto">{"long " * 400}</span></details>' in page
    cards = labels_alone.get("/?text=long&mode=keyword", headers=HTML).text
    assert "long…</a>" in cards and "long " * 60 not in cards


def test_an_empty_store_says_what_to_do(tmp_path):
    with featurestore.create(tmp_path / "empty.features") as store:
        client = create_app(store).test_client()
        for path in ("/", "/?text=exception"):
            page = client.get(path, headers=HTML).text
            assert "The store is empty." in page and "featurestore harvest --help" in page
        page = client.get("/compare", headers=HTML).text
        assert "The store has no dictionary yet." in page and "<select" not in page


def test_of_many_dictionaries_the_first_are_listed_and_the_rest_folded(tmp_path):
    with featurestore.create(tmp_path / "many.features") as store:
        with store.writer("tests") as writer:
            for n in range(30):
                name = f"tiny/{n}-res"
                row = tiny.dictionary_row(f"{n}-res", n) | {"corpus": None, "tokens_counted": None}
                writer.add("dictionaries", tiny.table([row]), key=name)
                writer.add("labels", tiny.table(tiny.label_rows(name)[:1]), key=name)
        page = create_app(store).test_client().get("/", headers=HTML).text
    shown, _, folded = page.partition("<summary>10 more</summary>")
    assert shown.count('<tr><td><a href="/dictionaries/tiny/') == 20
    assert folded.count('<tr><td><a href="/dictionaries/tiny/') == 10
