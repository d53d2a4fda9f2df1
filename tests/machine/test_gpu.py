"""Two jobs never claim the same GPU while another one is free."""

import os
import subprocess
import sys

import pytest

from qatlab.errors import UserError
from qatlab.machine.hardware import claim_gpus

CLAIM = """
import sys
from pathlib import Path
from qatlab.machine.hardware import claim_gpu
print(claim_gpu(["0", "1"], Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


def claiming(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", CLAIM, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    return process, process.stdout.readline().strip()


def test_jobs_take_different_gpus_and_free_them_when_they_end(tmp_path):
    first, one = claiming(tmp_path)
    second, two = claiming(tmp_path)
    third, shared = claiming(tmp_path)
    assert {one, two} == {"0", "1"}
    assert shared == "0"  # the profile allowed three jobs on two GPUs
    for process in (first, second, third):
        process.communicate("")
    fourth, again = claiming(tmp_path)
    assert again == "0"
    fourth.communicate("")


def test_a_job_of_several_processes_claims_free_gpus_first(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    other, taken = claiming(tmp_path)
    assert taken == "0"
    assert claim_gpus(["0", "1", "2", "3"], 3, tmp_path) == ["1", "2", "3"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1,2,3"
    other.communicate("")


def test_fewer_gpus_than_processes_raise_a_one_line_error(tmp_path):
    with pytest.raises(
        UserError, match=r"trainer.distributed.processes=4 needs 4 GPUs on each node, but 2 can be used here"
    ):
        claim_gpus(["0", "1"], 4, tmp_path)
    assert claim_gpus([], 4, tmp_path) == []  # a machine without GPUs computes on its CPU
