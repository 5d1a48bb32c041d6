"""README: one screen before the details, pictures that are there, and figures that the benches' pages have."""

import re

from tests.support import ROOT

README = (ROOT / "README.md").read_text()
TABLE = README[README.index("## Beside what there is") : README.index("## In Python")]


def test_one_screen_comes_before_the_details():
    first = README[: README.index("\n## ")].splitlines()
    assert len(first) <= 42
    paragraphs = "\n".join(first).split("\n\n")
    assert all(name in paragraphs[2] for name in ("SAELens", "SAEDashboard", "Neuronpedia", "featurestore import"))
    assert "pip install '.[all]'" in README and "make wheel" in README and "git+https://" in README


def test_pictures_are_there_and_show_search_a_page_and_sql():
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert all((ROOT / path).is_file() for path in pictures)
    assert {path.rpartition("/")[2].partition("-")[0] for path in pictures} == {"search", "feature", "sql"}


def test_figures_stand_in_the_pages_that_name_their_commands():
    figures = {
        "harvest": ("67 s", "1,347 s", "python -m bench.harvest"),
        "design": ("0.39 ms", "0.988", "38.9 ms", "0.962", "python -m bench.search"),
    }
    for page, wanted in figures.items():
        text = (ROOT / "docs" / f"{page}.md").read_text()
        assert all(figure in text and figure in " ".join(TABLE.split()) for figure in wanted)
    measured = set(re.findall(r"\d[\d.,]*\d(?: m?s)\b|0\.\d+", TABLE))
    assert measured == {"67 s", "1,347 s", "0.39 ms", "38.9 ms", "0.988", "0.962"}
