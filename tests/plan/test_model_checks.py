"""Deployments and scores that do not fit a model are one line before the first job."""

import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding, Transformer

from conftest import PROJECT
from qatlab.errors import UserError
from qatlab.plan.checks import check_models
from qatlab.plan.plan import load_study


def check(folder, results, *overrides):
    fixed = [
        f"model.name={folder}",
        "model.max_seq_length=24",
        "study.matrix.method=[untrained]",
        "study.decomposition=[]",
    ]
    plan = load_study(PROJECT / "conf", "quickstart", overrides=[*fixed, *overrides])
    check_models(plan, results)


@pytest.fixture(scope="module")
def static(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("static") / "model"
    tokenizer = Transformer(str(tiny_model), max_seq_length=32).tokenizer
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=16)], device="cpu")
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


def test_static_embeddings_are_not_exported(static, tmp_path):
    check(static, tmp_path, "deploy=[torch_fp32]")
    with pytest.raises(
        UserError, match="begins with StaticEmbedding; leave its deployments out: onnx_int8, openvino_int8"
    ):
        check(static, tmp_path, "deploy=[torch_fp32,onnx_int8,openvino_int8]")


def test_more_dimensions_than_embeddings_have(tiny_model, tmp_path):
    check(tiny_model, tmp_path, "deploy=[torch_fp32]", "evaluate.dimensions=[null,32,16]")
    with pytest.raises(UserError, match="have 32 dimensions, so 512 cannot be kept"):
        check(tiny_model, tmp_path, "deploy=[torch_fp32]", "evaluate.dimensions=[512]")


def test_no_more_over_complete_bits_than_dimensions(tiny_model, tmp_path):
    fixed = ("deploy=[torch_fp32]", "study.matrix.method=[overcomplete_head]", "study.baseline=overcomplete_head")
    check(tiny_model, tmp_path, *fixed, "method.rotation.bits=33")
    with pytest.raises(
        UserError,
        match=r"'overcomplete_head': rotation: overcomplete needs more bits than the 32 dimensions .*, not 32",
    ):
        check(tiny_model, tmp_path, *fixed, "method.rotation.bits=32")
    head = ("deploy=[torch_fp32]", "study.matrix.method=[head_pairs]", "study.baseline=head_pairs")
    with pytest.raises(UserError, match=r"'head_pairs': head.start: overcomplete needs more bits .*, not 16"):
        check(tiny_model, tmp_path, *head, "method.head.start={kind:overcomplete,bits:16}")
    shipped = ("deploy=[torch_fp32,torch_itq]", "deploy.torch_itq.rotation={kind:overcomplete,bits:32}")
    with pytest.raises(UserError, match=r"deploy 'torch_itq': rotation: overcomplete needs more bits .*, not 32"):
        check(tiny_model, tmp_path, *shipped)
    scored = ("deploy=[torch_fp32]", "evaluate.rotations=[none,{kind:overcomplete,bits:32}]")
    with pytest.raises(UserError, match=r"evaluate.rotations: .*: overcomplete needs more bits .*, not 32"):
        check(tiny_model, tmp_path, *scored)
    check(tiny_model, tmp_path, *scored, "evaluate.dimensions=[16]")


def test_a_similarity_that_is_not_scored(tiny_model, tmp_path):
    folder = tmp_path / "model"
    model = SentenceTransformer(str(tiny_model), device="cpu", similarity_fn_name="manhattan")
    model.save_pretrained(str(folder), create_model_card=False)
    check(folder, tmp_path, "deploy=[torch_fp32]", "evaluate.similarity=dot")
    with pytest.raises(UserError, match="compares embeddings by 'manhattan', which is not scored"):
        check(folder, tmp_path, "deploy=[torch_fp32]")


def test_axes_with_fewer_documents_than_dimensions(tiny_model, tiny_files, tmp_path):
    beir = f"task=[beir] task.beir.path={tiny_files / 'task'}".split()
    fixed = ("deploy=[torch_fp32]", "evaluate.rotations=[none,itq]")
    check(tiny_model, tmp_path, *fixed, *beir)  # 40 documents
    with pytest.raises(
        UserError, match=r"itq in 32 dimensions needs .* and there are 20 documents of task 'stdlib'; leave it out"
    ):
        check(tiny_model, tmp_path, *fixed, "task=[stdlib]", "task.stdlib.documents=20", "task.stdlib.queries=20")
    check(
        tiny_model,
        tmp_path,
        *fixed,
        "task=[stdlib]",
        "task.stdlib.documents=20",
        "task.stdlib.queries=20",
        "evaluate.dimensions=[16]",
    )
    training = ("deploy=[torch_fp32]", "evaluate.rotations=[{kind:itq,fitted_on:training}]", "++evaluate.range_rows=20")
    with pytest.raises(UserError, match="there are 20 training documents"):
        check(tiny_model, tmp_path, *training)
    with pytest.raises(UserError, match="there are 2 documents of task 'beir'"):
        small = tmp_path / "small"
        (small / "qrels").mkdir(parents=True)
        (small / "corpus.jsonl").write_text('{"_id": "a", "text": "one"}\n{"_id": "b", "text": "two"}\n')
        (small / "queries.jsonl").write_text('{"_id": "q", "text": "which"}\n')
        (small / "qrels" / "test.tsv").write_text("q\ta\t1\n")
        check(tiny_model, tmp_path, *fixed, "task=[beir]", f"task.beir.path={small}")
