"""The pages in a real Chromium: search, a feature, SQL; no error on the console, nothing that the policy blocks."""

import msgspec
import pytest

import featurestore
from featurestore.web import create_app
from tests.support.browser import find_violations, open_page
from tests.support.servers import real_server

# Every page; none has anything that axe-core takes for serious.
PATHS = [
    "/",
    "/?text=self",
    "/?near=tiny/0-res/8",
    "/features/tiny/0-res/8",
    "/features/tiny/0-res/22",
    "/features/tiny/0-res/99",
    "/neighbourhood/tiny/0-res/8",
    "/dictionaries/tiny/0-res",
    "/text",
    "/sql",
    "/sql?sql=FROM+features+LIMIT+5",
    "/docs",
]


@pytest.fixture(scope="module")
def url(tiny_store):
    with featurestore.connect(tiny_store) as store:
        store.feature = with_a_long_window(store.feature)
        with real_server.serving(create_app(store)) as address:
            yield address


def with_a_long_window(feature):
    """As `feature`, but the first example of tiny/0-res/9 is twelve lines; the store's own are too short to fold."""

    def longer(id, examples=None):
        page = feature(id, examples)
        if id != "tiny/0-res/9":
            return page
        tokens = tuple(f"line {n}\n" for n in range(12))
        activations = tuple(float(n in (1, 6)) for n in range(12))
        first = msgspec.structs.replace(page.examples[0], start=0, position=6, tokens=tokens, activations=activations)
        return msgspec.structs.replace(page, examples=(first, *page.examples[1:]))

    return longer


@pytest.fixture
def page(chromium, url):
    with open_page(chromium, url) as page:
        yield page


def test_search_then_a_feature(page):
    page.goto("/")
    page.get_by_label("What should the feature mean?").fill("exception handling")
    page.keyboard.press("Enter")
    first = page.locator(".cards a.label").first
    assert "exception handling" in first.inner_text()
    first.click()
    page.wait_for_url("**/features/tiny/**")
    assert page.locator(".histogram rect").count() >= 1
    lit = page.locator(".examples .t.peak").first
    assert lit.evaluate("e => getComputedStyle(e).backgroundColor") != "rgba(0, 0, 0, 0)"
    assert page.locator(".side .hits li").count() == 8


def test_keys_move_between_features(page):
    page.goto("/features/tiny/0-res/8")
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**/features/tiny/0-res/9")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "text"


def test_sql_runs_and_links_to_features(page):
    page.goto("/sql")
    page.get_by_label("SQL").fill("SELECT dictionary, feature, label FROM features WHERE feature = 5 ORDER BY ALL")
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**/sql?sql=*")
    assert page.locator(".result tr").count() == 3
    page.locator(".result a[href^='/features/']").first.click()
    page.wait_for_url("**/features/tiny/0-res/5")


def test_examples_fold_to_the_lines_around_the_peak(page):
    page.goto("/features/tiny/0-res/9")
    first = page.locator(".examples .tokens").first
    assert first.inner_text().split("\n") == ["line 5", "line 6⏎", "line 7"]
    page.get_by_label("whole windows").check()
    shown = [f"line {n}{'⏎' if n in (1, 6) else ''}" for n in range(12)]
    assert first.inner_text().rstrip("\n").split("\n") == shown
    page.goto("/features/tiny/0-res/8")  # nothing is folded there, so nothing is offered
    assert page.get_by_label("whole windows").count() == 0


def test_a_text_error_is_on_the_page(page):
    """The tiny store has no model to run; the page says so and stays usable."""
    page.goto("/text")
    page.get_by_label("Text", exact=True).fill("def f():")
    with page.expect_response("**/text?**") as answered:
        page.get_by_role("button", name="Run the model").click()
    assert answered.value.status == 503
    page.get_by_role("alert").wait_for()
    assert page.get_by_label("Text", exact=True).input_value() == "def f():"
    page.complaints.clear()  # Chromium logs the status itself


def test_pages_work_without_javascript(chromium, url):
    page = chromium.new_page(base_url=url, java_script_enabled=False)
    page.goto("/")
    page.get_by_label("What should the feature mean?").fill("exception handling")
    page.get_by_role("button", name="Search").click()
    page.locator(".cards a.label").first.click()
    assert page.locator(".histogram rect").count() >= 1
    page.goto("/sql?sql=SELECT+1+AS+one")
    assert page.locator(".result td").all_inner_texts() == ["1"]
    page.close()


# WCAG 2: (L1 + 0.05) / (L2 + 0.05) of relative luminances; 4.5 is wanted of text.
CONTRASTS = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const over = (front, back) => {
    const a = front[3] ?? 1;
    return [0, 1, 2].map(i => a * front[i] + (1 - a) * back[i]);
  };
  const channel = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const found = {};
  for (const paper of ["--paper", "--card"]) {
    const probe = document.body.appendChild(document.createElement("span"));
    for (const name of ["t s1", "t s2", "t s3", "t s4", "t s5", "t s6", "t s7", "t s8", "t s9", "t s10", "quiet"]) {
      probe.className = "";
      probe.style.background = `var(${paper})`;
      const back = numbers(getComputedStyle(probe).backgroundColor);
      probe.style.background = "";
      probe.className = name;
      const style = getComputedStyle(probe);
      const behind = over(numbers(style.backgroundColor), back);
      const [high, low] = [light(numbers(style.color)), light(behind)].sort((a, b) => b - a);
      found[`${name} on ${paper}`] = (high + 0.05) / (low + 0.05);
    }
    probe.remove();
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_on_every_shade(page, scheme):
    page.emulate_media(color_scheme=scheme)
    page.goto("/")
    found = page.evaluate(CONTRASTS)
    assert len(found) == 22
    assert {name: round(ratio, 2) for name, ratio in found.items() if ratio < 4.5} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_stronger_the_farther_from_the_paper(page, scheme):
    page.emulate_media(color_scheme=scheme)
    page.goto("/")
    found = page.evaluate(CONTRASTS.replace("(high + 0.05) / (low + 0.05)", "Math.abs(light(behind) - light(back))"))
    for paper in ("--paper", "--card"):
        distances = [found[f"t s{n} on {paper}"] for n in range(1, 11)]
        assert distances == sorted(distances)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(page, path, scheme):
    page.emulate_media(color_scheme=scheme)
    page.goto(path)
    page.complaints.clear()  # Chromium logs the status of an error itself
    assert find_violations(page) == []


@pytest.mark.parametrize("width", [375, 1200, 2560])
@pytest.mark.parametrize("path", PATHS)
def test_pages_fit_their_window(page, path, width):
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(path)
    page.complaints.clear()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
