"""Rank of this machine among the nodes of a training, and the address of the first node.

Slurm sets both in the environment of the commands that srun starts. Other launchers that start the command on each node set the
variables of PyTorch's own launchers: NODE_RANK, MASTER_ADDR and MASTER_PORT.
"""

import os
import subprocess
from dataclasses import dataclass

from qatlab.errors import UserError

FIRST_PORT, PORTS = 20_000, 10_000  # the ports 20,000 to 29,999, below the ephemeral ports of operating systems
SLURM = ("SLURM_JOB_ID", "SLURM_NODEID", "SLURM_STEP_NODELIST", "SLURM_STEP_NUM_NODES", "SLURM_STEP_NUM_TASKS")
VARIABLES = ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Node:
    """A node of a distributed training: its rank, and the address and port at which all nodes reach the first one (rank 0)."""

    rank: int
    address: str
    port: int


ALONE = Node(0, "localhost", 0)


def this_node(nodes: int) -> Node:
    """Return the node that this machine is, as the environment describes it.

    Args:
        nodes: Number of nodes of the training.

    Raises:
        UserError: If the environment does not contain the rank, or describes another number of nodes.
    """
    if nodes == 1:
        return ALONE
    if any(name in os.environ for name in VARIABLES):
        return _from_variables(nodes)
    if all(name in os.environ for name in SLURM):
        return _from_slurm(nodes)
    raise UserError(
        f"trainer.distributed.nodes={nodes}: start the command on each node by {_srun(nodes)} in a Slurm job, "
        f"or with {', '.join(VARIABLES)} set"
    )


def _from_variables(nodes: int) -> Node:
    values = {name: os.environ.get(name, "") for name in VARIABLES}
    rank, address, port = values.values()
    if not (address and rank.isdecimal() and port.isdecimal() and int(rank) < nodes):
        settings = ", ".join(f"{name}='{value}'" for name, value in values.items())
        raise UserError(
            f"{settings}: trainer.distributed.nodes={nodes} requires a rank from 0 to {nodes - 1}, the address of the first node, "
            "and a port that is free there; set all three variables"
        )
    return Node(int(rank), address, int(port))


def _from_slurm(nodes: int) -> Node:
    job, rank, hosts, step_nodes, tasks = (os.environ[name] for name in SLURM)
    if int(step_nodes) != nodes or int(tasks) != nodes:
        raise UserError(
            f"trainer.distributed.nodes={nodes}, but this step of Slurm has {step_nodes} nodes and {tasks} tasks; start it by "
            f"{_srun(nodes)}"
        )
    first = _scontrol("hostnames", hosts).split()[0]
    address = dict(word.partition("=")[::2] for word in _scontrol("node", first).split())["NodeAddr"]
    return Node(int(rank), address, FIRST_PORT + int(job) % PORTS)


def _scontrol(entity: str, name: str) -> str:
    return subprocess.run(["scontrol", "show", entity, name], capture_output=True, text=True, check=True).stdout


def _srun(nodes: int) -> str:
    return f"`srun --nodes={nodes} --ntasks-per-node=1`"
