"""The page of SQL: rows, the page after them, downloads of all of them, and charts; without scripts."""

import html
import io
import re
import urllib.parse

import pyarrow.csv
import pyarrow.parquet
import pytest

import featurestore
from featurestore.web import create_app

HTML = {"Accept": "text/html"}
ALL = "SELECT dictionary, feature, density FROM features ORDER BY ALL"


@pytest.fixture(scope="module")
def http(tiny_store):
    with featurestore.connect(tiny_store) as store:
        yield create_app(store).test_client()


def ask(http, statement, **fields):
    return http.get("/sql", query_string={"sql": statement} | fields, headers=HTML)


def cells(page):
    return re.findall(r"<td[^>]*>(.*?)</td>", page.text, re.DOTALL)


def test_long_cells_open_in_the_page_itself(http):
    page = ask(http, "SELECT repeat('ab', 500) AS long, 'short' AS short")
    opened = re.search(r'<details class="cell"><summary>(.*?)</summary>(.*?)</details>', page.text)
    assert opened[1] + opened[2] == "ab" * 500
    assert "short" in cells(page)


def test_the_next_page_goes_on_where_this_one_ends(http):
    statement = "SELECT range AS n, repeat('x', 700) AS text FROM range(400) ORDER BY n"
    seen, page = [], ask(http, statement)
    while True:
        rows = [int(cell) for cell in cells(page)[::2]]
        assert len(page.data) < 500_000
        seen += rows
        link = re.search(r'<a rel="next" href="([^"]+)"', page.text)
        if link is None:
            break
        page = http.get("/sql" + html.unescape(link[1]), headers=HTML)
    assert seen == list(range(400))
    assert "First rows" in page.text


def test_all_rows_are_downloaded_in_each_form(http):
    page = ask(http, ALL)
    links = {
        name: html.unescape(link)
        for link, name in re.findall(r'<a href="(/v1/sql[^"]+)" download="rows\.\w+">([^<]+)</a>', page.text)
    }
    count = http.get("/v1/sql", query_string={"sql": f"SELECT count(*) FROM ({ALL})"}).json["rows"][0][0]
    assert set(links) == {"CSV", "CSV for a spreadsheet", "Parquet", "Arrow", "JSON lines"}
    assert pyarrow.csv.read_csv(io.BytesIO(http.get(links["CSV"]).data)).num_rows == count
    assert pyarrow.parquet.read_table(io.BytesIO(http.get(links["Parquet"]).data)).num_rows == count
    assert pyarrow.ipc.open_stream(http.get(links["Arrow"]).data).read_all().num_rows == count
    assert len(http.get(links["JSON lines"]).text.splitlines()) == count


def test_a_chart_is_in_the_page_and_in_its_address(http):
    page = ask(http, ALL, x="feature", y="density", kind="points", log_y="true")
    drawn = page.text.count("<circle")
    known = http.get("/v1/sql", query_string={"sql": f"SELECT count(*) FROM ({ALL}) WHERE density > 0"}).json["rows"][
        0
    ][0]
    assert drawn == known > 10
    assert 'href="/features/tiny/0-res/' in re.search(r"<svg class=.chart.*?</svg>", page.text, re.DOTALL)[0]
    again = ask(http, "SELECT state, count(*) AS n FROM features GROUP BY ALL", x="state", y="n")
    assert '<svg class="chart bars"' in again.text and again.text.count("<rect") >= 2
    # the statement's own form keeps the chart: running it again draws it again
    assert '<input type="hidden" name="y" value="n">' in again.text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"x": "nose", "y": "n"}, "nose"),
        ({"x": "n", "y": ""}, "is not a column"),
        ({"x": "n", "y": "state"}, "has no numbers to draw"),
    ],
)
def test_a_chart_that_cannot_be_is_said_beside_the_rows(http, fields, words):
    page = ask(http, "SELECT state, count(*) AS n FROM features GROUP BY ALL", **fields)
    assert page.status_code == 200 and words in page.text and len(cells(page)) >= 2


@pytest.mark.parametrize(
    ("field", "value"), [("first", "-1"), ("first", "100001"), ("kind", "pie"), ("log_x", "maybe")]
)
def test_fields_that_mean_nothing_are_refused(http, field, value):
    page = ask(http, ALL, **{field: value})
    assert (page.status_code, field in page.text) == (400, True)


def test_names_of_columns_are_text(http):
    page = ask(http, 'SELECT 1 AS "<b>&x", 2 AS "y"', x="<b>&x", y="y")
    assert "<b>" not in page.text.replace("<body>", "") and "&lt;b&gt;&amp;x" in page.text


def test_a_statement_is_kept_in_the_links(http):
    statement = "SELECT 'a&b=c#d' AS text, 1 AS n, range FROM range(2000)"
    page = ask(http, statement)
    link = html.unescape(re.search(r'<a rel="next" href="([^"]+)"', page.text)[1])
    assert urllib.parse.parse_qs(link[1:])["sql"] == [statement]


def test_no_rows_say_so(http):
    page = ask(http, "SELECT feature FROM features WHERE feature < 0")
    assert page.status_code == 200 and "No row fits" in page.text
