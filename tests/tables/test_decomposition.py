"""The steps from float to shipped add up digit by digit, and their values are those of the queries."""

import json
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qatlab.evaluation.outputs import read_scores
from qatlab.job import JobDescription
from qatlab.stages import score
from qatlab.tables.decomposition import Chain, Level, decomposition, read_chains
from qatlab.tables.wide import write_all_forms
from records import a_run

COMPONENTS = ["float", "weights", "activations", "export", "output rounding"]


def level(component, kernel="avx2", output="o", method="baseline"):
    return Level(method, (), "onnx_int8", kernel, component, output)


def chain_of(values, precision="int8", **of):
    """Scores and the chain of arrays (seeds, queries), one per component."""
    levels = [level(component, **of) for component in COMPONENTS[: len(values)]]
    figures = {at: {s: {"a": row} for s, row in enumerate(rows)} for at, rows in zip(levels, values, strict=True)}
    return figures, Chain(precision, levels)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000), steps=st.integers(2, 5), spread=st.sampled_from([1e-5, 1e-3, 0.3]))
def test_shown_differences_add_up_exactly_and_equal_those_of_numpy(seed, steps, spread):
    rng = np.random.default_rng(seed)
    values = 0.5 + np.cumsum(rng.normal(0, spread, size=(steps, 2, 7)), axis=0)
    figures, chain = chain_of(values)
    table = decomposition(figures, [chain], [])
    assert table["component"].tolist() == [*COMPONENTS[:steps], "total"]
    shown = [Decimal(cell) for cell in table["difference"].iloc[1:]]
    assert sum(shown[:-1]) == shown[-1] == Decimal(table["value"].iloc[-1]) - Decimal(table["value"].iloc[0])
    means = values.mean(axis=(1, 2))
    assert [float(cell) for cell in table["value"]] == pytest.approx([*means, means[-1]], abs=0.5001e-4)
    assert [float(x) for x in shown] == pytest.approx([*np.diff(means), means[-1] - means[0]], abs=1.0001e-4)
    for (low, high), change in zip(table["95 % interval"].iloc[1:].str.split(" to "), np.diff(means), strict=False):
        assert float(low) - 1e-4 <= change <= float(high) + 1e-4


def test_levels_are_means_of_tasks_not_of_queries_and_of_those_tasks_that_all_seeds_have():
    start, end = level("float"), level("export")
    figures = {
        start: {0: {"a": np.full(4, 0.8), "b": np.full(2, 0.4)}, 1: {"a": np.full(4, 0.6), "b": np.full(2, 0.4)}},
        end: {0: {"a": np.full(4, 0.7), "b": np.full(2, 0.2)}, 1: {"a": np.full(4, 0.5), "b": np.full(2, 0.2)}},
    }
    table = decomposition(figures, [Chain("int8", [start, end])], [])
    assert table["value"].tolist() == ["0.5500", "0.4000", "0.4000"]
    assert table["difference"].tolist()[1:] == ["-0.1500", "-0.1500"]
    for of_form in figures.values():
        del of_form[1]["b"]
    assert decomposition(figures, [Chain("int8", [start, end])], [])["value"].tolist() == ["0.7000", "0.6000", "0.6000"]


def test_verdicts_are_corrected_over_the_table_and_a_shared_step_counts_once():
    rng = np.random.default_rng(0)
    base = rng.uniform(0.3, 0.9, size=(1, 200))
    noise = rng.normal(0, 0.05, size=(4, 1, 200))
    values = [base, base + noise[0] - 0.03, base + noise[1] - 0.03]
    figures, int8 = chain_of([*values, base + noise[2] - 0.03])
    rounded = level("export", output="bits")
    binary = Chain("binary", [*int8.levels[:3], rounded])
    figures[rounded] = {0: {"a": (base + noise[3] - 0.3)[0]}}
    table = decomposition(figures, [int8, binary], [])
    assert table["output precision"].tolist() == ["int8"] * 5 + ["binary"] * 5
    shared = [row.drop(columns="output precision").reset_index(drop=True) for row in (table[1:3], table[6:8])]
    pd.testing.assert_frame_equal(*shared)
    verdicts = dict(zip(table["component"][:5], table["verdict"][:5], strict=True))
    assert {verdicts[c] for c in ("weights", "total")} == {"worse"}
    assert verdicts["activations"] == "not separable"
    # The least p there is, 0.0002, times the differences of the table: six of them, not the eight rows that have one.
    assert table["p (Holm)"][1] == "0.001"
    assert decomposition(figures, [int8], [])["p (Holm)"][1] == "< 0.001"


def test_two_integer_kernels_have_separate_named_rows():
    rng = np.random.default_rng(0)
    one, first = chain_of(rng.uniform(size=(3, 1, 20)), kernel="avx2")
    other, second = chain_of(rng.uniform(size=(3, 1, 20)), kernel="amx_int8")
    table = decomposition(one | other, [first, second], [])
    assert table["integer kernel"].tolist() == ["avx2"] * 4 + ["amx_int8"] * 4
    assert "integer kernel" not in decomposition(one, [first], []).columns


def test_no_chain_is_an_empty_table_and_the_start_has_no_difference(tmp_path):
    assert decomposition({}, [], []).empty
    figures, chain = chain_of(np.random.default_rng(0).uniform(size=(3, 1, 20)))
    write_all_forms(decomposition(figures, [chain], []), tmp_path, "decomposition", "title")
    written = pd.read_csv(tmp_path / "decomposition.csv", dtype=str)
    assert written.loc[0, ["difference", "95 % interval", "p (Holm)", "verdict"]].tolist() == ["–"] * 4


def test_chains_are_read_as_the_score_stage_wrote_them(tmp_path):
    rng = np.random.default_rng(0)
    for folder in ("float", "shipped", "task"):
        (tmp_path / folder).mkdir()
    for name, count in (("documents", 30), ("queries", 20)):
        embeddings = rng.normal(size=(count, 16)).astype(np.float32)
        np.save(tmp_path / "float" / f"{name}.npy", embeddings)
        np.save(tmp_path / "shipped" / f"{name}.npy", embeddings + rng.normal(0, 0.5, size=(count, 16)).astype("f4"))
        pd.DataFrame({"id": [f"{name}{i:02}" for i in range(count)]}).to_parquet(tmp_path / "task" / f"{name}.parquet")
    judged = [{"query_id": f"queries{i:02}", "doc_id": f"documents{i:02}", "relevance": 1} for i in range(20)]
    pd.DataFrame(judged).to_parquet(tmp_path / "task" / "qrels.parquet")
    (tmp_path / "task" / "manifest.json").write_text('{"kind": "retrieval"}')
    for encode, kernel in (("float", None), ("shipped", "avx2")):
        (tmp_path / encode / "machine.json").write_text(json.dumps({"features": [], "integer_kernel": kernel}))
        (tmp_path / encode / "similarity.json").write_text(json.dumps({"similarity": "cosine"}))
        output = tmp_path / f"scored-{encode}"
        output.mkdir()
        config = {"metrics": ["ndcg@10"], "precisions": ["float32", "int8"] if kernel else ["float32"]}
        score.run(
            JobDescription(label="tried", config=config),
            {"encode": tmp_path / encode, "task": tmp_path / "task"},
            output,
            1,
        )
    steps = [
        {"component": component, "output": output, "scores": {"stdlib": f"scored-{encode}"}}
        for component, encode, output in (
            ("float", "float", "none/float32/dot"),
            ("export", "shipped", "none/float32/dot"),
            ("output rounding", "shipped", "none/int8/dequantized/corpus"),
        )
    ]
    run = a_run(
        method="baseline",
        seed=3,
        varied={"matrix.trainer.batch_size": 32},
        chains=[{"deploy": "onnx_int8", "precision": "int8", "steps": steps}],
        parts=[
            {"deploy": deploy, "task": "stdlib", "deployed": "", "encode": encode, "scores": []}
            for deploy, encode in (("torch_fp32", "float"), ("onnx_int8", "shipped"))
        ],
    )
    figures, chains = read_chains([run], tmp_path, "ndcg@10")
    ((precision, levels),) = chains
    assert precision == "int8"
    assert [at.component for at in levels] == ["float", "export", "output rounding"]
    assert {at[:4] for at in levels} == {("baseline", (32,), "onnx_int8", "avx2")}
    table = decomposition(figures, chains, ["matrix.trainer.batch_size"])
    scored = [read_scores(tmp_path / f"scored-{form}") for form in ("float", "shipped")]
    stored = [entry["value"] for entries in scored for entry in entries]
    assert table["value"].tolist()[:3] == [f"{value:.4f}" for value in stored]
    assert table["matrix.trainer.batch_size"].tolist() == [32] * 4
