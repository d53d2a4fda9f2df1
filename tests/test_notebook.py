"""The notebook that reads a study's tables: its cells run on tables that the stage `tables` writes, and draw what those hold."""

import json
import warnings

import matplotlib as mpl
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest

from conftest import PROJECT
from qatlab.job import JobDescription
from qatlab.stages import tables
from shipped import write_study

NOTEBOOK = PROJECT / "docs" / "notebooks" / "read_a_study.ipynb"
QUERIES = np.random.default_rng(0).uniform(0.6, 1.0, size=400)
SHIFTS = {"float32": 0.0, "int8": 0.001, "binary": -0.03}
METHODS = {"baseline": 0.0, "ste": 0.01}
SCORES = {
    (method, deployment, precision): [
        QUERIES + shift + better - less + np.random.default_rng(seed).normal(0, 0.01, 400)
    ]
    for seed, (method, better) in enumerate(METHODS.items())
    for deployment, less in {"torch_fp32": 0.0, "torchao:int8": 0.002}.items()
    for precision, shift in SHIFTS.items()
}


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A finished study in the working directory; the notebook starts two folders below it."""
    results = tmp_path / "results"
    record = write_study(results, SCORES, name="quickstart")
    home = results / "studies" / "quickstart"
    home.mkdir(parents=True)
    tables.run(JobDescription(config=record.model_dump(mode="json")), {"results": results}, home, None)
    here = tmp_path / "docs" / "notebooks"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)


def executed(notebook):
    """Run the cells in their order; return their variables and the plots that they have drawn."""
    variables = {}
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*non-interactive.*")  # plt.show()
        plt.switch_backend("agg")
        plt.close("all")
        for cell in notebook.cells:
            if cell.cell_type == "code":
                exec(compile(cell.source, NOTEBOOK.name, "exec"), variables)
        figures = [plt.figure(number) for number in plt.get_fignums()]
        for figure in figures:
            figure.canvas.draw()
    return variables, figures


def test_it_draws_what_the_tables_hold(notebook, study):
    variables, figures = executed(notebook)
    assert len(figures) == 3
    levels = variables["levels"]["value"]
    for (method, deployment, precision), scores in SCORES.items():
        assert levels[deployment, method, precision] == pytest.approx(np.mean(scores), abs=1e-6)
    assert list(variables["precisions"]) == ["float32", "int8", "binary"]
    differences = variables["differences"]
    assert set(differences["method"]) == {"ste"}
    assert len(differences) == 6
    assert ((differences["low"] < differences["difference"]) & (differences["difference"] < differences["high"])).all()
    assert differences["difference"].between(0.005, 0.015).all()
    frontier, outputs = variables["frontier"], variables["outputs"]
    for row in frontier.itertuples():
        assert not ((outputs["doc_bytes"] <= row.doc_bytes) & (outputs["value"] > row.value)).any()
    assert frontier["doc_precision"].iloc[-1] == "int8"  # float32 is not better, and four times as large
    for figure in figures:
        assert any(axis.get_title() for axis in figure.axes)
        assert figure.axes[0].get_xlabel()
        drawn = [np.ravel(line.get_ydata()).astype(float) for axis in figure.axes for line in axis.lines]
        assert sum(np.isfinite(values).sum() for values in drawn) >= 6
    plt.close("all")


def test_a_study_that_has_not_run_is_a_message_with_the_command(notebook, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"run: snakemake --cores all --config study=quickstart"):
        executed(notebook)


def test_it_is_stored_as_it_ran(notebook):
    """Each cell has run once, in order; each plot is stored, and no path of the machine."""
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]
    pictures = [output for cell in code for output in cell.outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 3
    assert all(cell.outputs for cell in code[1:])
    assert not any(output.output_type in ("error", "stream") for cell in code for output in cell.outputs)
    texts = json.dumps([output for cell in code for output in cell.outputs if output not in pictures])
    assert not any(folder in texts for folder in ("/home/", "/root/", "/tmp/"))
    assert NOTEBOOK.stat().st_size < 400_000
