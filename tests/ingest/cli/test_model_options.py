"""A model loaded in another number type and with an architecture map: later questions load it in the same way."""

import json
from pathlib import Path

import featurestore
from featurestore.cli.main import main
from tests.support import small_models


def test_a_text_is_run_on_the_model_as_the_harvest_loaded_it(tmp_path, invoke):
    model = small_models.write_model(tmp_path / "model")
    sae = small_models.write_sae(tmp_path / "sae", hook="blocks.1.hook_mlp_out", seed=1)
    (tmp_path / "parts.toml").write_text('layers = "h"\nmlp_out = "mlp"\n')
    store = tmp_path / "s.features"
    text = str(Path(json.__file__).parent / "scanner.py")
    of_model = ["--model", str(model), "--dtype", "bfloat16", "--architecture-map", str(tmp_path / "parts.toml")]
    of_model += ["--text", text, "--tokens", "2000"]
    done = invoke(main, ["inspect", str(sae), *of_model, "--json"])
    assert done.exit_code == 0, done.output
    done = invoke(main, ["harvest", "--weights", f"a={sae}", *of_model, "--store", str(store)])
    assert done.exit_code == 0, done.output
    with featurestore.connect(str(store)) as opened:
        settings = json.loads(opened.dictionaries()[0].settings)
        assert settings["dtype"] == "bfloat16"
        assert settings["architecture_map"] == {"layers": "h", "mlp_out": "mlp"}
        assert opened.activating("def scan(string):\n    return string").tokens
