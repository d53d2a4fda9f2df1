"""Generated overrides: each composes and plans, or gives one line, within two seconds of CPU time and without a traceback.

Where a plan of nothing special takes long itself, as beside other work, five times its time.
"""

import string
import time

import pytest
from effort import assert_one_line, fuzz
from hypothesis import given
from hypothesis import strategies as st

from conftest import PROJECT
from qatlab.errors import UserError
from qatlab.plan.compose import compose_runs
from qatlab.plan.configuration_files import ConfigurationFiles
from qatlab.plan.plan import make_plan

pytestmark = pytest.mark.slow(30)

CONF = PROJECT / "conf"
GROUPS = ConfigurationFiles(CONF).groups
SECONDS = 2.0
MOST_RUNS = 40  # maximum size of a matrix; more runs are valid, but take longer

# Keys of all sections, whether the study has them or not, and some that none has.
KEYS = [
    "study.title", "study.baseline", "study.matrix", "study.matrix.seed", "study.matrix.method", "study.matrix.trainer.batch_size",
    "study.exclude", "study.decomposition", "study.question", "study.scales", "model.name", "model.max_seq_length", "model.kind",
    "model.num_hidden_layers", "model.normalize", "model.decoder", "data.rows", "data.packages", "data.path", "data.columns",
    "data.shuffle_seed", "data.source", "trainer.batch_size", "trainer.learning_rate", "trainer.max_steps", "trainer.report_to",
    "trainer.distributed", "trainer.distributed.processes", "trainer.precision", "trainer.num_train_epochs", "evaluate.metrics",
    "evaluate.precisions", "evaluate.similarity", "evaluate.scoring", "evaluate.ranges", "evaluate.rescoring", "evaluate.index",
    "evaluate.dimensions", "evaluate.rotations", "evaluate.bit_axes", "drift.references", "drift.limit", "deploy.onnx_int8.opset",
    "deploy.onnx_int8.quantization", "deploy.torch_fp32.dtype", "task.stdlib.queries", "task.stdlib.package", "task.beir.path",
    "encode.batch_size", "encode.threads", "seed", "method", "method.embedding_quantization", "method.loss", "texts", "task", "deploy",
    "hydra.run.dir", "study", "nothing", "trainer.nothing", "é", "_target_", "model._target_",
]  # fmt: skip
SCALARS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.integers(-2, 40),
    st.floats(),
    st.booleans(),
    st.sampled_from(
        [
            "null", "", "none", "'", '"', "a b", "a=b", "[", "]", "{", "{a:1}", "???", "${seed}", "${oc.env:HOME}", "${nothing}", "-",
            "/",
            ".", "/dev/null", "conf", "C:\\Users\\me", "~", "x" * 3000, "[" * 400, "é漢🙂", "\x00", "\x1b[31m", "a\nb",
            "!!python/object:os",
            "1e400", "0x10", "1_000", "yes", "ndcg@0", "ndcg@10", "recall@100000000000", "itq", "float32", "int8", "binary", "ste",
            "onnx_int8",
            "cosine", "dot", "hnsw", "training", "sentence-transformers/all-MiniLM-L6-v2", "../..", "numpy", "choice(1,2)", "range(1,9)",
        ]
    ),
    st.text(string.printable, max_size=6),
)  # fmt: skip
VALUES = st.one_of(
    SCALARS.map(str),
    st.lists(SCALARS.map(str), max_size=3).map(lambda values: f"[{','.join(values)}]"),
    st.dictionaries(st.sampled_from(["name", "kind", "a", "method", "seed"]), SCALARS.map(str), max_size=2).map(
        lambda values: "{" + ",".join(f"{key}:{value}" for key, value in values.items()) + "}"
    ),
)
CHOICES = st.sampled_from([(group, choice) for group, choices in GROUPS.items() for choice in choices])
OVERRIDES = st.one_of(
    st.tuples(st.sampled_from(["", "+", "++"]), st.sampled_from(KEYS), VALUES).map(
        lambda parts: f"{parts[0]}{parts[1]}={parts[2]}"
    ),
    st.sampled_from(KEYS).map(lambda key: f"~{key}"),
    CHOICES.map("=".join),
    CHOICES.map(lambda choice: f"{choice[0]}=[{choice[1]}]"),
    CHOICES.map(lambda choice: f"study.matrix.{choice[0]}=[{choice[1]}]"),
    st.text(st.characters(codec="utf-8"), max_size=12),
)
# One method, so that an input takes a tenth of a second.
SMALL = ["study.matrix.method=[baseline]", "study.decomposition=[]"]


@pytest.fixture(scope="module")
def allowed():
    """Seconds of CPU time. What a process imports once, mteb among it, is counted to no input."""
    plan(["task=[stsbenchmark]"])
    began = time.process_time()
    plan([])
    return max(SECONDS, 5 * (time.process_time() - began))


def plan(overrides):
    runs = compose_runs(CONF, "quickstart", overrides=[*SMALL, *overrides])
    return make_plan(runs) if len(runs) <= MOST_RUNS else None


def assert_quick(planned, allowed, configuration):
    """Plan; assert that it ends within the allowed CPU seconds, and in one line if it is refused.

    A plan that took longer is made again: a garbage collection of all that Hypothesis keeps can fall into one of two, a search that
    does not end is in both.
    """
    for last in (False, True):
        began = time.process_time()
        try:
            planned()
        except UserError as error:
            assert_one_line(error)
        seconds = time.process_time() - began
        if seconds < allowed:
            return
        assert not last, (seconds, configuration)


@fuzz(60)
@given(overrides=st.lists(OVERRIDES, min_size=1, max_size=3))
def test_overrides_plan_or_give_one_line(allowed, overrides):
    assert_quick(lambda: plan(overrides), allowed, overrides)


FILES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["study", "trainer", "data", "model", "evaluate", "deploy", "task"]), VALUES).map(
            lambda parts: f"{parts[0]}: {parts[1]}"
        ),
        st.tuples(st.sampled_from(KEYS), VALUES).map(lambda parts: f"{parts[0].replace('.', ': {', 1)}: {parts[1]}}}"),
        st.sampled_from(
            [
                "defaults: [override /method: ste]", "defaults: 3", "defaults: [nothing]", "defaults: [{a: b}]", "&a [*a]", "a: &a {b: *a}",
                "? [x]: y", "- a", "\ta: b", "a: b: c", "study:\n  name: mine\n  title: t: u", "%YAML 9.9", "--- a\n--- b", "a: !!set {b}",
                "a: 2026-11-29", "1: 2", "null: 1", "study: {name: mine}\nstudy: {name: mine}", "<<: {a: 1}", "\ufeffa: 1", "\x07",
            ]
        ),
    ),
    max_size=4,
)  # fmt: skip


@fuzz(40)
@given(lines=FILES, header=st.booleans())
def test_study_files_plan_or_give_one_line(allowed, lines, header, tmp_path_factory):
    conf = tmp_path_factory.mktemp("c") / "conf"
    conf.mkdir()
    for file in CONF.iterdir():
        (conf / file.name).symlink_to(file) if file.name != "study" else None
    (conf / "study").mkdir()
    text = "\n".join(["# @package _global_"] * header + lines) + "\n"
    (conf / "study" / "mine.yaml").write_text(text, encoding="utf-8")

    def planned():
        runs = compose_runs(conf, "mine", overrides=["study.matrix.method=[baseline]"])
        make_plan(runs[:MOST_RUNS])

    assert_quick(planned, allowed, text)
