"""Histograms: bars, ticks and what stands beside them."""

import featurestore
from featurestore.conventions import list_edges
from featurestore.display.charts import draw_activations, draw_densities


def test_histograms_have_a_bar_for_each_bin_between_whole_octaves():
    counts = [0] * 64
    counts[25], counts[30] = 4, 1
    drawn = draw_activations(tuple(counts))
    assert [tick.text for tick in drawn.ticks] == ["1", "2", "4"]
    assert len(drawn.bars) == 8
    heights = [bar.height for bar in drawn.bars]
    assert heights[1] == 4 * heights[6] == max(heights)
    assert drawn.bars[1].title == "1.19 to 1.41: 4 tokens"


def test_axes_carry_as_many_numbers_as_fit():
    counts = [1] * 64
    drawn = draw_activations(tuple(counts))
    assert (len(drawn.bars), len(drawn.ticks) <= 7, drawn.most) == (64, True, 1)
    drawn = draw_densities([{"bin": -24, "n": 1}, {"bin": -1, "n": 7}])
    assert [tick.text for tick in drawn.ticks] == ["0.0001 %", "0.001 %", "0.01 %", "0.1 %", "1 %", "10 %", "100 %"]
    assert drawn.bars[-1].title == "56 % to 100 %: 7 features"
    assert min(bar.x for bar in drawn.bars) >= 0
    assert max(bar.x + bar.width for bar in drawn.bars) <= drawn.width


def test_bins_of_other_edges_are_drawn_on_their_own_axis():
    drawn = draw_activations((5, 0, 1), (0.0, 0.5, 1.0, 1.5))
    assert drawn.axis == "linear"
    assert [bar.title for bar in drawn.bars] == ["0 to 0.5: 5 tokens", "0.5 to 1: 0 tokens", "1 to 1.5: 1 tokens"]
    assert [tick.text for tick in drawn.ticks] == ["0", "0.5", "1", "1.5"]
    assert draw_activations((5, 1), (0.0, 0.5, 4.0)).axis == "stepped"
    assert draw_activations([2] * 40, list_edges(40, (-1.0, 1.0)), "tokens of the vocabulary").axis == "linear"


def test_scaled_bins_keep_their_octaves():
    counts = [0] * 64
    counts[25] = 4
    drawn = draw_activations(tuple(counts), list_edges(64, None, scale=10))
    assert drawn.axis == "logarithmic"
    assert [tick.text for tick in drawn.ticks] == ["1.02e+03", "2.05e+03"]


def test_edges_of_a_histogram():
    assert list_edges(64, None) == featurestore.HISTOGRAM_EDGES
    assert list_edges(4, (0.0, 2.0)) == (0.0, 0.5, 1.0, 1.5, 2.0)
    assert list_edges(2, (0.0, 0.5, 4.0)) == (0.0, 0.5, 4.0)
