# Resources of jobs: cores, GPUs and nodes; and memory and minutes, of which each rule names the amount as `growing(…)`.
from functools import cache

CORES_OF_CLUSTER_JOBS = 8


def cores():
    """Return the cores that Snakemake may use; on a cluster, a default per job that `set-threads` of the profile overrides."""
    return workflow.cores or CORES_OF_CLUSTER_JOBS


@cache
def gpus_here():
    """Return the number of GPUs of this machine; None if jobs run on other machines, whose GPUs are unknown."""
    from qatlab.machine.hardware import count_gpus

    return None if workflow.non_local_exec else count_gpus()


def uses_gpu(job):
    """Return whether a planned job runs on a GPU."""
    return job.on_gpu and gpus_here() != 0


def resource(kind, value_of):
    """Return the value that all jobs of a kind share, or else a function of wildcards, which takes Snakemake longer."""
    values = {value_of(planned_job) for planned_job in JOBS_OF.get(kind, [])}
    if len(values) == 1:
        return values.pop()

    @with_cached_signature
    def value(wildcards):
        return value_of(job(kind, wildcards))

    return value


def gpus(kind):
    """Return one GPU per process of a stage that can use one; 0 on several nodes, where `gres` sets it, as --gpus may be uneven."""

    def count(planned_job):
        return planned_job.processes * int(
            planned_job.nodes == 1 and uses_gpu(planned_job)
        )

    return resource(kind, count)


def slurm_option(kind, name):
    """Return one of Slurm's options for a training on several nodes, with one task per node, started by srun; else None."""

    def option(planned_job):
        if planned_job.nodes == 1:
            return None
        values = {
            "nodes": planned_job.nodes,
            "tasks": planned_job.nodes,
            "mpi": "srun",
            # `gres` is a number per node.
            "gres": (f"gpu:{planned_job.processes}" if uses_gpu(planned_job) else None),
            "tasks_per_gpu": 0,  # without it, the plugin uses `tasks`
        }
        return values[name]

    return resource(kind, option)


def on_each_node(kind):
    """Return the prefix of the command of a training on several nodes, effective within a Slurm job; else an empty string."""

    def prefix(planned_job):
        nodes = planned_job.nodes
        srun = f"srun --nodes={nodes} --ntasks={nodes} --ntasks-per-node=1 --cpu-bind=none --kill-on-bad-exit=1"
        return f"${{SLURM_JOB_ID:+{srun}}} " if nodes > 1 else ""

    return resource(kind, prefix)


def threads(kind):
    """Return the cores that the study sets, or all; a job on a GPU of this machine takes at least the cores per GPU."""

    def count(planned_job):
        if gpus_here() and uses_gpu(planned_job):
            share = min(cores() // gpus_here() * planned_job.processes, cores())
            return max(share, planned_job.threads or 1)
        return planned_job.threads or cores()

    return resource(kind, count)


def growing(amount, kind=None):
    """Return an amount of memory or minutes, which grows with each attempt where a cluster reserves it.

    Args:
        amount: MB or minutes of the first attempt.
        kind: of jobs for which the amount is per process; None for an amount per job.
    """
    processes = resource(kind, lambda planned_job: planned_job.processes) if kind else 1

    def count(wildcards):
        return processes(wildcards) if callable(processes) else processes

    @with_cached_signature
    def times(wildcards, attempt):
        return amount * attempt * count(wildcards)

    if workflow.non_local_exec:
        return times
    return (
        with_cached_signature(lambda wildcards: amount * count(wildcards))
        if callable(processes)
        else amount * processes
    )
