"""Values in notebooks: short in one line, and as HTML that shows what it should, whatever the texts hold."""

import html.parser
import json
import re

import msgspec
import pytest

import featurestore
from featurestore.display import notebook
from featurestore.display.charts import draw_activations
from featurestore.display.numbers import format_percent
from featurestore.values.hits import Activating, ActiveFeature, Contrast, ContrastFeature

HOSTILE = "</td><script>alert(1)</script><img src=x onerror=alert(2)>&\"' \x00 {{7*7}}"
TAGS = {
    "div",
    "span",
    "b",
    "code",
    "table",
    "tr",
    "th",
    "td",
    "svg",
    "rect",
    "line",
    "text",
    "title",
    "details",
    "summary",
}


@pytest.fixture(scope="module")
def store(tiny_store):
    with featurestore.connect(tiny_store) as opened:
        yield opened


class Parsed(html.parser.HTMLParser):
    """The tags, attributes and text of a fragment; what is not closed, or closed twice, fails."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.open, self.words, self.lit = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []
        self.text = "".join(self.words)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.open.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        self.words.append(data)
        if self.open and "background:rgba" in (self.open[-1][1].get("style") or ""):
            self.lit.append(data)


def shown(value):
    """The HTML of a value, parsed; it needs nothing from elsewhere and runs nothing."""
    made = Parsed(value._repr_html_())
    assert set(made.tags) <= TAGS
    for name, value_ in made.attributes:
        assert not name.startswith("on") and name not in ("src", "href", "class", "id"), name
        if name == "style":
            assert "url(" not in value_ and "expression" not in value_
    return made


def with_text(page, text):
    """A feature's page in which every text is this one."""
    example = msgspec.structs.replace(
        page.examples[0],
        tokens=(text, text),
        activations=(1.0, 0.0),
        start=0,
        position=0,
        document_name=text,
        band=text,
    )
    effect = featurestore.LogitEffect(text, 1.0)
    label = msgspec.structs.replace(page.labels[0], label=text, explainer=text)
    return msgspec.structs.replace(
        page,
        label=text,
        labels=(label, label),
        top_logits=(effect,),
        bottom_logits=(effect,),
        examples=(example,),
    )


def test_a_feature_shows_all_that_is_known_of_it(store):
    page = store.feature("tiny/0-res/8")
    made = shown(page)
    assert page.label in made.text and page.id in made.text
    for said in (
        format_percent(page.density),
        " ValueError".replace(" ", "·"),
        "+2.50",
        "gpt-x",
        "Strongest",
        "[1, 2)",
        "document 0",
    ):
        assert said in made.text
    lit = [t for one in page.examples for t, a in zip(one.tokens, one.activations, strict=True) if a and t]
    assert made.lit == lit, "the tokens that fire, in the order of the examples"
    drawn = draw_activations(page.histogram)
    assert made.tags.count("rect") == sum(bar.height > 0 for bar in drawn.bars) > 0
    assert "width:100%" in page._repr_html_()


def test_stronger_is_darker(store):
    page = store.feature("tiny/0-res/8")
    example = msgspec.structs.replace(
        page.examples[0], tokens=("a", "b", "c"), activations=(9.0, 0.0, 0.9), start=0, position=0
    )
    made = msgspec.structs.replace(page, examples=(example,))._repr_html_()
    shades = re.findall(r"background:(rgba\([\d,.]+\)(?:;color:#000)?)", made)
    assert shades == ["rgba(20,184,166,1.00);color:#000", "rgba(20,184,166,0.07)"]


def test_weak_activations_do_not_outshine_strong_ones_in_any_theme(store):
    """On white and on black paper: the stronger, the farther from the paper, and the text can be read."""
    page = store.feature("tiny/0-res/8")
    example = msgspec.structs.replace(
        page.examples[0],
        tokens=tuple("abcdefghij"),
        activations=tuple(float(page.max_activation * n / 10) for n in range(1, 11)),
        start=0,
        position=9,
    )
    made = msgspec.structs.replace(page, examples=(example,))._repr_html_()
    shades = re.findall(r"background:rgba\(([\d,.]+)\)(;color:#000)?", made)
    assert len(shades) == 10
    for paper, ink in ((255, 0), (17, 238)):
        distances = []
        for numbers, black in shades:
            *colour, opacity = map(float, numbers.split(","))
            behind = _luminance([opacity * part + (1 - opacity) * paper for part in colour])
            distances.append(abs(behind - _luminance([paper] * 3)))
            text = _luminance([0 if black else ink] * 3)
            assert (max(behind, text) + 0.05) / (min(behind, text) + 0.05) >= 4.5
        assert distances == sorted(distances)


def _luminance(colour):
    parts = [part / 255 for part in colour]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_negative_activations_have_another_colour(store):
    page = store.feature("tiny/0-res/8")
    example = msgspec.structs.replace(page.examples[0], tokens=("a", "b"), activations=(9.0, -9.0), start=0, position=0)
    made = msgspec.structs.replace(page, examples=(example,))._repr_html_()
    assert re.findall(r"background:rgba\((\d+),", made) == ["20", "240"]


def test_many_examples_are_folded_and_none_is_lost(store):
    page = store.feature("tiny/0-res/8")
    some = tuple(msgspec.structs.replace(page.examples[0], rank=n, activation=100.0 + n) for n in range(20))
    made = shown(msgspec.structs.replace(page, examples=some))
    assert made.tags.count("details") == 1 and "12 more" in made.text
    assert re.findall(r"1[01]\d\.00", made.text) == [f"{100 + n}.00" for n in range(20)]


def test_windows_are_cut_to_the_lines_around_the_peak(store):
    page = store.feature("tiny/0-res/8")
    tokens = tuple(f"line {n}\n" for n in range(12))
    activations = tuple(float(n in (1, 6)) for n in range(12))
    example = msgspec.structs.replace(page.examples[0], tokens=tokens, activations=activations, start=0, position=6)
    text = shown(msgspec.structs.replace(page, examples=(example,))).text
    assert re.findall(r"line (\d+)", text) == ["5", "6", "7"]


@pytest.mark.parametrize("id", ["tiny/0-res/22", "tiny/0-res/23"])
def test_dead_and_unlabelled_features_say_so(store, id):
    page = store.feature(id)
    made = shown(page)
    assert "no label" in made.text and page.state in made.text
    bare = dict.fromkeys(("label", "density", "histogram", "max_activation", "mean_activation", "decoder_norm"))
    nothing = msgspec.structs.replace(page, **bare, labels=(), examples=(), top_logits=(), bottom_logits=())
    assert "no examples" in shown(nothing).text
    assert "not harvested" in repr(nothing)


def test_texts_are_texts_whatever_they_hold(store):
    page = store.feature("tiny/0-res/8")
    hits = store.search("exception handling", k=2)
    hit = msgspec.structs.replace(hits[0], label=HOSTILE, why=HOSTILE, id=HOSTILE)
    one = store.dictionary("tiny/0-res")
    one = msgspec.structs.replace(
        one, **dict.fromkeys(("hook_point", "hook_point_out", "model", "tool", "architecture"), HOSTILE)
    )
    common = {"id": HOSTILE, "dictionary": "d", "feature": 1, "label": HOSTILE, "density": 0.1, "max_activation": 2.0}
    fires = ActiveFeature(**common, activation=1.0, token=0, activations=(1.0, 0.0))
    tells = ContrastFeature(**common, score=1.0, mean=1.0, mean_against=0.0, fires=1.0, fires_against=0.0)
    for value in (
        with_text(page, HOSTILE),
        featurestore.Features([with_text(page, HOSTILE)]),
        featurestore.Hits(hits.query, (hit,), (HOSTILE,)),
        one,
        featurestore.Dictionaries([one]),
        Activating(text=HOSTILE, tokens=(HOSTILE, "x"), features=(fires,), notes=(HOSTILE,)),
        Contrast(texts=1, against=1, features=(tells,), notes=(HOSTILE,)),
    ):
        made = shown(value)
        assert "<script>alert(1)</script>" in made.text.replace("·", " "), "it is there to read, as text"


def test_answers_are_tables(store):
    hits = store.search("exception handling", k=3)
    made = shown(hits)
    assert made.tags.count("tr") == 4
    assert all(hit.id in made.text and hit.label in made.text and hit.why in made.text for hit in hits)
    assert all(note in made.text for note in hits.notes)
    assert shown(store.dictionaries()).tags.count("tr") == 3
    assert "24" in shown(store.dictionary("tiny/0-res")).text
    assert shown(store.neighbourhood("tiny/0-res/3")).tags.count("tr") == 1 + len(
        store.neighbourhood("tiny/0-res/3").nodes
    )
    pairs = store.duplicates("tiny/0-res", cosine=0.5, k=4)
    assert shown(pairs).tags.count("tr") == 5
    assert "decoder_vectors" in shown(store.info()).text
    assert shown(store.features(["tiny/0-res/8", "tiny/0-res/22"])).tags.count("tr") == 3


def test_long_tables_say_how_much_is_left_out():
    made = notebook.render_table(("n",), [(n,) for n in range(70)])
    assert made.count("<tr>") == 51 and "20 more rows" in made
    assert len(notebook.render_table(("n",), [("x" * 10_000,)])) < 1_500


def test_in_one_line_they_are_short(store):
    page = store.feature("tiny/0-res/8")
    values = [
        page,
        page.examples[0],
        store.search("exception handling"),
        featurestore.Hits(store.search("self").query, ()),
        store.dictionary("tiny/0-res"),
        store.info(),
        store.neighbourhood("tiny/0-res/3"),
        store.duplicates("tiny/0-res", cosine=0.5),
        with_text(page, HOSTILE * 9),
    ]
    for value in values:
        said = repr(value)
        assert re.fullmatch(rf"<{type(value).__name__} .+>", said) and len(said) < 240, said
    assert "tiny/0-res/8" in repr(page) and page.label in repr(page)
    assert repr(values[3]) == "<Hits 0>"


def test_what_is_shown_is_no_part_of_the_value(store):
    page = store.feature("tiny/0-res/8")
    assert set(json.loads(msgspec.json.encode(page))) == set(featurestore.Feature.__struct_fields__)
    assert msgspec.json.decode(msgspec.json.encode(page), type=featurestore.Feature) == page
