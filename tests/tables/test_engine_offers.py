"""The engine configuration of an offer: which measured mode realizes it, and how it is shown."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from qatlab.config.evaluate import EvaluateConfig
from qatlab.study.record import StudyRecord
from qatlab.tables.engine_offers import MeasuredEngines
from qatlab.tables.gathered import Gathered
from qatlab.tables.recommendation import conclude
from shipped import write_study

QUERIES = np.random.default_rng(0).uniform(0.6, 1.0, size=400)
SCORES = {
    ("untrained", "torch_fp32", "float32"): [QUERIES],
    ("untrained", "torch_fp32", "int8"): [QUERIES - 0.0001 * np.cos(QUERIES * 99)],
    ("untrained", "torch_fp32", "binary"): [QUERIES - 0.03 * np.cos(QUERIES * 99) ** 2],
}
MODES = {  # difference from the exact search, and queries per second
    "float32_exact": (0, 900),
    "int8_engine_exact": (0, 5000),
    "int8_qatlab_exact": (0, 1000),
    "int8_qatlab_hnsw": (-0.0001, 3000),
    "bits_qatlab_exact": (-0.05, 9000),
}
EXACT = ("float32", "int8", "float32_x_int8", "bits")


@pytest.fixture
def study(tmp_path):
    """Return a function that writes a study with the modes of usearch, and returns its results."""

    def written(modes=MODES, **evaluate):
        config = {"metrics": ["ndcg@10"], "engines": [{"engine": "usearch", "modes": list(modes)}], **evaluate}
        record = write_study(tmp_path, SCORES, evaluate=config, baseline="untrained")
        columns, reported, timings = {f"exact/{name}/ndcg@10": QUERIES for name in EXACT}, [], []
        for at, (mode, (difference, speed)) in enumerate(modes.items()):
            noise = np.random.default_rng(at).normal(0, 0.001, len(QUERIES))
            columns[f"{mode}/ndcg@10"] = QUERIES + difference + noise - noise.mean()
            row = {"mode": mode, "stored": mode.partition("_")[0], "quantizer": "none", "index": "exact"}
            row |= {"rescoring": "none", "documents": 10, "disk_bytes": 10, "memory_bytes": 10, "same_scores": None}
            reported.append(row | {"version": "2.0"})
            for threads in (1, 2):
                timings.append(
                    {"mode": mode, "engine": "usearch", "threads": threads, "queries_per_second": speed * threads}
                )
        folder = tmp_path / "engine" / "usearch"
        folder.mkdir(parents=True)
        pd.DataFrame(columns).to_parquet(folder / "per_query.parquet")
        (folder / "engine.json").write_text(json.dumps({"ranges": "corpus", "modes": reported}))
        (folder / "search.json").write_text(json.dumps(timings))
        values = record.model_dump(mode="json")
        values["runs"][0]["evaluations"][0]["engines"] = {"usearch": "engine/usearch"}
        return Gathered(StudyRecord.model_validate(values), tmp_path)

    return written


def engines(gathered):
    """The engine of each offer, by output."""
    return {offer.output: offer.engine for offer in conclude(gathered).offers}


def test_codes_of_qatlab_come_first_and_then_the_fastest_mode(study):
    int8 = engines(study())["int8"]
    assert (int8.engine, int8.mode, int8.version) == ("usearch", "int8_qatlab_hnsw", "2.0")
    assert int8.queries_per_second == 3000
    assert int8.difference == pytest.approx(-0.0001)
    assert int8.low < int8.difference < int8.high
    assert int8.value == pytest.approx(QUERIES.mean() - 0.0001)
    words = int8.in_words("nDCG@10")
    assert words.startswith("usearch 2.0 in the mode int8_qatlab_hnsw has nDCG@10 0.")
    assert ", −0.0001 from an exact search" in words
    assert words.endswith(", at 3,000 queries per second in one thread")


def test_a_mode_that_loses_significantly_realizes_nothing(study):
    binary = engines(study())
    assert "binary" in binary
    assert binary["binary"] is None


def test_the_engines_own_codes_are_named_where_those_of_qatlab_lose(study):
    losing = {"int8_qatlab_exact": (-0.02, 1000), "int8_qatlab_hnsw": (-0.02, 3000)}
    assert engines(study(MODES | losing))["int8"].mode == "int8_engine_exact"


@pytest.mark.parametrize(
    ("change", "mode"),
    [
        ({}, "int8_qatlab_hnsw"),
        ({"query_precision": "float32"}, "int8_qatlab_hnsw"),
        ({"ranges": "training"}, "int8_engine_exact"),  # the index has the codes of another range
        ({"rotation": "itq"}, None),
        ({"dimensions": 128}, None),
        ({"rescoring": "float32 of 40"}, None),
        ({"index": "hnsw"}, None),
        ({"doc_precision": "int4"}, None),
        ({"doc_precision": "binary", "query_precision": "float32"}, None),
        ({"scoring": "codes"}, None),
    ],
)
def test_a_mode_realizes_the_outputs_that_it_stores(study, change, mode):
    gathered = study()
    (form,) = (form for form in gathered.on_all_axes if form.output == "int8")
    offer = MeasuredEngines(gathered).offer(form, gathered.on_all_axes.outputs[form] | change)
    assert (offer and offer.mode) == mode


def test_the_configuration_is_valid_and_the_code_is_a_program(study):
    int8 = engines(study())["int8"]
    configured = EvaluateConfig.model_validate(yaml.safe_load(int8.configuration)["evaluate"])
    (engine,) = configured.engines
    assert [mode.name for mode in engine.chosen_modes()] == ["int8_qatlab_hnsw"]
    assert int8.configuration == "evaluate:\n  engines:\n  - engine: usearch\n    modes: [int8_qatlab_hnsw]\n"
    compile(int8.search, "search", "exec")
    assert "queries_for_codes(query_vectors, ranges_int8)" in int8.search


def test_a_study_without_engines_names_none(tmp_path):
    record = write_study(tmp_path, SCORES, baseline="untrained")
    assert all(offer.engine is None for offer in conclude(Gathered(record, tmp_path)).offers)
