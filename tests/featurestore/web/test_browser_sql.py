"""The page of SQL in a real Chromium: names are offered and taken by keyboard, cells open, charts, a copied link."""

import pytest

import featurestore
from featurestore.web import create_app
from tests.support.browser import find_violations, open_page
from tests.support.servers import real_server

RUN = "/sql?sql=SELECT+dictionary,+feature,+density,+repeat('ab',500)+AS+long+FROM+features+ORDER+BY+ALL"
CHART = f"{RUN}&x=feature&y=density&kind="


@pytest.fixture(scope="module")
def url(tiny_store):
    with featurestore.connect(tiny_store) as store, real_server.serving(create_app(store)) as address:
        yield address


@pytest.fixture
def page(chromium, url):
    with open_page(chromium, url) as page:
        yield page


def offered(page):
    page.locator("#completions:not([hidden])").wait_for()
    return page.locator("#completions code").all_text_contents()


def write(page, text):
    page.goto("/sql")
    page.get_by_label("SQL").focus()
    page.keyboard.type(text)


def test_a_statement_is_written_by_keyboard_with_names_that_are_offered(page):
    write(page, "SELECT feature, max_a")
    assert offered(page)[0] == "max_activation"
    page.keyboard.press("Tab")
    page.keyboard.type(" FROM fea")
    assert offered(page)[0] == "features"
    page.keyboard.press("ArrowDown")
    chosen = page.get_by_label("SQL").get_attribute("aria-activedescendant")
    assert page.locator(f"#{chosen}").get_attribute("aria-selected") == "true"
    page.keyboard.press("Enter")
    assert page.get_by_label("SQL").input_value() == "SELECT feature, max_activation FROM features"
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**/sql?sql=*")
    assert page.locator(".result th").all_inner_texts() == ["feature", "max_activation"]


@pytest.mark.parametrize(
    ("written", "first", "among"),
    [
        ("SELECT * FROM ", "best_labels", "nearest"),
        ("SELECT e. FROM examples e", None, "band"),
        ("SELECT top_logits[1]. FROM features", None, "token"),
        ("FROM semantic('brackets', wit", "within", "within"),
        ("FROM labels WHERE explai", "explainer", "explainer"),
        ("FROM features WHERE dictionary = '", "tiny/0-res", "tiny/1-res"),
    ],
)
def test_what_fits_the_place_is_offered(page, written, first, among):
    write(page, written)
    before = written.index(". FROM") + 1 if ". FROM" in written else len(written)
    page.get_by_label("SQL").evaluate("(area, at) => area.setSelectionRange(at, at)", before)
    page.keyboard.press("Control+ ")
    page.locator("#completions code", has_text=among).first.wait_for(state="attached")
    names = offered(page)
    assert among in names and first in (None, names[0])


def test_arrow_keys_move_through_a_long_list(page):
    write(page, "FROM ")
    page.keyboard.press("Control+ ")
    names = offered(page)
    for _ in range(11):
        page.keyboard.press("ArrowDown")
    assert page.locator("#completions [aria-selected=true]").is_visible()
    page.keyboard.press("Enter")
    assert page.get_by_label("SQL").input_value().startswith(f"FROM {names[11]}")


def test_escape_closes_the_list_and_tab_then_leaves(page):
    write(page, "SELECT lab")
    assert offered(page)
    page.keyboard.press("Escape")
    assert page.locator("#completions:not([hidden])").count() == 0
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "BUTTON"


@pytest.mark.parametrize("written", ["-- a comment about den", "SELECT 1", "SELECT 'some den"])
def test_nothing_is_offered_where_no_name_stands(page, written):
    write(page, written)
    page.wait_for_timeout(50)
    assert page.locator("#completions:not([hidden])").count() == 0


def test_what_was_taken_can_be_undone(page):
    write(page, "SELECT densi")
    page.keyboard.press("Tab")
    page.keyboard.press("Control+z")
    assert page.get_by_label("SQL").input_value() == "SELECT densi"


def test_a_long_cell_opens(page):
    page.goto(RUN)
    cell = page.locator(".cell").first
    short = cell.bounding_box()["height"]
    cell.locator("summary").focus()
    page.keyboard.press("Enter")
    assert cell.bounding_box()["height"] > short and "ab" * 500 in cell.inner_text().replace("\n", "")


def test_a_chart_is_drawn_and_leads_to_features(page):
    page.goto(RUN)
    page.get_by_text("Chart", exact=True).click()
    page.get_by_label("x axis").select_option("feature")
    page.get_by_label("y axis").select_option("density")
    page.get_by_role("button", name="Draw").click()
    page.wait_for_url("**y=density**")
    assert page.locator(".chart circle").count() > 10
    page.locator(".chart a").last.click()
    page.wait_for_url("**/features/tiny/**")


def test_the_link_is_copied(chromium, url):
    with open_page(chromium, url, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.goto(CHART)
        page.get_by_role("button", name="Copy link").click()
        page.get_by_role("button", name="Link copied").wait_for()
        copied = page.evaluate("navigator.clipboard.readText()")
        rows = page.locator(".result tr").count()
        page.goto(copied)
        assert (page.locator(".result tr").count(), page.locator(".chart").count()) == (rows, 1)


def test_rows_are_downloaded(page):
    page.goto(RUN)
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV", exact=True).click()
    assert download.value.suggested_filename == "rows.csv"
    assert download.value.path().read_text().startswith('"dictionary"')


def test_it_works_without_scripts(chromium, url):
    page = chromium.new_page(base_url=url, java_script_enabled=False)
    page.goto("/sql")
    assert page.get_by_text("names are offered").is_hidden()
    page.get_by_label("SQL").fill("SELECT state, count(*) AS n, repeat('ab', 500) AS long FROM features GROUP BY state")
    page.get_by_role("button", name="Run").click()
    page.locator(".cell summary").first.click()
    assert "ab" * 500 in page.locator(".cell").first.inner_text().replace("\n", "")
    page.get_by_text("Chart", exact=True).click()
    page.get_by_role("button", name="Draw").click()
    assert page.locator(".chart rect").count() >= 2
    page.close()


@pytest.mark.parametrize("path", ["/sql", CHART, f"{CHART}bars", f"{RUN}&x=feature&y=dictionary"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1200])
def test_axe_finds_nothing_serious_and_it_fits(page, path, scheme, width):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(path)
    if path == "/sql":
        page.get_by_label("SQL").focus()
        page.keyboard.type("SELECT l")
        offered(page)
    assert find_violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
