"""Blocks with one BLAS thread, in turn and at once."""

import numpy
import threadpoolctl

from featurestore.search.encoders.blas_threads import one_blas_thread


def threads():
    """The numbers of threads of NumPy's own BLAS; other packages bring theirs."""
    libraries = threadpoolctl.threadpool_info()
    return {each["num_threads"] for each in libraries if each["user_api"] == "blas" and "numpy" in each["filepath"]}


def test_the_last_block_restores_the_number():
    assert numpy.ones(2) @ numpy.ones(2) == 2
    before = threads()
    outer, inner = one_blas_thread(), one_blas_thread()
    with outer:
        assert threads() == {1}
        inner.__enter__()
    assert threads() == {1}
    inner.__exit__(None, None, None)
    assert threads() == before
