"""What rules need of a plan survives its file; a job elsewhere imports and plans nothing."""

import subprocess
import sys

from conftest import PROJECT
from qatlab.plan.plan import load_study
from qatlab.plan.workflow import outline, read_outlines, write_outlines

CONF = PROJECT / "conf"


def test_what_is_read_is_what_was_written(tmp_path):
    outlines = [outline(load_study(CONF, "quickstart")), outline(load_study(CONF, "translation_qat_ptq", "small"))]
    write_outlines(outlines, {"train": "abc"}, tmp_path, "quickstart,translation_qat_ptq")
    assert read_outlines(tmp_path, "quickstart,translation_qat_ptq") == (outlines, {"train": "abc"})


def test_only_what_pytorch_computes_asks_for_a_gpu():
    jobs = outline(load_study(CONF, "quickstart", overrides=["encode.threads=3", "trainer.threads=2"])).jobs
    for path, job in jobs.items():
        kind, _, name = path.partition("/")
        with_torch = kind == "train" or (kind == "encode" and ("simulated" in name or "onnx" not in name))
        assert job.on_gpu == with_torch, path
        assert job.threads == {"train": 2, "encode": 3, "deploy": 1}.get(kind), path


def test_reading_it_imports_neither_hydra_nor_pydantic():
    code = "import sys, qatlab.plan.workflow, qatlab.stage_code, qatlab.machine.hardware, qatlab.tables.names; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "qatlab.plan.workflow" in loaded
    assert not {"hydra", "omegaconf", "pydantic", "numpy", "torch"} & set(loaded)


def test_a_plan_that_needs_nothing_of_the_hub_does_not_import_its_client():
    code = (
        "import sys; from pathlib import Path; from qatlab.plan.plan import load_study;"
        f"load_study(Path({str(CONF)!r}), 'quickstart'); print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "qatlab.hub" in loaded
    assert not {"huggingface_hub.hf_api", "huggingface_hub.errors", "torch", "scipy.stats", "matplotlib"} & set(loaded)
