"""Two jobs never claim the same GPU while another is free."""

import os
import subprocess
import sys

CLAIM = """
import sys
from pathlib import Path
from qatlab.training.gpu import claim_gpu
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
