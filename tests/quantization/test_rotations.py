"""Rotations: orthonormality, fitted axes, and modules that load without qatlab."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sklearn.decomposition import PCA

from qatlab.quantization.rotations import KINDS, Rotation, fit_rotation

MIXED = np.random.default_rng(1).normal(size=(16, 16)) * np.linspace(0.2, 3, 16)
EMBEDDINGS = (np.random.default_rng(0).normal(size=(400, 16)) @ MIXED + 0.3).astype(np.float32)


def fitted(kind, **options):
    return fit_rotation(kind, EMBEDDINGS, bits=40 if kind == "overcomplete" else None, **options)


def similarities(values):
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    return unit @ unit.T


@pytest.mark.parametrize("kind", KINDS)
def test_float_scores_are_unchanged(kind):
    rotation = fitted(kind)
    assert rotation.matrix.shape == (16, 40 if kind == "overcomplete" else 16)
    assert np.allclose(rotation.matrix @ rotation.matrix.T, np.eye(16), atol=1e-5)
    assert np.abs(similarities(rotation(EMBEDDINGS)) - similarities(EMBEDDINGS)).max() <= 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_centring_subtracts_the_mean_of_the_calibration_set(kind):
    rotation = fitted(kind, center=True)
    centred = EMBEDDINGS - EMBEDDINGS.mean(axis=0)
    assert np.abs(similarities(rotation(EMBEDDINGS)) - similarities(centred)).max() <= 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_numpy_torch_and_a_saved_rotation_agree(kind, tmp_path):
    rotation = fitted(kind, center=True)
    rotation.save(tmp_path / "rotation.npz")
    loaded = Rotation.load(tmp_path / "rotation.npz")
    assert loaded.kind == kind
    assert np.array_equal(loaded(EMBEDDINGS), rotation(EMBEDDINGS))
    assert np.allclose(rotation(torch.from_numpy(EMBEDDINGS)).numpy(), rotation(EMBEDDINGS), atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_rotation(kind):
    assert np.array_equal(fitted(kind, seed=3).matrix, fitted(kind, seed=3).matrix)
    if kind != "pca":
        assert not np.allclose(fitted(kind, seed=3).matrix, fitted(kind, seed=4).matrix)


def test_pca_has_the_axes_of_scikit_learn():
    ours = np.abs(fitted("pca", center=True).matrix)
    assert np.allclose(ours, np.abs(PCA().fit(EMBEDDINGS.astype(np.float64)).components_.T), atol=1e-4)


def test_itq_brings_values_closer_to_their_signs_than_any_other():
    def distance(rotation):
        rotated = rotation(EMBEDDINGS)
        rotated /= np.sqrt((rotated**2).mean())
        return ((rotated - np.where(rotated > 0, 1, -1)) ** 2).mean()

    distances = {kind: distance(fitted(kind)) for kind in ("itq", "pca", "random")}
    assert distances["itq"] < 0.95 * min(distances["pca"], distances["random"])


def test_invalid_calls_raise_errors_with_the_remedy():
    wrong = [
        (("spin", EMBEDDINGS), {}, "unknown rotation 'spin'; valid: random, pca, itq, overcomplete, none"),
        (("none", EMBEDDINGS), {}, "kind none has no effect without a center; give 'mean' or 'median'"),
        (("pca", EMBEDDINGS), {"center": "mode"}, "unknown center 'mode'; valid: mean, median"),
        (("overcomplete", EMBEDDINGS), {}, "more bits than the 16 dimensions"),
        (("overcomplete", EMBEDDINGS), {"bits": 16}, "more bits than the 16 dimensions of the embeddings, not 16"),
        (("pca", EMBEDDINGS), {"bits": 40}, "bits is for overcomplete"),
        (("itq", EMBEDDINGS[:10]), {}, "needs at least as many embeddings, not 10"),
        (("random", EMBEDDINGS * np.nan), {}, "NaN or Inf"),
    ]
    for arguments, options, message in wrong:
        with pytest.raises(ValueError, match=message):
            fit_rotation(*arguments, **options)
    with pytest.raises(ValueError, match=r"shape \(n, 16\)"):
        fitted("random")(EMBEDDINGS[:, :8])


@pytest.mark.parametrize(("center", "reference"), [("mean", np.mean), ("median", np.median)])
def test_a_centre_by_itself_is_subtracted_and_nothing_is_rotated(center, reference, tmp_path):
    rotation = fit_rotation("none", EMBEDDINGS, center=center)
    expected = EMBEDDINGS - reference(EMBEDDINGS.astype(np.float64), axis=0).astype(np.float32)
    assert rotation.matrix is None
    assert rotation.shape == (16, 16)
    assert np.array_equal(rotation(EMBEDDINGS), expected)
    assert np.array_equal(rotation(torch.from_numpy(EMBEDDINGS)).numpy(), expected)
    rotation.save(tmp_path / "rotation.npz")
    loaded = Rotation.load(tmp_path / "rotation.npz")
    assert (loaded.kind, loaded.matrix) == ("none", None)
    assert np.array_equal(loaded.center, rotation.center)
    with pytest.raises(ValueError, match=r"shape \(n, 16\)"):
        rotation(EMBEDDINGS[:, :8])


def test_mean_and_median_are_different_centres():
    """The distribution is skewed; signs at the median split every dimension in half."""
    skewed = np.exp(EMBEDDINGS / 2)
    at_median, at_mean = (fit_rotation("none", skewed, center=how)(skewed) > 0 for how in ("median", "mean"))
    assert np.allclose(at_median.mean(axis=0), 0.5)
    assert (at_mean.mean(axis=0) < 0.45).any()
    rotated = fit_rotation("itq", skewed, center="median")
    assert np.allclose(rotated.center, np.median(skewed, axis=0))


def test_a_rotation_without_matrix_and_centre_is_refused():
    with pytest.raises(ValueError, match="needs a matrix or a center"):
        Rotation("none", None)


@pytest.mark.slow(13)
def test_saved_models_with_rotations_load_without_qatlab(tiny_model, pairs, tmp_path):
    texts = [code for _, code in pairs[:40]]
    before = SentenceTransformer(str(tiny_model), device="cpu").encode(texts)
    expected = {}
    for kind, center in (("itq", False), ("overcomplete", True), ("none", "mean"), ("none", "median")):
        model = SentenceTransformer(str(tiny_model), device="cpu")
        rotation = fit_rotation(kind, before, bits=48 if kind == "overcomplete" else None, center=center)
        model.append(rotation.as_module())
        folder = tmp_path / f"{kind}-{center}"
        model.save_pretrained(str(folder), create_model_card=False)
        expected[folder] = rotation(before)
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    code = (
        "import json, sys, numpy as np; from sentence_transformers import SentenceTransformer as S; "
        "texts = json.load(open(sys.argv[1])); "
        "[np.save(f'{folder}.npy', S(folder, device='cpu').encode(texts)) for folder in sys.argv[2:]]; "
        "assert 'qatlab' not in sys.modules"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "texts.json"), *map(str, expected)]
    subprocess.run(command, check=True, capture_output=True)
    for folder, embeddings in expected.items():
        assert np.allclose(np.load(f"{folder}.npy"), embeddings, atol=1e-5), folder.name
