"""What a worker of a cluster builds from the recipe of a forward pass."""

import pickle

from ingest import weights
from ingest.corpus.corpus import tokenise
from ingest.harvest.forward_pass import ForwardPass
from ingest.harvest.ray_worker import PassRecipe
from ingest.model.architectures import ARCHITECTURES
from ingest.model.model import Model
from tests.support import small_models


def test_a_worker_loads_the_model_as_the_driver_did(tmp_path):
    location = str(small_models.write_model(tmp_path / "model"))
    saes = {"1-res": weights.read(small_models.write_sae(tmp_path / "sae", hook="blocks.1.hook_resid_post", seed=1))}
    architecture = ARCHITECTURES[Model(location).facts["architecture"]]
    model = Model(location, dtype="bfloat16", architecture=architecture)
    corpus = tokenise(model.tokenizer, [("a", "abc " * 40)])
    points = {source: model.hook_point(*sae.reads) for source, sae in saes.items()}
    alone = ForwardPass(model, saes, points, corpus, corpus.contexts(15), [0], 0, 0.0)
    recipe = pickle.loads(pickle.dumps(PassRecipe.of(alone, saes)))
    built = recipe.build(saes, corpus, "cpu")
    assert (built.model.hash, built.model.dtype) == (model.hash, "bfloat16")
    assert built.model.architecture_map == architecture
