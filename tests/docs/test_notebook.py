"""The seven tasks of docs/howto/notebook.md: one line each, from a store and from a service; the notebook has them."""

import ast
import json
import re

import httpx2
import numpy
import pandas
import pytest
from safetensors.numpy import save_file

import featurestore
from featurestore.client import Client
from featurestore.web import create_app
from tests.support.doc_blocks import ROOT

PAGE = ROOT / "docs" / "howto" / "notebook.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def store(demo_features):
    with featurestore.connect(demo_features) as opened:
        yield opened


@pytest.fixture(params=["store", "service"])
def answers(request, store, tmp_path, monkeypatch):
    """What each line of the page gives."""
    save_file({"direction": store.vector("pystdlib/2-res-2k/951")}, tmp_path / "probe.safetensors")
    monkeypatch.chdir(tmp_path)
    opened = store
    if request.param == "service":
        opened = Client("http://x", transport=httpx2.WSGITransport(app=create_app(store)))
    monkeypatch.setattr(featurestore, "connect", lambda location: opened)
    names: dict[str, object] = {}
    exec(BLOCKS[0], names)
    return [eval(ast.unparse(line), names) for block in BLOCKS[1:] for line in ast.parse(block).body]


def test_each_task_is_one_line(answers):
    topic, compared, density, examples, along, prompt, vectors, *figures = answers
    for frame in (topic, along):
        assert isinstance(frame, pandas.DataFrame)
        assert list(frame.columns[:3]) == ["id", "label", "score"]
    assert (len(topic), set(topic["dictionary"])) == (50, {"pystdlib/4-res-2k"})
    assert {feature.id for feature in compared.features} == {"pystdlib/2-res-2k/951", "pystdlib/2-res-2k/1791"}
    assert density.axes[0].get_xlabel() == "density"
    assert (list(examples.columns[:2]), len(examples)) == (["id", "text"], 20)
    assert (along["id"][0], along["score"][0]) == ("pystdlib/2-res-2k/951", pytest.approx(1, abs=1e-3))
    assert list(prompt.columns[:3]) == ["id", "label", "activation"]
    assert tuple(vectors.shape) == (2048, 192)
    assert numpy.isfinite(vectors.numpy()).all()
    assert all(figure._repr_png_().startswith(b"\x89PNG") for figure in figures)
    assert len(figures) == 3


def test_the_notebook_has_the_same_lines():
    cells = json.loads((PAGE.with_suffix(".ipynb")).read_text("utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert code == [block.rstrip("\n") for block in BLOCKS]
