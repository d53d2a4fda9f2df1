"""Per-query results, as the score stage wrote them."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from qatlab.evaluation.outputs import read_scores
from qatlab.job import JobDescription
from qatlab.stages import score
from qatlab.tables.gathered import per_query, seed_means
from qatlab.tables.labels import output_label
from records import a_run


def test_columns_belong_to_their_scores(tmp_path):
    generator = np.random.default_rng(0)
    results, encode, task, scored = tmp_path, tmp_path / "e", tmp_path / "t", tmp_path / "s"
    for folder in (encode, task, scored):
        folder.mkdir()
    for name, count in (("documents", 30), ("queries", 20)):
        np.save(encode / f"{name}.npy", generator.normal(size=(count, 16)).astype(np.float32))
        pq.write_table(pa.table({"id": [f"{name}{i:02}" for i in range(count)]}), task / f"{name}.parquet")
    rows = [{"query_id": f"queries{i:02}", "doc_id": f"documents{i:02}", "relevance": 1} for i in range(20)]
    pd.DataFrame(rows).to_parquet(task / "qrels.parquet")
    (task / "manifest.json").write_text('{"kind": "retrieval"}')
    (encode / "machine.json").write_text(json.dumps({"features": [], "integer_kernel": "avx2"}))
    (encode / "similarity.json").write_text(json.dumps({"similarity": "cosine"}))
    config = {
        "metrics": ["ndcg@10", "mrr@10"],
        "precisions": ["float32", "float32_x_binary", "binary"],
        "rotations": ["none", "itq"],
    }
    score.run(JobDescription(label="tried", config=config), {"encode": encode, "task": task}, scored, 1)
    evaluations = [{"deploy": "onnx_int8", "task": "stdlib", "encode": "e", "score": "s"}]
    run = a_run(method="baseline", seed=3, varied={"matrix.trainer.batch_size": 32}, evaluations=evaluations)
    figures = per_query([run], results, {"stdlib": "mrr@10"})
    assert len(figures) == 6
    assert per_query([run], results, {"another": "mrr@10"}) == {}
    turned = figures.on_axes(["itq"])
    assert {form.rotation for form in turned} == {"itq"}
    assert len(turned) == 3
    for entry in read_scores(scored):
        if entry["metric"] == "mrr@10":
            (variant,) = [
                form for form in figures if (form.rotation, form.output) == (entry["rotation"], output_label(entry))
            ]
            assert variant[:4] == ("baseline", (32,), "onnx_int8", "avx2")
            assert figures.outputs[variant] == entry
            assert seed_means(figures[variant]) == {3: entry["value"]}
            assert figures[variant][3]["stdlib"].shape == (20,)
