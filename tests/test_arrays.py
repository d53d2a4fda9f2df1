"""NumPy files of objects are pickles: they are refused in one line, by the stages that read them."""

import numpy as np
import pytest

import malice
from qatlab.artifact import load_array, pickles_refused
from qatlab.errors import UserError
from qatlab.job import JobDescription
from qatlab.quantization import Range
from qatlab.quantization.rotations import Rotation
from qatlab.stages import drift


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "it_ran"


def test_numbers_are_read(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6).reshape(2, 3))
    assert load_array(tmp_path / "a.npy").shape == (2, 3)


def test_objects_are_not(tmp_path, marker):
    np.save(tmp_path / "a.npy", malice.objects(marker))
    malice.pickled(tmp_path / "b.npy", marker)
    (tmp_path / "c.npy").write_bytes(b"")
    for name in "abc":
        with pytest.raises(
            UserError, match=rf"{name}\.npy holds no valid array of numbers .*; delete .* and run again"
        ) as caught:
            load_array(tmp_path / f"{name}.npy")
        assert "\n" not in str(caught.value)
    assert not marker.exists()
    np.load(tmp_path / "a.npy", allow_pickle=True)
    assert marker.exists()  # or nothing would have been tried


@pytest.mark.parametrize("kind", [Range, Rotation])
def test_ranges_and_rotations_of_objects_are_not(tmp_path, marker, kind):
    objects = malice.objects(marker)
    np.savez(tmp_path / "a.npz", kind=np.array("minmax"), low=objects, high=objects, matrix=objects)
    with pytest.raises(UserError, match=r"a\.npz holds no valid array of numbers"), pickles_refused(tmp_path / "a.npz"):
        kind.load(tmp_path / "a.npz")
    assert not marker.exists()


def test_a_stage_reports_it(tmp_path, marker):
    for role in ("reference", "encode"):
        (tmp_path / role).mkdir()
        np.save(tmp_path / role / "documents.npy", malice.objects(marker))
    config = {"texts": "documents", "limit": None}
    inputs = {role: tmp_path / role for role in ("reference", "encode")}
    with pytest.raises(UserError, match=r"documents\.npy holds no valid array of numbers"):
        drift.run(JobDescription(config=config), inputs, tmp_path, 1)
    assert not marker.exists()
