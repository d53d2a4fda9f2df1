"""Tables and plots declare themselves: name, condition, title, caption and rows in one class."""

import re
import subprocess
import sys

import pytest
from docutils.core import publish_doctree

from conftest import PROJECT
from qatlab.plan.plan import load_study
from qatlab.plots.plot import PLOTS, plots_of
from qatlab.tables.table import TABLES, tables_of

CONF = PROJECT / "conf"


@pytest.fixture(scope="module")
def study():
    return load_study(CONF, "quickstart", "full").record()


def test_the_stage_makes_the_tables_that_the_plan_names(study):
    assert list(tables_of(study)) == list(study.views)
    assert "decomposition" in list(study.views)
    assert "published" not in list(study.views)


def test_places_of_tables_and_plots_are_unique():
    for registry in (TABLES, PLOTS):
        places = [registry.get(name).place for name in registry.names()]
        assert len(set(places)) == len(places)


def test_a_condition_depends_on_the_study_alone(study):
    runs = tuple(run.model_copy(update={"chains": ()}) for run in study.runs)
    without = study.model_copy(update={"runs": runs})
    assert set(tables_of(study)) - set(tables_of(without)) == {"decomposition"}
    assert set(plots_of(study)) - set(plots_of(without)) == {"waterfall"}


@pytest.mark.parametrize("registry", [TABLES, PLOTS], ids=["tables", "plots"])
def test_captions_are_restructured_text(registry):
    for name in registry.names():
        caption = registry.get(name).caption
        document = publish_doctree(caption, settings_overrides={"report_level": 2, "halt_level": 2})
        assert len(document.astext()) > 40, name


def test_captions_of_plots_have_two_sentences():
    for name in PLOTS.names():
        sentences = re.split(r"(?<=[.!?])\s+(?=[A-Z])", PLOTS.get(name).caption.strip())
        assert len(sentences) == 2, name


def test_plots_are_drawn_from_existing_tables():
    for name in PLOTS.names():
        assert set(PLOTS.get(name).tables) <= set(TABLES.names())


def test_evaluating_conditions_imports_no_slow_modules():
    code = (
        "import sys; from qatlab.tables.table import TABLES; from qatlab.plots.plot import PLOTS; "
        "TABLES.built_in, PLOTS.built_in; print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "qatlab.plots.pareto" in loaded
    assert not {"matplotlib", "scipy.stats", "faiss", "torch", "sklearn"} & set(loaded)
