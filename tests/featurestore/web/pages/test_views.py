"""What pages are drawn from, and that they hold over a remote store too."""

import random
import re

import httpx2
import pytest

import featurestore
from featurestore.client import Client
from featurestore.display import charts
from featurestore.web import create_app

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
        "/sql?sql=SELECT+dictionary,+feature,+density+FROM+features+ORDER+BY+ALL",
        "/sql?sql=SELEC",
    ],
)
def test_pages_over_a_remote_store_are_the_same(app, path):
    with Client("http://elsewhere", transport=httpx2.WSGITransport(app=app)) as remote:
        far = create_app(remote).test_client().get(path, headers=HTML)
    near = app.test_client().get(path, headers=HTML)
    assert (far.status_code, far.text) == (near.status_code, near.text)


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
    assert page.count("Place within its band: 0 is the strongest.") == 1
    # columns that the view takes from other tables are described as those are
    assert re.search(r"<code>layer</code> INTEGER</dt><dd>The layer of hook_point", page)


def test_results_of_any_type_are_shown(http):
    statement = "SELECT NULL AS n, [1, 2] AS l, 'x'::BLOB AS b, 1.5::FLOAT AS f, true AS t, '<b>' AS feature"
    page = http.get("/sql", query_string={"sql": statement}, headers=HTML)
    assert page.status_code == 200
    for shown in ('<span class="quiet">null</span>', "[1, 2]", "1.5", "True", "&lt;b&gt;"):
        assert shown in page.text


def test_tokens_are_drawn_whole():
    """Whatever is folded away, all text is there, in order, and each lit token is one run with its shade."""
    rng = random.Random(0)
    pieces = ["def", " self", "\n", "\n    ", ")\n\n", " x", "", "\t", "é"]
    for _ in range(300):
        tokens = [rng.choice(pieces) for _ in range(rng.randrange(1, 30))]
        values = [rng.choice([0.0, 0.0, 1.0, -2.0]) for _ in tokens]
        peak = rng.randrange(-1, len(tokens))
        drawn = charts.runs(tokens, values, 2.0, peak)
        parts = [part for run in drawn for part in run.parts]
        assert "".join(part.text for part in parts if not part.mark) == "".join(tokens)
        lit = [run for run in drawn if run.shade]
        assert [run.shade for run in lit] == [charts.shade(value, 2.0) for value in values if value]
        assert sum(run.peak for run in lit) == (peak >= 0 and values[peak] != 0)
        if peak < 0:
            assert not any(part.far for part in parts)
        if peak >= 0 and tokens[peak] and values[peak]:
            first = next(part for run in lit if run.peak for part in run.parts)
            assert not first.far
        assert all(run.far == all(part.far for part in run.parts) for run in drawn if run.parts)


def test_what_is_near_is_the_line_of_the_peak_and_the_two_beside_it():
    tokens = ["a\n", "  b", "\n\n  x", " y", "\n    ", " z", "\nq"]
    drawn = charts.runs(tokens, [0, 0, 0, 2.0, 1.0, 0, 0], 2.0, 3)
    near = "".join(part.text for run in drawn for part in run.parts if not part.far and not part.mark)
    assert near == "  b\n\n  x y\n     z"
    assert [part.text for run in drawn for part in run.parts if part.mark] == ["⏎"]
    assert [run.title for run in drawn if run.shade] == ["·y  2.000", "⏎····  1.000"]


@pytest.mark.parametrize(
    ("density", "shown"),
    [(None, "–"), (0.0, "0 %"), (1.0, "100 %"), (0.05, "5 %"), (0.00123, "0.12 %"), (1.7e-6, "0.00017 %")],
)
def test_percentages(density, shown):
    assert charts.percent(density) == shown


def test_a_strip_has_a_bar_where_something_fires():
    assert charts.strip([0.0, 4.0, 0.0, -2.0, 0.001]) == [(1, 1.0), (3, 0.5), (4, 0.12)]
    assert charts.strip([0.0]) == []


def test_axes_carry_as_many_numbers_as_fit():
    counts = [1] * 64
    drawn = charts.activation_histogram(tuple(counts))
    assert (len(drawn.bars), len(drawn.ticks) <= 7, drawn.most) == (64, True, 1)
    drawn = charts.density_histogram([{"bin": -24, "n": 1}, {"bin": -1, "n": 7}])
    assert [tick.text for tick in drawn.ticks] == ["0.0001 %", "0.001 %", "0.01 %", "0.1 %", "1 %", "10 %", "100 %"]
    assert drawn.bars[-1].title == "56 % to 100 %: 7 features"
    assert min(bar.x for bar in drawn.bars) >= 0
    assert max(bar.x + bar.width for bar in drawn.bars) <= drawn.width
