# What jobs are given: cores, GPUs, nodes, memory and time.
from functools import cache

CORES_OF_A_CLUSTERS_JOB = 8


def cores():
    """Of this machine as it was given; a cluster's jobs ask for so many unless the profile's set-threads says otherwise."""
    return workflow.cores or CORES_OF_A_CLUSTERS_JOB


@cache
def gpus_here():
    """How many this machine has; None where jobs run on others, of which nothing is known."""
    from qatlab.machine.gpu_count import count_gpus

    return None if workflow.non_local_exec else count_gpus()


def uses_gpu(job):
    return job.on_gpu and gpus_here() != 0


def of_each(kind, count):
    """One number where all jobs of a kind have the same, or else a function of wildcards, which takes Snakemake longer."""
    counts = {count(made) for made in JOBS_OF.get(kind, [])}
    if len(counts) == 1:
        return counts.pop()

    @asked_often
    def number(wildcards):
        return count(job(kind, wildcards))

    return number


def gpus(kind):
    """One for each process of a stage that can use a GPU; over several nodes, `gres` says it, for --gpus might be dealt unevenly."""
    return of_each(
        kind, lambda made: made.processes * int(made.nodes == 1 and uses_gpu(made))
    )


def of_several_nodes(kind, name):
    """What Slurm is told of a training on several nodes (a task each, which srun starts); else nothing."""

    def told(made):
        if made.nodes == 1:
            return None
        values = {
            "nodes": made.nodes,
            "tasks": made.nodes,
            "mpi": "srun",
            # of each node
            "gres": f"gpu:{made.processes}" if uses_gpu(made) else None,
            "tasks_per_gpu": 0,  # or the plugin takes `tasks` for it
        }
        return values[name]

    return of_each(kind, told)


def on_each_node(kind):
    """What stands before the command of a training on several nodes, within a job of Slurm; else nothing."""

    def command(made):
        srun = f"srun --nodes={made.nodes} --ntasks={made.nodes} --ntasks-per-node=1 --cpu-bind=none --kill-on-bad-exit=1"
        return f"${{SLURM_JOB_ID:+{srun}}} " if made.nodes > 1 else ""

    return of_each(kind, command)


def threads(kind):
    """As many as the study says, or all; where jobs share this machine's GPUs, each takes a GPU's share at least."""

    def count(made):
        if gpus_here() and uses_gpu(made):
            share = min(cores() // gpus_here() * made.processes, cores())
            return max(share, made.threads or 1)
        return made.threads or cores()

    return of_each(kind, count)


def growing(amount, kind=None):
    """Of memory or minutes: where they are reserved, another try asks for more.

    With a kind, each of a training's processes on a node has the amount.
    """
    processes = of_each(kind, lambda made: made.processes) if kind else 1

    def of_job(wildcards):
        return processes(wildcards) if callable(processes) else processes

    @asked_often
    def times(wildcards, attempt):
        return amount * attempt * of_job(wildcards)

    if workflow.non_local_exec:
        return times
    return (
        asked_often(lambda wildcards: amount * of_job(wildcards))
        if callable(processes)
        else amount * processes
    )
