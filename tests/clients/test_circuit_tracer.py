"""circuit-tracer's own page in a real Chromium, with a service of ours behind it.

The page comes from the installed package. What it loads from other hosts is given to it from .venv-clients.
"""

import contextlib
import mimetypes

import pytest

from featurestore.web import Settings, create_app
from tests.clients.service import CLIENTS
from tests.support import attribution_graphs, tiny
from tests.support.browser import ARGUMENTS, CHROMIUM, MISSING
from tests.support.servers import real_server

pytestmark = pytest.mark.clients
SCRIPTS = {
    "d3.js": ("d3/dist/d3.js", "d3-collection/dist/d3-collection.js"),
    "jetpack_2024-07-20.js": ("d3-jetpack/build/d3-jetpack.cjs",),
    "dagre.min.js": ("dagre/dist/dagre.min.js",),
    "pako.min.js": ("pako/dist/pako.min.js",),
}
# The published build of jetpack has a d3 of its own inside, which is not the one that it extends: its module is used.
# The page's build is a later one, whose conventions draw axes themselves.
IN_D3 = """(() => {{
const exports = {{}}, module = {{exports}}, require = () => d3;
{}
Object.assign(d3, exports)
d3.conventions = c => {{
  const made = exports.conventions(c)
  made.drawAxis = svg => exports.drawAxis(Object.assign({{}}, made, {{svg}}))
  return made
}}
}})()"""


@pytest.fixture(scope="module")
def assets():
    pages = sorted(CLIENTS.glob("lib/python3*/site-packages/circuit_tracer/frontend/assets"))
    if not pages or not (CLIENTS / "node_modules" / "d3").exists():
        pytest.skip("needs circuit-tracer and d3 in .venv-clients: make test-clients, where npm is")
    return pages[0]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with tiny.write_tiny_store(tmp_path_factory.mktemp("ct") / "s") as opened:
        opened.add_graph(attribution_graphs.graph(scan="tiny"), map=["tiny/{layer}-res"])
        yield opened


@pytest.fixture(scope="module")
def url(store, assets):
    """The page's files and the service at one address, as a web server that passes the rest on gives them."""
    app = create_app(store, Settings(compat=frozenset({"graphs"}), writes=True))

    def beside(environ, start_response):
        file = assets / (environ["PATH_INFO"].lstrip("/") or "index.html")
        if not file.is_file():
            return app(environ, start_response)
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        start_response("200 OK", [("Content-Type", kind)])
        return [file.read_bytes()]

    with real_server.serving(beside) as address:
        yield address


@pytest.fixture
def page(url):
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip(MISSING)
    with (
        sync_api.sync_playwright() as playwright,
        contextlib.closing(playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)) as browser,
    ):
        page = browser.new_page(base_url=url, viewport={"width": 1400, "height": 1000})
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.route(lambda address: not address.startswith(url), give_script)
        yield page


def give_script(route):
    """Answer a request to another host from the installed scripts; what is not needed is empty."""
    name = route.request.url.rpartition("/")[2]
    text = "\n".join((CLIENTS / "node_modules" / file).read_text() for file in SCRIPTS.get(name, ()))
    text = IN_D3.format(text) if name.startswith("jetpack") else text
    route.fulfill(body=text, content_type="text/javascript; charset=utf-8")


def test_a_graph_opens_a_node_shows_our_feature_and_what_is_pinned_comes_back(page, store, url):
    page.goto("/")
    page.wait_for_selector("text.node", timeout=20_000)
    assert page.locator("text.node").count() == len(store.graph("colons").nodes)
    assert page.locator("select.graph-prompt-select option").count() == 1
    # A click on a node shows our label and our examples.
    click(page, "0_3_1")
    label = store.feature("tiny/0-res/3").label
    detail = page.locator(".feature-detail")
    detail.locator(".ctx-container").first.wait_for(timeout=20_000)
    assert label in detail.inner_text()
    tokens = "".join(store.feature("tiny/0-res/3").examples[0].tokens).split()
    assert all(token in detail.inner_text() for token in tokens)
    # Pinned with the control key, saved with the page's button, it is in the store and on the page opened anew.
    click(page, "0_8_2", modifiers=["Control"])
    page.locator(".save-button").click()
    page.locator(".save-button", has_text="Saved!").wait_for(timeout=20_000)
    assert store.graph("colons").view["pinnedIds"] == "0_8_2"
    page.goto("about:blank")
    page.goto("/")
    page.wait_for_selector("text.node.pinned", state="attached", timeout=20_000)
    assert page.evaluate("d3.selectAll('text.node.pinned').data().map(d => d.nodeId)") == ["0_8_2"]
    assert page.errors == []


def click(page, node_id, **options):
    """Click on a node where the page has drawn it."""
    place = page.evaluate(
        """id => { const n = d3.selectAll('text.node').filter(d => d.nodeId == id).node().getBoundingClientRect()
                   const g = document.querySelector('.link-graph').getBoundingClientRect()
                   return {x: n.x + n.width / 2 - g.x, y: n.y + n.height / 2 - g.y} }""",
        node_id,
    )
    page.locator(".link-graph").click(position=place, force=True, **options)
