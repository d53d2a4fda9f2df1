"""Rank and address of a node, from Slurm's srun or from the variables of PyTorch's launchers."""

import pytest

from qatlab.errors import UserError
from qatlab.training.launch import ALONE, SLURM, VARIABLES, Node, this_node

SCONTROL = """#!/bin/sh
[ "$*" = "show hostnames gpu[07-08]" ] && printf 'gpu07\\ngpu08\\n'
[ "$*" = "show node gpu07" ] && printf 'NodeName=gpu07 Arch=x86_64\\n   NodeAddr=10.0.0.7 NodeHostName=gpu07\\n'
true
"""
SLURM_VALUES = dict(zip(SLURM, ("123456", "1", "gpu[07-08]", "2", "2"), strict=True))
LAUNCHER_VALUES = dict(zip(VARIABLES, ("1", "10.0.0.1", "29500"), strict=True))


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch):
    for name in (*SLURM, *VARIABLES):
        monkeypatch.delenv(name, raising=False)


def set_variables(monkeypatch, values):
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def test_one_node_ignores_the_environment(monkeypatch):
    set_variables(monkeypatch, LAUNCHER_VALUES | SLURM_VALUES)
    assert this_node(1) == ALONE


def test_slurm_sets_rank_and_address(monkeypatch, tmp_path):
    program = tmp_path / "scontrol"
    program.write_text(SCONTROL)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    set_variables(monkeypatch, SLURM_VALUES)
    assert this_node(2) == Node(1, "10.0.0.7", 23456)


def test_variables_take_precedence_over_slurm(monkeypatch):
    set_variables(monkeypatch, SLURM_VALUES | LAUNCHER_VALUES)
    assert this_node(2) == Node(1, "10.0.0.1", 29500)


MISTAKES = [
    (
        {},
        r"trainer.distributed.nodes=2: start the command on each node by `srun --nodes=2 --ntasks-per-node=1` in a Slurm job",
    ),
    (
        LAUNCHER_VALUES | {"NODE_RANK": "2"},
        r"NODE_RANK='2', .* requires a rank from 0 to 1, the address of the first node",
    ),
    ({"NODE_RANK": "0"}, r"MASTER_ADDR='', MASTER_PORT=''"),
    (
        SLURM_VALUES | {"SLURM_STEP_NUM_NODES": "1"},
        r"this step of Slurm has 1 nodes and 2 tasks; start it by `srun --nodes=2",
    ),
]


@pytest.mark.parametrize(("values", "message"), MISTAKES)
def test_missing_or_invalid_variables_raise_a_one_line_error(monkeypatch, values, message):
    set_variables(monkeypatch, values)
    with pytest.raises(UserError, match=message):
        this_node(2)
