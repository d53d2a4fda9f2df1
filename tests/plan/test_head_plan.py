"""Plan of a head: the embeddings that it is trained on, what it shares with other runs, and methods that are refused."""

import pytest

from conftest import PROJECT
from qatlab.config.method import MethodConfig
from qatlab.errors import UserError
from qatlab.plan.artifacts import registered_modules
from qatlab.plan.checks import check_models
from qatlab.plan.plan import load_study

HEADS = "study.matrix.method=[untrained,baseline,head_pairs,head_corpus,head_both]"
STUDY = (HEADS, "study.decomposition=[]", "deploy=[torch_fp32]")


def plan(*overrides):
    return load_study(PROJECT / "conf", "quickstart", "full", [*STUDY, *overrides])


def trainings(study_plan):
    runs = {run.config.method.name: run.trained for run in study_plan.runs}
    return {name: study_plan.artifacts[path] for name, path in runs.items() if path.startswith("train/")}


def test_a_head_is_trained_on_the_embeddings_of_the_untrained_run():
    study_plan = plan()
    (untrained,) = (run for run in study_plan.runs if run.config.method.name == "untrained")
    corpora = {f"corpus_{task}": untrained.encoded["torch_fp32", task] for task in ("stdlib", "networkx")}
    artifacts = trainings(study_plan)
    inputs = {name: artifact.inputs for name, artifact in artifacts.items()}
    assert inputs["head_corpus"] == {**inputs["baseline"], **corpora}
    pairs = inputs["head_pairs"]["pairs"]
    assert inputs["head_pairs"] == {**inputs["baseline"], "pairs": pairs}
    assert inputs["head_both"] == {**inputs["head_pairs"], **corpora}
    encoding = study_plan.artifacts[pairs]
    assert encoding.inputs == {"deploy": untrained.deployed["torch_fp32"], "pairs": inputs["baseline"]["data"]}
    assert encoding.config.rows == 16384


def test_without_the_untrained_run_only_its_embeddings_are_planned():
    study_plan = plan("study.matrix.method=[head_corpus]", "study.baseline=head_corpus")
    kinds = [artifact.kind for artifact in study_plan.artifacts.values()]
    assert (kinds.count("train"), kinds.count("deploy")) == (1, 2)
    scored = [a.inputs["encode"] for a in study_plan.artifacts.values() if a.kind == "score"]
    assert not [path for path in scored if "untrained" in path]


def test_the_trainer_of_the_model_does_not_determine_a_head():
    first, second = (trainings(plan(*more)) for more in ((), ("trainer.batch_size=128", "trainer.learning_rate=1e-3")))
    for name in ("head_pairs", "head_corpus", "head_both"):
        assert first[name].path == second[name].path
        assert registered_modules(first[name])[-1] == "qatlab.families.embedding.head"
    assert first["baseline"].path != second["baseline"].path
    assert registered_modules(first["baseline"])[-1] == "qatlab.families.embedding.train"


def test_the_same_embeddings_serve_all_seeds_and_settings():
    study_plan = plan("study.matrix.seed=[0,1]", "study.matrix.method=[baseline,head_pairs]")
    heads = [a for a in study_plan.artifacts.values() if a.kind == "train" and "pairs" in a.inputs]
    assert len(heads) == 2
    assert len({artifact.inputs["pairs"] for artifact in heads}) == 1


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"name": "head"}, "fitted on pairs, which its name must say.*'head_pairs'"),
        ({"name": "head_corpus"}, "fitted on pairs"),
        ({"rotation": {"kind": "itq"}}, "rotation would have no effect"),
        ({"learning_rate": 1e-3, "extra_steps": 1}, "learning_rate and extra_steps would have no effect"),
        ({"loss": {"name": "cached_multiple_negatives_ranking"}}, "loss would have no effect"),
        ({"train": False}, "train is false"),
    ],
)
def test_a_method_with_a_head_is_nothing_else(method, message):
    with pytest.raises(ValueError, match=message):
        MethodConfig.model_validate({"name": "head_pairs", "head": {"fitted_on": "pairs"}, **method})


def test_too_few_rows_for_a_head_are_one_line_before_the_first_job(tmp_path):
    """ITQ needs as many embeddings as MiniLM has dimensions, 384, besides the held-out tenth."""
    check_models(plan("study.matrix.method=[head_pairs]", "data.rows=427"), tmp_path)
    for method, rows, count in (("head_pairs", "data.rows=426", 426), ("head_corpus", "data.rows=64", 200)):
        documents = (f"task.{task}.documents=100" for task in ("stdlib", "networkx"))
        queries = (f"task.{task}.queries=100" for task in ("stdlib", "networkx"))
        with pytest.raises(
            UserError, match=f"method '{method}': .*'itq' in 384 dimensions .* there are {count} "
        ) as error:
            check_models(plan(f"study.matrix.method=[{method}]", rows, *documents, *queries), tmp_path)
        assert "\n" not in str(error.value)


def test_a_causal_language_model_has_no_head():
    with pytest.raises(UserError, match="cannot train it with head"):
        load_study(PROJECT / "conf", "quickstart", None, ["model=byte_decoder", HEADS, *STUDY[1:]])
