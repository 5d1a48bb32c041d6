"""The documentation as a site: it builds without a warning, fetches nothing, and its reference has all there is."""

import importlib.util
import json
import logging
import re
import sys

import click
import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

import featurestore
from featurestore.cli.main import main
from featurestore.tables import schema
from tests.support.doc_blocks import ROOT


@pytest.fixture(scope="module")
def generated():
    spec = importlib.util.spec_from_file_location("generated", ROOT / "docs" / "generated.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Where the built site lies."""
    folder = tmp_path_factory.mktemp("site")
    said = []

    class Heard(logging.Handler):
        def emit(self, record):
            said.append(record.getMessage())

    heard = Heard(logging.WARNING)
    logging.getLogger("mkdocs").addHandler(heard)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("NO_MKDOCS_2_WARNING", "1")
            config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True)
            config.plugins.on_startup(command="build", dirty=False)
            build(config)
            config.plugins.on_shutdown()
    finally:
        logging.getLogger("mkdocs").removeHandler(heard)
        sys.modules.pop("generated", None)
    assert said == []
    return folder


def text_of(path):
    return re.sub(r"<[^>]+>", "", path.read_text("utf-8"))


def test_every_page_is_there(site):
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    made = {path.relative_to(site) for path in site.rglob("*.html")}
    assert pages <= made
    assert {"changes.html", "security.html", "contributing.html", "reference/http.html"} <= {p.as_posix() for p in made}
    home = (site / "index.html").read_text("utf-8")
    for page in pages:
        assert f'href="{page.as_posix()}"' in home, f"{page} is not in the navigation"


def test_nothing_is_fetched_from_elsewhere(site):
    loading = re.compile(
        r"<(?:script|img|iframe|link|source|object)\b[^>]*?(?:src|href|data)=[\"']?(?:https?:)?//[^>]*>"
    )
    for path in site.rglob("*.html"):
        assert loading.findall(path.read_text("utf-8")) == [], path
    for path in [*site.rglob("*.css")]:
        assert not re.search(r"url\([\"']?(?:https?:)?//|@import", path.read_text("utf-8")), path


def test_links_between_pages_lead_to_something(site):
    for path in site.rglob("*.html"):
        if path.name == "404.html":
            continue
        for target, anchor in re.findall(r'href="([^":#?]*)(?:#([^"]*))?"', path.read_text("utf-8")):
            there = (path.parent / target).resolve() if target else path
            assert there.exists(), f"{path.relative_to(site)}: {target}"
            if anchor and there.suffix == ".html":
                assert re.search(rf'id="?{re.escape(anchor)}\b', there.read_text("utf-8")), (
                    f"{path.name}: {target}#{anchor}"
                )


def test_marks_of_the_tests_are_not_shown(site):
    assert not any(
        "not-run:" in path.read_text("utf-8") for path in site.rglob("*.html") if path.name != "contributing.html"
    )


def test_the_reference_has_every_public_name(site):
    page = (site / "reference" / "python.html").read_text("utf-8")
    missing = [name for name in featurestore.__all__ if f'id="featurestore.{name}"' not in page]
    assert missing == []
    for method in featurestore.FeatureStore.__abstractmethods__:
        assert f'id="featurestore.FeatureStore.{method}"' in page, method


def test_the_reference_has_every_command_and_option(site):
    shown = text_of(site / "reference" / "commands.html")
    for name in main.list_commands(None):
        command = main.get_command(click.Context(main), name)
        assert f"featurestore {name}" in shown
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert option.opts[0] in shown, f"{name} {option.opts[0]}"


def test_the_reference_has_every_column_with_its_comment(generated):
    page = generated.tables_page()
    for one in schema.columns():
        assert f"| `{one.column}` | `{one.type}` |" in page, one
        if one.comment:
            assert generated._escape(one.comment) in page, one
    for table in schema.tables():
        assert f"## stored.{table}\n" in page
        for column in schema.arrow_schema(table).names:
            assert f"| `{column}` |" in page.split(f"## stored.{table}\n")[1].split("\n## ")[0]


def test_the_reference_has_every_route_and_field(generated, site):
    document = generated.openapi()
    page = generated.http_page()
    assert json.loads((site / "openapi.json").read_text("utf-8")) == document
    for path, methods in document["paths"].items():
        for method, one in methods.items():
            part = page.split(f"## {method.upper()} {path}\n")[1].split("\n## ")[0]
            for field in one.get("parameters", []):
                assert f"| `{field['name']}` |" in part, (path, field["name"])
    for name, one in document["components"]["schemas"].items():
        part = page.split(f"### {name}\n")[1].split("\n### ")[0]
        assert all(f"| `{field}` |" in part for field in one.get("properties", {}))


def test_names_that_nobody_placed_stand_at_the_end(generated, monkeypatch):
    monkeypatch.setattr(featurestore, "__all__", ["Hit", "Novelty"])
    assert (
        generated.add_missing_names("::: featurestore.Hit\n")
        == "::: featurestore.Hit\n\n## More\n\n::: featurestore.Novelty\n"
    )
    assert generated.add_missing_names("::: featurestore.Hit\n\n::: featurestore.Novelty\n").count("More") == 0


@pytest.mark.parametrize(
    ("text", "depth", "wanted"),
    [
        ("[a](../schema.sql)", 0, "[a](reference/tables.md)"),
        ("[a](../../schema.sql)", 1, "[a](../reference/tables.md)"),
        ("[a](docs/design.md#why)", 0, "[a](design.md#why)"),
        ("[a](../SECURITY.md#promised)", 0, "[a](security.md#promised)"),
        (
            "[a](store.md) [b](https://x.org/README.md) [c](#here)",
            0,
            "[a](store.md) [b](https://x.org/README.md) [c](#here)",
        ),
        ("[a](../store.md)", 1, "[a](../store.md)"),
    ],
)
def test_links_out_of_the_docs_lead_to_pages(generated, text, depth, wanted):
    assert generated.relink(text, depth) == wanted


def test_texts_of_cells_stand_as_they_are(generated):
    assert generated._escape("a | b\n  *c* `x | y_z` <d> [e]") == r"a \| b \*c\* `x \| y_z` \<d\> \[e\]"


def test_texts_for_language_models_name_every_page(site):
    listed = (site / "llms.txt").read_text("utf-8")
    for path in re.findall(r"\]\(([^)]+)\)", listed):
        assert (site / path).exists(), path
    whole = (site / "llms-full.txt").read_text("utf-8")
    assert "howto/assistants.html" in listed and "# Let an assistant ask the store" in whole
    assert "not-run" not in re.findall(r"^```.*$", whole, re.MULTILINE)
