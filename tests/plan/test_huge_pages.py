"""PyTorch uses huge pages in jobs, where the kernel permits them, unless the user decides otherwise."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qatlab.plan.workflow import HUGE_PAGES, use_huge_pages

PERMITTED = Path("/sys/kernel/mm/transparent_hugepage/enabled")
MEGABYTES = 64
IN_HUGE_PAGES = f"""
import torch
memory = torch.ones({MEGABYTES} * 2**18)
print(sum(int(line.split()[1]) for line in open("/proc/self/smaps") if line.startswith("AnonHugePages:")) // 1024)
"""


@pytest.fixture
def variables(monkeypatch):
    monkeypatch.setattr(os, "environ", {name: value for name, value in os.environ.items() if name != HUGE_PAGES})
    return os.environ


def test_jobs_ask_for_huge_pages(variables):
    use_huge_pages()
    assert variables[HUGE_PAGES] == "1"


def test_a_variable_that_the_user_has_set_stays(variables):
    variables[HUGE_PAGES] = "0"
    use_huge_pages()
    assert variables[HUGE_PAGES] == "0"


@pytest.mark.skipif(
    not PERMITTED.exists() or "[madvise]" not in PERMITTED.read_text(),
    reason="this kernel gives huge pages to every program, or to none",
)
def test_this_release_of_pytorch_reads_the_variable(variables):
    def megabytes():
        done = subprocess.run(
            [sys.executable, "-c", IN_HUGE_PAGES], env=variables, capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    without = megabytes()
    use_huge_pages()
    assert megabytes() >= without + MEGABYTES / 2
