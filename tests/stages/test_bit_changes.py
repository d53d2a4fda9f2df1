"""bit_changes: shares of bits, a block of rows at a time, of files that stay on disk."""

import json

import numpy as np
import pytest

import malice
from qatlab.errors import UserError
from qatlab.job import JobDescription
from qatlab.quantization import quantize_embeddings
from qatlab.stages import bit_changes

RNG = np.random.default_rng(0)


@pytest.fixture
def inputs(tmp_path):
    """Two encodings, of 50 documents and 9 queries in 16 dimensions."""
    roles = {}
    for role in ("reference", "encode"):
        roles[role] = tmp_path / role
        roles[role].mkdir()
        for name, rows in (("documents", 50), ("queries", 9)):
            np.save(roles[role] / f"{name}.npy", RNG.normal(size=(rows, 16)).astype(np.float32))
    return roles


def changed(inputs, output):
    output.mkdir()
    bit_changes.run(JobDescription(config={}), inputs, output, 1)
    return json.loads((output / "bit_changes.json").read_text())


@pytest.mark.parametrize("rows", [1, 7, 50, 1000])
def test_shares_are_those_of_packed_bits_whatever_the_blocks(inputs, tmp_path, monkeypatch, rows):
    monkeypatch.setattr(bit_changes, "ROWS_AT_ONCE", rows)
    expected = {}
    for name in ("documents", "queries"):
        codes = [quantize_embeddings(np.load(inputs[role] / f"{name}.npy"), "ubinary") for role in inputs]
        expected[name] = np.unpackbits(codes[0] ^ codes[1]).mean()
    assert 0.3 < expected["documents"] < 0.7
    assert changed(inputs, tmp_path / "out") == pytest.approx({**expected, "bits": 16})


def test_equal_encodings_differ_in_no_bit_and_opposite_ones_in_all(inputs, tmp_path):
    assert changed(dict.fromkeys(inputs, inputs["encode"]), tmp_path / "equal")["documents"] == 0.0
    for name in ("documents", "queries"):
        np.save(inputs["reference"] / f"{name}.npy", -np.load(inputs["encode"] / f"{name}.npy"))
    figures = changed(inputs, tmp_path / "opposite")
    assert (figures["documents"], figures["queries"]) == (1.0, 1.0)


def test_a_zero_is_a_bit_of_0(inputs, tmp_path):
    """As `binary` has it: 0 and −1 are alike, 0 and 1 are not."""
    np.save(inputs["reference"] / "documents.npy", np.zeros((2, 4), dtype=np.float32))
    np.save(inputs["encode"] / "documents.npy", np.array([[0, -1, 1, -0.0]] * 2, dtype=np.float32))
    assert changed(inputs, tmp_path / "out")["documents"] == 0.25


def test_other_dimensions_are_one_line(inputs, tmp_path):
    np.save(inputs["encode"] / "documents.npy", np.zeros((50, 8), dtype=np.float32))
    with pytest.raises(UserError, match="of 50 documents of 16 dimensions and of 50 of 8 cannot be compared"):
        changed(inputs, tmp_path / "out")


def test_objects_are_not_read(inputs, tmp_path):
    np.save(inputs["encode"] / "documents.npy", malice.objects(tmp_path / "it_ran"))
    with pytest.raises(UserError, match=r"documents\.npy holds no valid array of numbers"):
        changed(inputs, tmp_path / "out")
    assert not (tmp_path / "it_ran").exists()


def test_files_stay_on_disk(inputs, tmp_path, monkeypatch):
    loaded = []
    plain = bit_changes.load_array
    monkeypatch.setattr(bit_changes, "load_array", lambda *a, **k: loaded.append(plain(*a, **k)) or loaded[-1])
    changed(inputs, tmp_path / "out")
    assert [type(array) for array in loaded] == [np.memmap] * 4
