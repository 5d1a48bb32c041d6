"""Opening NumPy's files from several threads."""

import gc
import io
import sys
import threading
import time
import zipfile

import numpy
import pytest

from featurestore.storage import numpy_files


@pytest.fixture
def held_up():
    """The collector runs at every few allocations, and lets other threads go on meanwhile."""

    def give_way(phase, info):
        time.sleep(1e-5)

    before = gc.get_threshold(), sys.getswitchinterval()
    gc.callbacks.append(give_way)
    gc.set_threshold(5)
    sys.setswitchinterval(1e-5)
    yield
    gc.callbacks.remove(give_way)
    gc.set_threshold(*before[0])
    sys.setswitchinterval(before[1])


def test_threads_that_open_files_at_once_do_not_break_each_other(tmp_path, held_up):
    wanted = numpy.arange(6, dtype=numpy.float16).reshape(2, 3)
    numpy.save(tmp_path / "one.npy", wanted)
    numpy.savez(tmp_path / "two.npz", wanted=wanted)
    found, errors = [], []

    def work(depth):
        if depth:
            return work(depth - 1)
        try:
            for _ in range(30):
                found.append(numpy_files.map_array(tmp_path / "one.npy"))
                found.append(numpy_files.read_array(tmp_path / "one.npy"))
                found.append(numpy_files.read_member(tmp_path / "two.npz", "wanted"))
        except SystemError as exc:
            errors.append(exc)

    threads = [threading.Thread(target=work, args=(7 * n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(found) == 8 * 30 * 3
    assert all(numpy.array_equal(one, wanted) for one in found)


def promise(shape):
    """The bytes of a .npy file whose header promises a shape of float32 numbers, and that has eight of them."""
    stream = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    numpy.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + bytes(32)


@pytest.mark.parametrize("shape", [(10**14,), (2**31, 2**31), (9,)])
def test_a_header_that_promises_more_than_the_file_has_asks_for_no_memory(tmp_path, shape):
    (tmp_path / "x.npy").write_bytes(promise(shape))
    with pytest.raises(ValueError, match="promises"):
        numpy_files.read_array(tmp_path / "x.npy")
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", promise(shape))
    with pytest.raises(ValueError, match="promises"):
        numpy_files.read_member(tmp_path / "x.npz", "x")


def test_what_is_whole_is_read(tmp_path):
    numbers = numpy.arange(6, dtype=numpy.float32).reshape(2, 3)
    numpy.save(tmp_path / "x.npy", numbers)
    numpy.savez_compressed(tmp_path / "x.npz", x=numbers)
    for found in (numpy_files.read_array(tmp_path / "x.npy"), numpy_files.read_member(tmp_path / "x.npz", "x")):
        assert (found == numbers).all()
    with pytest.raises(KeyError):
        numpy_files.read_member(tmp_path / "x.npz", "y")
