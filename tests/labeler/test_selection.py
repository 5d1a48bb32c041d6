"""Which features a run is about, and in which order."""

import pytest

from featurestore import BadRequest
from featurestore.progress import no_progress
from labeler.llm.asker import Asker
from labeler.llm.endpoint import Endpoint
from labeler.llm.journal import Journal
from labeler.runs import label_run
from tests.support import fake_llm, label_store, tiny


@pytest.fixture
def many(tmp_path):
    with label_store.write_many(tmp_path / "s", 200) as store:
        yield store


def labels(store):
    rows = store.sql("SELECT feature, label FROM stored.labels WHERE explainer = 'judge' ORDER BY feature").to_pylist()
    assert len({row["feature"] for row in rows}) == len(rows), "a feature was labelled twice"
    return {row["feature"]: row["label"] for row in rows}


def test_the_order_is_that_of_the_sql(many, tmp_path):
    with fake_llm.Endpoint() as endpoint, Journal(tmp_path / "j") as kept:
        asker = Asker([Endpoint("judge", endpoint.url)], kept)
        chosen = {"where": "label IS NULL and density > 1e-5", "order": "density DESC", "limit": 20}
        label_run.label_with_model(many, asker, progress=no_progress, **chosen)
        assert set(labels(many)) == set(range(180, 200))
        label_run.label_with_model(many, asker, progress=no_progress, **chosen)
        assert set(labels(many)) == set(range(160, 200))


def test_a_choice_is_as_sql_says(many):
    job = label_run.LabelJob.of("judge", order="density % 7e-6, feature DESC", where="feature % 3 = 1")
    wanted = many.sql(
        "SELECT dictionary || '/' || feature AS id FROM features WHERE feature % 3 = 1 "
        "ORDER BY density % 7e-6, feature DESC"
    )["id"].to_pylist()
    chosen = job.choose(many)
    assert list(chosen) == wanted
    assert list(chosen[:5]) == wanted[:5]
    assert sorted(wanted, key=lambda id: int(id.split("/")[2])) == list(chosen.sort_by_id())
    with pytest.raises(BadRequest, match="densty"):
        label_run.LabelJob.of("judge", where="densty > 0").choose(many)


@pytest.fixture
def store(tmp_path):
    with tiny.write_tiny_store(tmp_path / "s") as opened:
        yield opened
