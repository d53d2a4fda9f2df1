"""Tables of engines: differences from the exact search of the same codes, and of an engine's quantizer from qatlab's grid."""

import json

import numpy as np
import pandas as pd
import pytest

from qatlab.engines.engine import OVERLAP
from qatlab.tables import long
from qatlab.tables.engines import EngineQuantizers, Engines
from qatlab.tables.gathered import Gathered
from qatlab.tables.missing import FAILED, Missing, MissingArtifact
from records import a_run, a_study

MODES = ("float32_exact", "int8_engine_exact", "int8_qatlab_exact", "bits_engine_exact")
VALUES = {  # mean metric; each query deviates in the same way
    "float32_exact": 0.80,
    "int8_engine_exact": 0.70,
    "int8_qatlab_exact": 0.78,
    "bits_engine_exact": 0.50,
    "exact/float32": 0.80,
    "exact/int8": 0.79,
    "exact/float32_x_int8": 0.795,
    "exact/bits": 0.52,
}
PATH = "engine/untrained-usearch"


@pytest.fixture
def study(tmp_path):
    noise = np.linspace(-0.1, 0.1, 50)
    columns = {"query_id": [f"q{at}" for at in range(50)]}
    for name, value in VALUES.items():
        columns |= {f"{name}/ndcg@10": value + noise, f"{name}/{OVERLAP}": np.full(50, value / 0.8)}
    (tmp_path / PATH).mkdir(parents=True)
    pd.DataFrame(columns).to_parquet(tmp_path / PATH / "per_query.parquet")
    modes = [
        {
            "mode": mode,
            "stored": mode.partition("_")[0],
            "quantizer": mode.split("_")[1] if mode.count("_") > 1 else "none",
            "index": "exact",
            "rescoring": "none",
            "documents": 100,
            "disk_bytes": 123_000,
            "memory_bytes": None if mode == "float32_exact" else 45_000,
            "same_scores": 0.98 if "qatlab" in mode else None,
        }
        for mode in MODES
    ]
    (tmp_path / PATH / "engine.json").write_text(json.dumps({"ranges": "corpus", "modes": modes}))
    timing = {"engine": "usearch", "queries_per_second": 1000.0, "p50_ms": 1.0, "p95_ms": 2.0, "build_seconds": 0.5}
    bytes_of_index = {"build_peak_bytes": 7, "disk_bytes": 123_000, "memory_bytes": 45_000, "open_seconds": 0.1}
    timings = [{**timing, **bytes_of_index, "mode": mode, "threads": threads} for mode in MODES for threads in (1, 2)]
    (tmp_path / PATH / "search.json").write_text(json.dumps(timings))
    (tmp_path / "encode" / "e").mkdir(parents=True)
    (tmp_path / "encode" / "e" / "machine.json").write_text('{"integer_kernel": null}')
    entry = {"deploy": "torch_fp32", "task": "code", "encode": "encode/e", "engines": {"usearch": PATH}}
    run = a_run(name="untrained", method="untrained", deployed={"torch_fp32": "deploy/d"}, evaluations=[entry])
    return a_study(
        baseline="untrained", runs=[run], evaluate={"engines": [{"engine": "usearch", "modes": list(MODES)}]}
    )


class Results(Gathered):
    """Results without scores, whose number of seeds is given."""

    seeds = 1


def test_differences_are_from_exact_searches_of_the_same_codes(study, tmp_path):
    assert Engines().wanted(study)
    table = Engines().rows(Results(study, tmp_path)).set_index("mode")
    assert list(table.index) == list(MODES)
    assert dict(table["exact search of"]) == {
        "float32_exact": "float32",
        "int8_engine_exact": "float32",
        "int8_qatlab_exact": "int8",
        "bits_engine_exact": "float32",
    }
    assert dict(table["difference"]) == dict(zip(MODES, ("+0.0000", "-0.1000", "-0.0100", "-0.3000"), strict=True))
    assert table.loc["int8_qatlab_exact", "verdict"] == "worse"
    assert table.loc["float32_exact", "verdict"] == "not separable"
    assert table.loc["int8_engine_exact", OVERLAP] == "0.8750"
    assert (
        table.loc["int8_qatlab_exact", ["on disk", "in memory", "same scores"]] == ["123.0 kB", "45.0 kB", "98.0%"]
    ).all()
    assert pd.isna(table.loc["float32_exact", "in memory"])


def test_a_quantizer_is_compared_with_the_grid_in_the_engine_or_else_in_an_exact_search(study, tmp_path):
    table = EngineQuantizers().rows(Results(study, tmp_path)).set_index("mode")
    assert dict(table["grid of qatlab"]) == {
        "int8_engine_exact": "int8_qatlab_exact",
        "bits_engine_exact": "exact/bits",
    }
    assert dict(table["difference"]) == {"int8_engine_exact": "-0.0800", "bits_engine_exact": "-0.0200"}
    assert set(table["exact float32"]) == {"0.8000"}


def test_a_failed_job_is_marked_in_each_of_its_rows(study, tmp_path):
    failed = MissingArtifact(status=FAILED, reason="engine: no space", kind=None, figures=())
    gathered = Results(study, tmp_path, missing=Missing({PATH: failed}))
    table = Engines().rows(gathered)
    assert list(table["mode"]) == list(MODES)
    assert (table[["value", "on disk", "in memory", "difference"]] == FAILED).all(axis=None)
    assert (EngineQuantizers().rows(gathered)["difference"] == FAILED).all()
    search = long.search(study.runs, tmp_path, Missing({PATH: failed}))
    assert list(search["status"]) == [FAILED]


def test_timings_are_rows_of_the_table_of_searches(study, tmp_path):
    search = long.search(study.runs, tmp_path)
    assert list(search["threads"]) == [1, 2] * len(MODES)
    assert set(search["engine"]) == {"usearch"}
    assert search["disk_bytes"].tolist() == [123_000] * 8
    assert search["disk_bytes"].dtype == "Int64"
    assert search["stored_bytes"].tolist() == [1230] * 8
    assert search["scoring"].nunique() == len(MODES)  # no two modes have the same output columns
    assert search["p95_ms"].tolist() == [2.0] * 8


def test_searches_of_engines_are_no_points_of_the_trade_off(study, tmp_path):
    search = long.search(study.runs, tmp_path)
    assert long.without_engines(search).empty
    assert long.without_engines(search.drop(columns="engine")).shape[0] == len(search)


def test_a_study_without_engines_has_neither_table():
    assert not Engines().wanted(a_study())
    assert not EngineQuantizers().wanted(a_study())
