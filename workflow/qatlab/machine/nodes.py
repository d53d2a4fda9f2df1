"""Which of a training's nodes this machine is, and where the first one is found.

Slurm says it to each of the commands that srun starts. Anything else that starts the command on each node says it by the
variables that PyTorch's own launchers read: NODE_RANK, MASTER_ADDR and MASTER_PORT.
"""

import os
import subprocess
from dataclasses import dataclass

from qatlab.errors import UserError

FIRST_PORT, PORTS = 20_000, 10_000  # below those that systems give to whoever asks for any
SLURM = ("SLURM_JOB_ID", "SLURM_NODEID", "SLURM_STEP_NODELIST", "SLURM_STEP_NUM_NODES", "SLURM_STEP_NUM_TASKS")
VARIABLES = ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Node:
    """A node's number, and the address and port at which the first one (number 0) can be reached by all."""

    rank: int
    address: str
    port: int


ALONE = Node(0, "localhost", 0)


def this_node(nodes: int) -> Node:
    """Of so many nodes. Raises UserError where the environment does not say which one this is, or of how many."""
    if nodes == 1:
        return ALONE
    if any(name in os.environ for name in VARIABLES):
        return _told(nodes)
    if all(name in os.environ for name in SLURM):
        return _of_slurm(nodes)
    raise UserError(
        f"trainer.distributed.nodes={nodes}: start the command on each node by {_srun(nodes)} in a Slurm job, "
        f"or with {', '.join(VARIABLES)} set"
    )


def _told(nodes: int) -> Node:
    values = {name: os.environ.get(name, "") for name in VARIABLES}
    rank, address, port = values.values()
    if not (address and rank.isdecimal() and port.isdecimal() and int(rank) < nodes):
        said = ", ".join(f"{name}='{value}'" for name, value in values.items())
        raise UserError(
            f"{said}: for trainer.distributed.nodes={nodes} they are a number from 0 to {nodes - 1}, the first node's address, "
            "and a port that is free there"
        )
    return Node(int(rank), address, int(port))


def _of_slurm(nodes: int) -> Node:
    job, rank, hosts, given, tasks = (os.environ[name] for name in SLURM)
    if int(given) != nodes or int(tasks) != nodes:
        raise UserError(
            f"trainer.distributed.nodes={nodes}, but this step of Slurm has {given} nodes and {tasks} tasks: start it by {_srun(nodes)}"
        )
    first = _scontrol("hostnames", hosts).split()[0]
    address = dict(word.partition("=")[::2] for word in _scontrol("node", first).split())["NodeAddr"]
    return Node(int(rank), address, FIRST_PORT + int(job) % PORTS)


def _scontrol(what: str, name: str) -> str:
    return subprocess.run(["scontrol", "show", what, name], capture_output=True, text=True, check=True).stdout


def _srun(nodes: int) -> str:
    return f"`srun --nodes={nodes} --ntasks-per-node=1`"
