"""Histograms: bars, ticks and what stands beside them."""

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
