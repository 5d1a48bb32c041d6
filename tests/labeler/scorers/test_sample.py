"""Random samples of labels, with of each stratum its share."""

import pytest

from featurestore import BadRequest
from labeler.scorers import sample as score_sample


def test_a_sample_has_of_each_stratum_its_share_and_grows_within_itself():
    import numpy
    import pyarrow

    rng = numpy.random.default_rng(0)
    size = 1000
    table = pyarrow.table(
        {
            "dictionary": ["a/b"] * size,
            "feature": numpy.arange(size),
            "explainer": ["x"] * size,
            "density": rng.lognormal(size=size),
            "similarity": pyarrow.array(
                numpy.where(rng.random(size) < 0.2, numpy.nan, rng.random(size)), from_pandas=True
            ),
        }
    )
    strata = score_sample.assign_strata(table)
    assert len(set(strata.tolist())) == 12
    drawn = score_sample.draw_sample(table, 100)["feature"].to_numpy()
    shares, sample = numpy.bincount(strata), numpy.bincount(strata[drawn], minlength=strata.max() + 1)
    assert (abs(sample - shares / 10) <= 1).all()
    assert set(drawn) <= set(score_sample.draw_sample(table, 200)["feature"].to_numpy())
    assert score_sample.draw_sample(table, 5000).num_rows == size
    with pytest.raises(BadRequest, match="sample: 0"):
        score_sample.draw_sample(table, 0)
