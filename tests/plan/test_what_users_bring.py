"""Inputs that people bring: each plans, or is one line before the first job that says where and what to do.

Each stands for trouble that people had in public with tools of this field, such as huggingface/datasets#8241 (byte-order marks),
pandas-dev/pandas#15203 (a field more than the header), huggingface/sentence-transformers#3348 (few different questions),
beir-cellar/beir#202 (judgements of missing documents).
"""

import json
import re

import pytest
from transformers import GPT2Config, GPT2LMHeadModel

import miniatures
from conftest import PROJECT
from qatlab.errors import UserError, printable
from qatlab.plan.checks import check_layers, check_models
from qatlab.plan.plan import load_study

pytestmark = pytest.mark.slow(22)

COLUMNS = ["anchor", "positive"]
ROWS = [(f"question {at}", f"answer {at}") for at in range(64)]
SMALL = ["study.matrix.method=[baseline]", "study.decomposition=[]", "deploy=[torch_fp32]", "trainer.batch_size=16"]
CORPUS = [{"_id": "d1", "title": "", "text": "one"}, {"_id": "d2", "text": "two"}]
QUERIES = [{"_id": "q1", "text": "which"}]
JUDGED = "query-id\tcorpus-id\tscore\nq1\td1\t1\n"
MARK = "\ufeff"


def plan(tmp_path, *overrides):
    """Plan as Snakemake does: compose the study, read its files, and check that everything fits the models."""
    study_plan = load_study(PROJECT / "conf", "quickstart", overrides=[*SMALL, *overrides])
    check_models(study_plan, tmp_path)
    check_layers(study_plan, tmp_path)
    return study_plan


def outcome(tmp_path, *overrides):
    """The one line, or None where the study plans."""
    try:
        plan(tmp_path, *overrides)
    except UserError as error:
        message = printable(error)
        assert "\n" not in message
        return message
    return None


def csv(rows, separator=",", end="\n"):
    return "".join(separator.join(row) + end for row in [COLUMNS, *rows])


def jsonl(*records):
    return "".join(json.dumps(record) + "\n" for record in records)


def pair(positive):
    return {"anchor": "a question", "positive": positive}


# File name, content, further overrides, and the line; None where it plans.
PAIRS = {
    "01 byte-order mark, Windows' line ends, quoted breaks": (
        "a.csv", MARK + csv([*ROWS[1:], ("one", '"two\r\nthree ""four"""')], end="\r\n"), [], None,
    ),
    "02 semicolons": ("a.csv", csv(ROWS, ";"), [], r"no column 'anchor'.*separated by commas, and its header has semicolons"),
    "03 a field more than the header": (
        "a.csv", csv([(*row, "a remark") for row in ROWS]), [], r"a\.csv, line 2: 3 fields, where the header has 2",
    ),
    "03 a comma more": ("a.csv", csv([(*row, "") for row in ROWS]), [], r"line 2: 3 fields, where the header has 2"),
    "05 an empty cell": ("a.csv", csv([*ROWS[:6], ("question", ""), *ROWS[6:]]), [], r"'positive' has no text in line 8 \(1 such"),
    "06 byte-order mark in JSON Lines": ("a.jsonl", MARK + jsonl(*(dict(zip(COLUMNS, row, strict=True)) for row in ROWS)), [], None),
    "07 half of a character": ("a.jsonl", jsonl(pair("x"), pair("\ud83d")), [], r"a\.jsonl, line 2: \\ud83d is half of a character"),
    "09 few different questions": (
        "a.csv", csv([(f"question {at % 4}", f"answer {at}") for at in range(64)]), [],
        r"column 'anchor' has 4 different texts in 64 training rows, fewer than trainer\.batch_size=16",
    ),
    "10 fewer rows than are to be kept": ("a.csv", csv(ROWS), ["data.rows=100"], r"has 64 rows, fewer than data\.rows=100"),
    "10 fewer rows than a batch": ("a.csv", csv(ROWS), ["trainer.batch_size=100"], r"batch_size=100 is more than the 64 training rows"),
    "11 columns called label and score": (
        "a.csv", csv(ROWS).replace("anchor,positive", "label,score"), ["data.columns=[label,score]"], None,
    ),
    "11 a column with a comma in its name": (
        "a.csv", csv(ROWS).replace("anchor,positive", '"question, in short",answer'), ["data.columns=['question, in short',answer]"], None,
    ),
    "11 a column with a comma in its name, without quotes": (
        "a.csv", csv(ROWS).replace("anchor,positive", '"question, in short",answer'), ["data.columns=[question, in short,answer]"],
        r"""no column 'question'; the file has: "question, in short", answer .*needs quotes: \["question, in short",…\] in a file""",
    ),
    "12 a name with blanks, commas and umlauts": ("a, (ü) = b.csv", csv(ROWS), [], None),
    "14 nested": ("a.jsonl", jsonl(pair({"text": "x"})), [], r"column 'positive' has no text in line 1"),
    "14 NaN": ("a.jsonl", '{"anchor": "a", "positive": NaN}\n', [], r"line 1: NaN is not a JSON value; use null"),
    "14 an array": ("a.jsonl", "[1]\n", [], r"line 1: expected a JSON object, found list"),
    "14 over several lines": ("a.jsonl", '{\n"anchor": "a"\n}\n', [], r"line 1: not JSON"),
    "14 .json": ("a.json", "[]", [], r"unknown file type; valid: \.parquet"),
    "15 triplets": (
        "a.csv", "anchor,positive,negative\n" + "".join(f"q{at},a{at},n{at}\n" for at in range(64)),
        ["data.columns=[anchor,positive,negative]"], None,
    ),
    "a tab-separated file as programs quote it": ("a.tsv", csv([("one", '"two ""three"""')], "\t"), [], r"line 2: a field in quotes"),
}  # fmt: skip


@pytest.mark.parametrize("case", PAIRS)
def test_training_pairs(tmp_path, case):
    name, content, overrides, expected = PAIRS[case]
    path = tmp_path / name
    path.write_text(content, encoding="utf-8", newline="")
    quoted = f"data.path='{path}'"
    check(outcome(tmp_path, "data=local", "data.rows=null", quoted, *overrides), expected)


def check(study_plan, expected):
    if expected is None:
        assert study_plan is None, study_plan
    else:
        assert study_plan is not None
        assert re.search(expected, study_plan), study_plan


def beir(folder, corpus=None, queries=None, judged=JUDGED, mark=""):
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(mark + jsonl(*(corpus or CORPUS)))
    (folder / "queries.jsonl").write_text(mark + jsonl(*(queries or QUERIES)))
    (folder / "qrels" / "test.tsv").write_text(mark + judged)
    return ["task=[beir]", f"task.beir.path={folder}"]


TASKS = {
    "06 byte-order marks": ({"mark": MARK}, None),
    "07 half of a character": ({"corpus": [*CORPUS, {"_id": "d3", "text": "\udc00"}]}, r"corpus\.jsonl, line 3: \\udc00 is half"),
    "20 titles missing or null, ids that are numbers": ({"corpus": [{"_id": 1, "title": None, "text": "a"}, *CORPUS]}, None),
    "21 no text": ({"corpus": [*CORPUS, {"_id": "d3"}]}, r"corpus\.jsonl, line 3: no 'text'"),
    "21 text is null": ({"corpus": [*CORPUS, {"_id": "d3", "text": None}]}, r"line 3: text is null"),
    "21 text is a number": ({"corpus": [*CORPUS, {"_id": "d3", "text": 3}]}, r"line 3: text is 3; it must be a text"),
    "21 text is a list": ({"corpus": [*CORPUS, {"_id": "d3", "text": ["a"]}]}, r"line 3: text is a list"),
    "21 id for _id": ({"corpus": [*CORPUS, {"id": "d3", "text": "a"}]}, r"line 3: no '_id', but 'id': BEIR calls it _id"),
    "21 a query is null": ({"queries": [*QUERIES, {"_id": "q2", "text": None}]}, r"queries\.jsonl, line 2: text is null"),
    "22 TREC's four columns": ({"judged": "q1 0 d1 1\n"}, r"test\.tsv, line 1: one column \(TREC's format"),
    "22 commas": ({"judged": "q1,d1,1\n"}, r"test\.tsv, line 1: .*separated by tabs"),
    "23 grades": ({"judged": "q1\td1\t2\nq1\td2\t-1\nq1\td1\t2\n"}, None),
    "23 two grades of one pair": ({"judged": "q1\td1\t2\nq1\td1\t1\n"}, r"document 'd1' has grade 1 for query 'q1', but 2 in line 1"),
    "24 an unknown document": ({"judged": "q1\td1\t1\nq1\tdx\t1\n"}, r"judges document 'dx', which corpus\.jsonl does not hold"),
    "24 an unknown query": ({"judged": "q1\td1\t1\nqx\td1\t1\n"}, r"judges query 'qx', which queries\.jsonl does not hold"),
    "25 an id twice": ({"corpus": [*CORPUS, CORPUS[0]]}, r"_id 'd1' occurs more than once"),
}  # fmt: skip


@pytest.mark.parametrize("case", TASKS)
def test_retrieval_tasks(tmp_path, case):
    changes, expected = TASKS[case]
    check(outcome(tmp_path, *beir(tmp_path / "task", **changes)), expected)


RECORD = {"query": "a", "positive": "b", "negatives": ["c"]}
RECORDS = {
    "27 lists and single texts": ([RECORD, {**RECORD, "positive": ["b", "d"], "negatives": "e"}], None),
    "27 a positive is null": (
        [{**RECORD, "positive": None}],
        r"line 1: queries, positives and negatives must be texts",
    ),
    "27 negatives are objects": ([RECORD, {**RECORD, "negatives": [{"text": "c"}]}], r"line 2: .*must be texts"),
    "27 the positive among the negatives, which are then mined": ([{**RECORD, "negatives": ["b"]}], None),
    "27 no records": ([], r"no records"),
}


@pytest.mark.parametrize("case", RECORDS)
def test_withheld_records(tmp_path, case):
    records, expected = RECORDS[case]
    path = tmp_path / "records.jsonl"
    path.write_text(jsonl(*records))
    check(outcome(tmp_path, "task=[withheld]", f"task.withheld.path={path}"), expected)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Small models with the settings of some that people publish."""
    folder = tmp_path_factory.mktemp("models")
    miniatures.encoder(folder / "bert", "bert")
    miniatures.encoder(folder / "qwen3", "qwen3")
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=104, n_embd=32, n_layer=2, n_head=2, n_positions=128))
    gpt2.save_pretrained(folder / "gpt2")
    miniatures.decoder_encoder(folder / "decoder", None)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / "gpt2" / name).write_bytes((folder / "decoder" / name).read_bytes())
    return folder


CAUSAL = ["model.kind=causal_lm", "data=package_texts", "task=[networkx_sources]"]
MODELS = {
    "48 more tokens than positions": ("bert", ["model.max_seq_length=128"], r"=128, but model '.*' has 64 positions; set model\.max_seq"),
    "49 no padding token": ("decoder", ["model.max_seq_length=32"], None),
    "50 fewer layers of a model with layer types": ("qwen3", ["model.max_seq_length=32", "model.num_hidden_layers=1"], None),
    "59 groups that do not divide": (
        "bert", ["model.max_seq_length=32", "deploy=[torch_fp32,torchao:int4]", "deploy.torchao:int4.weights.group_size=24"],
        r"group_size 24 does not divide the 32 inputs",
    ),
    "56 GPT-2 and int4": (
        "gpt2", ["model.max_seq_length=64", *CAUSAL, "deploy=[torch_fp32,torchao:int4]"],
        r"quantizes 0 of the 24,576 weights .* of the class Conv1D",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MODELS)
def test_models(models, tmp_path, case):
    name, overrides, expected = MODELS[case]
    check(outcome(tmp_path, f"model.name={models / name}", *overrides), expected)


OVERRIDES = {
    "12 a path that Hydra cannot read": (
        "data.path=/a b, (c).csv",
        r"needs quotes that reach Hydra: overrides=\"data\.path=",
    ),
    "60 a Windows path": ("data.path=C:\\Users\\me\\pairs.csv", r"data file '.*pairs\.csv' does not exist"),
}


@pytest.mark.parametrize("case", OVERRIDES)
def test_overrides(tmp_path, case):
    override, expected = OVERRIDES[case]
    check(outcome(tmp_path, "data=local", override), expected)


def test_a_key_of_a_task_that_is_not_chosen(tmp_path):
    check(
        outcome(tmp_path, "task.beir.path=elsewhere"),
        r"'task\.beir' has keys but no source: its keys are set although it was not selected",
    )
