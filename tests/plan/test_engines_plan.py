"""What engines make of embeddings in a plan: one artifact per encoding of a retrieval task and engine, beside unchanged scores."""

import pytest

from conftest import PROJECT
from qatlab.engines.usearch import USearchEngine
from qatlab.errors import UserError
from qatlab.plan.artifacts import registered_modules
from qatlab.plan.plan import load_study
from qatlab.plan.workflow import outline

pytestmark = pytest.mark.slow(8)

CONF = PROJECT / "conf"
SMALL = ("study.matrix.method=[untrained,ste]", "deploy=[torch_fp32]", "study.decomposition=[]")
CHOSEN = "evaluate.engines=[usearch,{engine: faiss, modes: [float32_exact, int8_qatlab_exact]}]"


def plan(*overrides):
    return load_study(CONF, "quickstart", overrides=(*SMALL, *overrides))


def test_engines_add_artifacts_and_change_no_name():
    before, study_plan = plan(), plan(CHOSEN)
    added = [study_plan.artifacts[path] for path in study_plan.artifacts if path not in before.artifacts]
    assert set(before.artifacts) <= set(study_plan.artifacts)
    assert {artifact.kind for artifact in added} == {"engine"}
    assert len(added) == 2 * 2 * 2  # runs, tasks and engines
    assert {"engines", "engine_quantizers"} & set(before.view_names()) == set()
    assert "engines" in study_plan.view_names()
    for artifact in added:
        assert set(artifact.inputs) == {"encode", "task"}
        assert [engine.engine for engine in artifact.config.engines] == [artifact.label.rpartition(" · ")[2]]
        assert registered_modules(artifact) == (f"qatlab.engines.{artifact.config.engines[0].engine}",)
    of_run = study_plan.record().runs[0].evaluations[0].engines
    assert set(of_run) == {"usearch", "faiss"}
    assert set(of_run.values()) <= set(study_plan.artifacts)


def test_versions_of_packages_and_modes_determine_the_artifact(monkeypatch):
    def paths(*overrides):
        return {path for path in plan(*overrides).artifacts if path.startswith("engine/")}

    usual = paths("evaluate.engines=[usearch]")
    assert paths("evaluate.engines=[usearch]", "evaluate.precisions=[float32]") == usual
    assert not paths("evaluate.engines=[{engine: usearch, modes: [float32_exact]}]") & usual
    assert not paths("evaluate.engines=[usearch]", "evaluate.metrics=[ndcg@5]") & usual
    monkeypatch.setattr(USearchEngine, "package_versions", lambda self: {"usearch": "3.0"})
    assert not paths("evaluate.engines=[usearch]") & usual


def test_ranges_of_training_documents_are_an_input():
    study_plan = plan("evaluate.engines=[usearch]", "evaluate.ranges=[training]")
    engines = [artifact for artifact in study_plan.artifacts.values() if artifact.kind == "engine"]
    assert all(study_plan.artifacts[artifact.inputs["training"]].kind == "encode" for artifact in engines)
    assert {job.threads for path, job in outline(study_plan).jobs.items() if path.startswith("engine/")} == {None}


def test_an_engine_that_cannot_run_is_refused_before_any_job(monkeypatch):
    monkeypatch.setattr(USearchEngine, "PACKAGES", ("no-such-package",))
    with pytest.raises(UserError, match="usearch needs the package no-such-package, which is not installed"):
        plan("evaluate.engines=[usearch]")
    with pytest.raises(UserError, match=r"unknown engine 'usarch' \(did you mean 'usearch'\?\)"):
        plan("evaluate.engines=[usarch]")


def test_a_message_that_shows_a_wrong_value_does_not_repeat_it():
    with pytest.raises(UserError) as error:
        plan("evaluate.engines=[chroma]")
    assert str(error.value).count("chroma") == 1
