"""What a harvest would read and take, before it is made."""

import featurestore
from ingest import weights
from ingest.harvest.estimate import estimate
from ingest.harvest.harvest import harvest
from ingest.harvest.plan import HarvestOptions
from ingest.model.model import Model
from tests.support import small_models


def test_the_estimate_names_what_the_harvest_then_reads(tmp_path):
    model = Model(str(small_models.write_model(tmp_path / "model")))
    saes = {"1-res": weights.read(small_models.write_sae(tmp_path / "sae", hook="blocks.1.hook_resid_post", seed=1))}
    with featurestore.create(tmp_path / "store") as store:
        arguments = (store, model, saes, small_models.TEXTS)
        before = estimate(*arguments, model_id="small", options=HarvestOptions(context_size=8))
        assert store.dictionaries() == []
        report = harvest(*arguments, model_id="small", options=HarvestOptions(context_size=8))
        taken = sum(path.stat().st_size for path in (tmp_path / "store").rglob("*") if path.is_file())
    assert list(report.stages) == ["reading", "counting", "writing"]
    assert sum(report.stages.values()) <= report.seconds
    assert (before.documents, before.context_size) == (len(small_models.TEXTS), 8)
    assert (
        before.tokens
        == report.tokens
        == sum(len(small_models.tokenizer().encode(text)) for _, text in small_models.TEXTS)
    )
    assert before.contexts == sum(-(-len(small_models.tokenizer().encode(text)) // 7) for _, text in small_models.TEXTS)
    assert (before.resources.features, before.resources.rounds) == (20, 1)
    assert before.tokens_per_second > 0 and before.seconds > 0
    assert before.resources.stored < 100 * taken  # of the right order, though so small a store is all overhead
