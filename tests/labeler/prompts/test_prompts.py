"""Prompts as files, replies of all sorts, and what a run costs."""

import json

import pytest

import featurestore
from featurestore import BadRequest, NotFound
from featurestore.cli.main import main
from labeler import prompts
from labeler.explainers import llm_explainer


@pytest.fixture
def page(tiny_store):
    with featurestore.connect(tiny_store) as opened:
        yield opened.feature("tiny/0-res/3")


def test_every_prompt_that_is_shipped_can_be_filled(page):
    found = {
        prompt.name: llm_explainer.build_messages(page, prompt, page.examples) for prompt in prompts.list_prompts()
    }
    assert set(found) == {"contrastive", "logits", "outputs", "pairs", "windows"}
    for name, talk in found.items():
        said = "".join(one["content"] for one in talk)
        assert "{{" not in said, name
        assert [one["role"] for one in talk] == ["system", "user"]
    user = {name: talk[1]["content"] for name, talk in found.items()}
    assert "<< x>>( self)" in user["windows"] and "Active:" not in user["windows"]
    assert "Active: ' x' 5" in user["pairs"] and "' ValueError'" in user["pairs"]
    assert "'\\n'" in user["logits"], "what it makes less likely"
    assert "<<" not in user["outputs"]
    assert "silent:\n\nText 1:\ndef x( self):" in user["contrastive"]


def test_a_prompt_of_ones_own_is_named_with_its_hash(tmp_path, page):
    copy = tmp_path / "mine.md"
    copy.write_text(prompts.load("windows").path.read_text().replace("name: windows", "name: mine"))
    mine = prompts.load(copy)
    assert mine.id.startswith("mine/1@") and len(mine.id) == len("mine/1@") + 8
    assert llm_explainer.build_messages(page, mine) == llm_explainer.build_messages(page, prompts.load("windows"))
    (tmp_path / "other.md").write_text(copy.read_text() + "More.\n")
    assert prompts.load(tmp_path / "other.md").id != mine.id


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Say what it is", "is no prompt: it begins with ---"),
        ("---\nname: x\n---\n# System\na\n# User\nb", "is no prompt: it begins with ---"),
        ("---\nname: x\nversion: 1\n---\nno sections", "has the sections `# System` and `# User`"),
        ("---\nname: x\nversion: 1\n---\n# System\na\n# User\n{{pears}}", r"\{\{pears\}\} is nothing we know"),
        ("---\nname: x\nversion: 1\n---\n# System\na\n# User\nb", "asks about no feature"),
    ],
)
def test_files_that_are_no_prompts(tmp_path, text, words):
    (tmp_path / "p.md").write_text(text)
    with pytest.raises(BadRequest, match=words):
        prompts.load(tmp_path / "p.md")


def test_a_prompt_that_is_not_there():
    with pytest.raises(NotFound, match="'pears': it is neither a file nor one of contrastive, logits, outputs, pairs"):
        prompts.load("pears")


def test_texts_are_not_read_as_places(page):
    """A text with braces in it is put in as it is."""
    prompt = prompts.load("windows")
    filled = prompt.fill({"windows": "{{pairs}} \\1 {{windows}}"})
    assert filled[1]["content"] == "{{pairs}} \\1 {{windows}}"


def test_the_prompts_command(tmp_path, invoke):
    listed = [json.loads(line) for line in invoke(main, ["label", "prompts", "--json"]).stdout.splitlines()]
    assert [one["prompt"] for one in listed] == ["contrastive/1", "logits/1", "outputs/1", "pairs/1", "windows/1"]
    shown = invoke(main, ["label", "prompts", "contrastive"]).stdout
    assert shown == prompts.load("contrastive").path.read_text()
    missing = invoke(main, ["label", "prompts", "pears"])
    assert (missing.exit_code, "no prompt 'pears'" in missing.stderr) == (3, True)
    assert "contrastive/1" in invoke(main, ["label", "prompts"]).stdout


def test_prompts_are_loaded_by_name():
    assert prompts.load("pairs").id == prompts.load("pairs/1").id == "pairs/1"
