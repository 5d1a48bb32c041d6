"""`featurestore harvest --ray local` into a new store, and the commands that follow it."""

import pytest

from featurestore.cli.main import main
from tests.support import small_models
from tests.support.command import run_command

pytest.importorskip("ray")


def test_a_new_store_is_whole_after_a_harvest_on_ray(tmp_path, invoke):
    store = tmp_path / "new.features"
    model = small_models.write_model(tmp_path / "small")
    sae = small_models.write_sae(tmp_path / "1-res", hook="blocks.1.hook_resid_post", seed=1)
    texts = tmp_path / "texts"
    texts.mkdir()
    for name, text in small_models.TEXTS:
        (texts / f"{name}.txt").write_text(text)
    done = run_command(
        *("harvest", "--store", store, "--model", model, "--weights", sae, "--text", texts),
        *("--ray", "local", "--workers", 2),
    )
    assert done.returncode == 0, done.stderr[-4000:]
    for command in (["check"], ["index"], ["feature", "small/1-res/3"], ["search", "d", "--over", "tokens", "--all"]):
        result = invoke(main, [*command, "--store", str(store), *([] if command == ["index"] else ["--json"])])
        assert result.exit_code == 0, result.output
        if command[0] in ("feature", "search"):
            assert len(result.stdout) > 100, "a page and hits"
