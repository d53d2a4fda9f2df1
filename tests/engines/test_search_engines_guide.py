"""The guide's example finds the documents that an exact search of float32 embeddings finds."""

import re
import subprocess
import sys

import numpy as np
import pytest

from conftest import PROJECT
from qatlab.engines.engine import ENGINES

GUIDE = (PROJECT / "docs" / "how_to" / "search_engines.md").read_text(encoding="utf-8")
CHECK = 'np.save("ids.npy", np.array([match.keys for match in matches]))\n'


def test_the_example_ranks_int8_codes_as_float32_embeddings(tmp_path):
    pytest.importorskip("usearch")
    rng = np.random.default_rng(0)
    scale = np.exp(
        rng.normal(size=48)
    )  # steps that differ between dimensions, without which unweighted queries would do
    documents, queries = ((rng.normal(size=(n, 48)) * scale + scale / 2).astype(np.float32) for n in (600, 20))
    np.save(tmp_path / "documents.npy", documents)
    np.save(tmp_path / "queries.npy", queries)
    (example,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    subprocess.run([sys.executable, "-c", example + CHECK], cwd=tmp_path, check=True)
    expected = np.argsort(-(queries @ documents.T), axis=1)[:, :10]
    ids = np.load(tmp_path / "ids.npy")
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(ids, expected, strict=True)]) > 0.9


def test_the_table_has_each_engine_with_the_codes_that_it_stores():
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|", GUIDE, re.MULTILINE)
    described = {name: (own, codes) for name, own, codes in rows}
    assert set(described) == set(ENGINES.built_in)
    for name, cls in ENGINES.built_in.items():
        own, codes = described[name]
        stored = {mode.stored for mode in cls.MODES if mode.quantizer == "qatlab"}
        assert {kind for kind in ("int8", "bits") if re.search(rf"(^|, ){kind}\b", codes)} == stored, name
        for mode in cls.MODES:
            if mode.quantizer == "engine":
                assert mode.stored.upper() in own.upper(), (name, mode.stored)


def test_the_modes_of_the_example_exist():
    (modes,) = re.findall(r"engine: lancedb\n +modes: \[(.*?)\]\n +probes: (\d+)", GUIDE)
    configured = ENGINES.get("lancedb")(modes=modes[0].split(", "), probes=int(modes[1]))
    assert [mode.name for mode in configured.chosen_modes()] == modes[0].split(", ")
