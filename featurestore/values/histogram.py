"""The bins of activation histograms: 64, 4 to the octave, on |activation| from 2^-6 to 2^10. Fixed, so that they merge exactly."""

HISTOGRAM_BINS = 64
HISTOGRAM_EDGES: tuple[float, ...] = tuple(2.0 ** (b / 4 - 6) for b in range(HISTOGRAM_BINS + 1))
