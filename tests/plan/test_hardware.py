"""Schemes are refused where the machine cannot run them, in one line, before any job."""

import os

import pytest

from conftest import PROJECT
from qatlab.errors import UserError
from qatlab.machine.hardware import count_gpus
from qatlab.plan.plan import load_study
from qatlab.plan.schemes import CAPABILITY, compute_capability


def plan(*overrides):
    return load_study(PROJECT / "conf", "quickstart", overrides=overrides)


@pytest.fixture
def no_gpu(monkeypatch, tmp_path):
    monkeypatch.delenv(CAPABILITY, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """A machine whose nvidia-smi lists GPUs of these compute capabilities."""

    def of(*capabilities):
        monkeypatch.delenv(CAPABILITY, raising=False)
        program = tmp_path / "nvidia-smi"
        lines = "\\n".join(capabilities)
        program.write_text(f'#!/bin/sh\n[ "$1" = --query-gpu=compute_cap ] && printf "{lines}\\n"\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    return of


def test_the_least_gpu_counts(gpu):
    gpu("9.0", "8.6", "12.0")
    assert compute_capability() == (8, 6)


@pytest.mark.parametrize(("listed", "count"), [(None, 3), ("0,2", 2), ("1", 1), ("", 0), ("0,1,2,3", 3)])
def test_gpus_are_counted_and_those_that_a_job_may_not_see_are_not(gpu, monkeypatch, listed, count):
    gpu("9.0", "8.6", "12.0")
    if listed is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert count_gpus() == count


def test_without_a_gpu_it_is_none_and_a_login_node_can_say(no_gpu, monkeypatch):
    assert compute_capability() is None
    assert count_gpus() == 0
    monkeypatch.setenv(CAPABILITY, "10.0")
    assert compute_capability() == (10, 0)
    monkeypatch.setenv(CAPABILITY, "hopper")
    with pytest.raises(UserError, match=r"is 'hopper'; give major\.minor"):
        compute_capability()


@pytest.mark.parametrize(
    ("scheme", "needed"),
    [
        ("float8", "8.9"),
        ("float8_int4", "9.0"),
        ("int4_kernel", "9.0"),
        ("nvfp4", "10.0"),
        ("mxfp8", "10.0"),
        ("mxfp4", "10.0"),
    ],
)
def test_methods_and_deployments_are_refused_without_a_gpu(no_gpu, scheme, needed):
    message = f"weight scheme '{scheme}' needs a GPU of compute capability {needed} .*this machine has no GPU"
    with pytest.raises(UserError, match=message):
        plan(f"study.matrix.method=[baseline:{scheme}]")
    with pytest.raises(UserError, match=message):
        plan(f"deploy=[torch_fp32,torchao:{scheme}]", "study.matrix.method=[untrained]")


def test_an_older_gpu_is_named(gpu):
    gpu("8.0")
    with pytest.raises(UserError, match=r"compute capability 8\.9 \(Ada, Hopper or newer\); this machine's has 8\.0"):
        plan("study.matrix.method=[baseline:float8]")


def test_a_gpu_that_has_it_is_planned_for_and_a_missing_package_is_named(gpu):
    gpu("9.0")
    study = plan("study.matrix.method=[baseline,baseline:float8]", "deploy=[torch_fp32,torchao:float8]")
    matched = {run.method: run.matched for run in study.record().runs}
    assert matched["baseline:float8"] == {"torchao:float8": "float8"}
    with pytest.raises(UserError, match=r"'int4_kernel' needs the package mslk 1\.0 or newer"):
        plan("study.matrix.method=[baseline:int4_kernel]")


@pytest.mark.parametrize(
    ("deployment", "missing", "named"),
    [
        (
            "openvino_int8",
            {"openvino", "nncf"},
            r'needs openvino and nncf, which are not.*pip install "qatlab\[openvino\]"',
        ),
        ("onnx_int8", {"onnxscript"}, r'needs onnxscript, which is not installed; pip install "qatlab\[onnx\]"'),
        ("onnx_fp32", {"optimum-onnx"}, r'needs optimum-onnx, which is not installed; pip install "qatlab\[optimum\]"'),
    ],
)
def test_a_package_that_is_not_installed_is_named(deployment, missing, named, monkeypatch):
    monkeypatch.setattr("qatlab.plan.schemes._version", lambda package: None if package in missing else (1, 0))
    others = [f"deploy=[torch_fp32,{deployment}]", "study.matrix.method=[untrained]"]
    if "optimum-onnx" in missing:
        others.append(f"++deploy.{deployment}.exporter=optimum")
    with pytest.raises(UserError, match=f"'{deployment}' {named}"):
        plan(*others)
