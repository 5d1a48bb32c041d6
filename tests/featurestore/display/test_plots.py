"""Figures: what they show of the numbers, from a store and from a service."""

import sys

import numpy
import pytest

from featurestore import BadRequest, NotFound, Unavailable
from featurestore.display import plots
from tests.support import tiny


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with tiny.write_tiny_store(tmp_path_factory.mktemp("plots") / "s", index=False) as opened:
        yield opened


def test_a_feature_is_its_histogram_and_its_effects(door):
    page = door.feature("tiny/0-res/8")
    counts, effects = page.plot().axes
    (stairs,) = counts.patches
    assert sum(stairs.get_data().values) == sum(page.histogram)
    assert len(effects.patches) == len(page.top_logits) + len(page.bottom_logits)
    assert effects.patches[0].get_width() == pytest.approx(page.top_logits[0].value)
    assert page.plot()._repr_png_().startswith(b"\x89PNG")


def test_density_counts_every_feature_that_fires(door):
    (axes,) = door.plot_density("tiny/0-res").axes
    dense = door.sql("SELECT density FROM features WHERE dictionary = 'tiny/0-res' AND density > 0").num_rows
    assert sum(bar.get_height() for bar in axes.patches) == dense
    assert 0 < dense < 24
    assert axes.get_xscale() == "log"
    assert axes.get_title() == f"tiny/0-res: {dense} features, {24 - dense} not shown (no value, or 0)"


def test_columns_of_many_features(door):
    (axes,) = door.plot_hist("max_activation", where="layer = 1", bins=5).axes
    known = door.sql("SELECT max_activation FROM features WHERE layer = 1 AND max_activation IS NOT NULL").num_rows
    assert sum(bar.get_height() for bar in axes.patches) == known > 0
    points = door.plot_scatter("density", "max_activation", dictionary="tiny/1-res", color="decoder_norm").axes[0]
    assert len(points.collections[0].get_offsets()) == known
    assert (points.get_xlabel(), points.get_ylabel()) == ("density", "max_activation")


@pytest.mark.parametrize(
    ("ask", "error", "words"),
    [
        (lambda s: s.plot_hist("label"), BadRequest, "label has no numbers but string"),
        (lambda s: s.plot_hist("nose"), BadRequest, '"nose" not found'),
        (lambda s: s.plot_hist("1; x"), BadRequest, "'1; x' is not a column"),
        (lambda s: s.plot_density("tiny/9-res"), NotFound, "no dictionary 'tiny/9-res'"),
    ],
)
def test_mistakes(door, ask, error, words):
    with pytest.raises(error) as refused:
        ask(door)
    assert words in str(refused.value)


def test_axes_are_logarithmic_by_their_numbers():
    spread = numpy.array([0.0, numpy.nan, 0.001, 1.0, 10.0])
    (axes,) = plots.plot_hist(spread, "density", "$x$").axes
    assert (axes.get_xscale(), sum(bar.get_height() for bar in axes.patches)) == ("log", 3)
    (axes,) = plots.plot_hist(numpy.array([-1.0, 0.0, 1000.0]), "cosine", "x").axes
    assert (axes.get_xscale(), sum(bar.get_height() for bar in axes.patches)) == ("linear", 3)
    (axes,) = plots.plot_hist(numpy.array([2.0, 2.0]), "norm", "x").axes
    assert sum(bar.get_height() for bar in axes.patches) == 2
    assert plots.plot_hist(numpy.array([]), "norm", "x").axes[0].get_title() == "x: 0 features"
    assert plots.plot_feature("nothing known", None, None, [], []).axes[0].get_xlabel() == "no activations are known"


def test_without_matplotlib_the_remedy_is_named(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for plot in (lambda: store.plot_density("tiny/0-res"), store.feature("tiny/0-res/8").plot):
        with pytest.raises(Unavailable, match=r"pip install 'featurestore\[plot\]'"):
            plot()
