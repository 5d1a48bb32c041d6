"""Weights of chosen features, written for SAELens and read again by our own reader."""

import json
from types import SimpleNamespace

import pyarrow
import pytest

from featurestore import BadRequest
from tests.support import small_models

torch = pytest.importorskip("torch")


class OneDictionary:
    """A store of one dictionary, whose weights are at a place, of which a condition chose these features."""

    def __init__(self, location, chosen):
        row = {"dictionary": "tiny/8-res", "weights_location": str(location), "weights_hash": None}
        self.row = SimpleNamespace(**row, d_sae=weights_of(location).d_sae)
        self.chosen = chosen

    def dictionaries(self):
        return [self.row]

    def sql(self, statement, parameters):
        return SimpleNamespace(to_arrow=lambda: pyarrow.table({"feature": pyarrow.array(self.chosen, pyarrow.int32())}))


def weights_of(location):
    from ingest import weights

    return weights.read(str(location))


def write(store, target, where="true"):
    from ingest.formats.writers import sae_lens_weights

    return sae_lens_weights.write(store, ["tiny/8-res"], where, str(target), {})


def test_chosen_features_compute_what_they_did(tmp_path):
    small_models.write_sae(tmp_path / "sae", hook="blocks.2.hook_resid_post")
    whole = weights_of(tmp_path / "sae")
    counts = write(OneDictionary(tmp_path / "sae", [1, 5, 7]), tmp_path / "few")
    assert counts == {"features": 3, "dictionaries": 1}
    few = weights_of(tmp_path / "few")
    x = torch.randn(50, few.d_in, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(few.encode(x), whole.encode(x)[:, [1, 5, 7]], atol=1e-4)
    assert torch.allclose(few.W_dec, whole.W_dec[[1, 5, 7]], atol=1e-5)
    assert (few.d_sae, few.hook_point, few.model_name) == (3, whole.hook_point, whole.model_name)
    about = json.loads((tmp_path / "few/features.json").read_text())
    assert about == {"dictionary": "tiny/8-res", "weights_hash": None, "features": [1, 5, 7]}


def test_all_features_are_the_whole_dictionary(tmp_path):
    small_models.write_sae(tmp_path / "sae", hook="blocks.2.hook_resid_post")
    whole = weights_of(tmp_path / "sae")
    write(OneDictionary(tmp_path / "sae", list(range(whole.d_sae))), tmp_path / "all")
    x = torch.randn(50, whole.d_in, generator=torch.Generator().manual_seed(0))
    again = weights_of(tmp_path / "all")
    assert torch.allclose(again.decode(again.encode(x), x), whole.decode(whole.encode(x), x), atol=1e-4)


def test_no_chosen_feature_is_an_error_and_leaves_nothing(tmp_path):
    small_models.write_sae(tmp_path / "sae", hook="blocks.2.hook_resid_post")
    with pytest.raises(BadRequest, match="no feature fits --where 'feature < 0'"):
        write(OneDictionary(tmp_path / "sae", []), tmp_path / "none", "feature < 0")
    assert [path.name for path in tmp_path.iterdir()] == ["sae"]
