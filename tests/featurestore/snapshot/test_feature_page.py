"""Pages are read from copies made for them: after every change of a store they equal SQL over the Parquet parts."""

import datetime

import numpy
import pyarrow
import pyarrow.parquet
import pytest

import featurestore
from featurestore.display.float32 import list_rows
from featurestore.storage.directory import Directory
from featurestore.tables import grouped_rows
from tests.support import tiny

NAME = "tiny/0-res"
LATER = tiny.WHEN + datetime.timedelta(hours=1)
STATISTICS = [
    *("density", "active_tokens", "active_contexts", "mean_activation", "std_activation", "max_activation"),
    *("decoder_norm", "encoder_norm", "encoder_decoder_cosine", "label", "state"),
]


def add_labels(store, *rows, explainer="human", at=LATER):
    """Labels, each (feature, text)."""
    with store.writer("tests") as writer:
        base = {"dictionary": NAME, "explainer": explainer, "tool": "tests", "created_at": at}
        writer.add("labels", tiny.table([base | {"feature": n, "label": text} for n, text in rows]), key=NAME)


def vote_on_the_best(store, feature, vote):
    id = f"{NAME}/{feature}"
    store.vote(id, store.feature(id, 0).labels[0].label, vote)


def without_copies(store):
    """The store as versions before there were copies left it."""
    directory = Directory(store.location)
    gone = [
        part for table in ("example_rows", "label_rows", "feature_rows") for part in directory.snapshot().parts(table)
    ]
    directory.commit([], [part.file for part in gone], "tests", "")


def replace(store):
    """The dictionary again, with other numbers."""
    rows = [
        row | {"max_activation": row["max_activation"] and row["max_activation"] * 2} for row in tiny.feature_rows(NAME)
    ]
    with store.writer("tests") as writer:
        writer.remove_dictionary(NAME)
        writer.add("dictionaries", tiny.table([tiny.dictionary_row("0-res", 0)]), key=NAME)
        writer.add("features", tiny.table(rows), key=NAME)
        writer.add("examples", tiny.table(tiny.example_rows(NAME)[:-3]), key=NAME)
        writer.add("labels", tiny.table(tiny.label_rows(NAME)[5:]), key=NAME)


STATES = {
    "written": [],
    "compacted": [lambda store: store.compact()],
    "labelled since": [lambda store: store.compact(), lambda store: add_labels(store, (3, "newer"), (23, "first"))],
    "labelled twice at one time": [
        lambda store: add_labels(store, (0, "b"), (0, "a"), explainer="gpt-y", at=tiny.WHEN),
        lambda store: add_labels(store, (4, "z"), explainer="gpt-a", at=tiny.WHEN),
    ],
    "labelled, compacted and labelled": [
        lambda store: add_labels(store, (3, "one"), (5, "two")),
        lambda store: store.compact(),
        lambda store: add_labels(store, (3, "three")),
        lambda store: add_labels(store, (4, "four"), explainer="gpt-x"),
        lambda store: add_labels(store, (4, "an older one"), explainer="gpt-x", at=tiny.WHEN),
    ],
    "voted on": [
        lambda store: add_labels(store, (3, "one"), (4, "four"), (5, "five")),
        lambda store: vote_on_the_best(store, 3, -1),
        lambda store: vote_on_the_best(store, 5, 1),
    ],
    "without copies": [without_copies],
    "without copies, compacted": [without_copies, lambda store: store.compact()],
    "replaced": [lambda store: store.compact(), replace],
    "replaced and compacted": [replace, lambda store: store.compact()],
}


@pytest.mark.parametrize("steps", STATES.values(), ids=STATES)
def test_pages_say_what_sql_says(tmp_path, steps):
    with tiny.write_tiny_store(tmp_path / "s", index=False) as store:
        for step in steps:
            step(store)
            assert_as_sql(store, store)
        assert store.check().problems == ()


def test_a_vote_on_one_feature_leaves_the_pages_of_others_without_sql(tmp_path):
    with tiny.write_tiny_store(tmp_path / "s", index=False) as store:
        add_labels(store, (3, "one"), (4, "four"))
        store.vote(f"{NAME}/3", "one", -1)
        assert store.feature(f"{NAME}/4").label == "four"
        assert store._current_view._engine is None
        assert store.feature(f"{NAME}/3").label != "one"


def test_pages_follow_commits_while_a_store_is_open(tmp_path):
    tiny.write_tiny_store(tmp_path / "s", index=False).close()
    with featurestore.connect(tmp_path / "s") as reader, featurestore.connect(tmp_path / "s") as other:
        for steps in STATES.values():
            for step in steps:
                step(other)
                assert_as_sql(reader, other)


def assert_as_sql(store, asked):
    where = f"WHERE dictionary = '{NAME}'"
    statistics = asked.sql(
        f"SELECT feature, explainer, {', '.join(STATISTICS)} FROM features {where} ORDER BY feature"
    ).to_pylist()
    labels = asked.sql(f"FROM labels {where} ORDER BY feature").to_pylist()
    examples = asked.sql(
        f"SELECT * FROM examples {where} ORDER BY feature, band = 'top' DESC, band_low DESC, rank"
    ).to_pylist()
    pages = [store.feature(f"{NAME}/{row['feature']}") for row in statistics]
    assert len(pages) == tiny.D_SAE
    for page, row in zip(pages, statistics, strict=True):
        assert {name: getattr(page, name) for name in STATISTICS} == {name: row[name] for name in STATISTICS}
        mine = [one for one in labels if one["feature"] == page.feature]
        assert len(page.labels) == len(mine)
        for label in page.labels:
            (same,) = [one for one in mine if one["explainer"] == label.explainer]
            assert (label.label, label.prompt, label.examples, label.created_at) == tuple(
                same[name] for name in ("label", "prompt", "examples", "created_at")
            )
        assert page.labels[0].explainer == row["explainer"] if page.labels else row["explainer"] is None
        cut = [one for one in examples if one["feature"] == page.feature]
        assert len(page.examples) == len(cut)
        for example, one in zip(page.examples, cut, strict=True):
            plain = (
                "band",
                "band_low",
                "band_high",
                "rank",
                "weight",
                "corpus",
                "document",
                "start",
                "position",
                "held_out",
            )
            assert [getattr(example, name) for name in plain] == [one[name] for name in plain]
            dense = [0.0] * one["length"]
            for offset, value in zip(one["offsets"], one["activations"], strict=True):
                dense[offset] = value
            assert example.activations == tuple(dense)
            assert example.document_name == f"document {one['document']}"
            # SQL shows bytes that are no character alone as such, a page joins them.
            assert len(example.tokens) == len(one["tokens"])
            if one["document"] != 2:
                assert list(example.tokens) == one["tokens"]
            else:
                assert "".join(example.tokens).startswith(" caf\u00e9")


def test_a_feature_is_cut_from_any_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(grouped_rows, "BATCH_FEATURES", 4)
    rng = numpy.random.default_rng(0)
    counts = rng.integers(0, 4, 30)
    counts[[0, 7, 8, 9, 10, 11, 29]] = 0
    features = numpy.repeat(numpy.arange(100, 130, dtype=numpy.int32), counts)
    table = pyarrow.table(
        {
            "dictionary": ["d"] * len(features),
            "feature": features,
            "text": [f"text {n}" for n in rng.integers(0, 300, len(features))],
            "few": [None if n % 5 == 0 else "ab"[n % 2] for n in range(len(features))],
            "weight": pyarrow.array(rng.random(len(features)), pyarrow.float32(), mask=rng.random(len(features)) < 0.3),
            "count": pyarrow.array(
                rng.integers(0, 9, len(features)), pyarrow.int32(), mask=rng.random(len(features)) < 0.3
            ),
        }
    )
    assert grouped_rows.write(tmp_path / "rows.arrow", table, 100) == len(features)
    for source in (tmp_path / "rows.arrow", pyarrow.OSFile(str(tmp_path / "rows.arrow"))):
        found = grouped_rows.GroupedRows(source, 100)
        for feature in [*range(100, 140), *rng.integers(100, 130, 50).tolist()]:
            wanted = list_rows(table.filter(pyarrow.array(features == feature)).drop_columns(["dictionary", "feature"]))
            cut = found.of_feature(feature)
            assert (cut.rows() if cut else []) == wanted
        assert found.table().equals(table.drop_columns(["dictionary"]))


def test_a_damaged_copy_is_named(tmp_path):
    with tiny.write_tiny_store(tmp_path / "s", index=False) as store:
        (part,) = Directory(store.location).snapshot().parts("example_rows", NAME)
        (tmp_path / "s" / part.file).write_bytes(b"no arrow file")
        with pytest.raises(featurestore.BadStore, match=r"example_rows.*check --repair"):
            store.feature(f"{NAME}/1")
