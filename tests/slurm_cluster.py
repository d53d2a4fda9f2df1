"""Slurm cluster of one or several nodes on this machine, for tests: munged, slurmctld and slurmd of Debian's slurm-wlm.

A node has one GPU as a generic resource (its device file is /dev/null). Inside of jobs, Slurm's programs always read
/etc/slurm/slurm.conf, whatever the environment, so the cluster writes that file, unless it belongs to another cluster.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ETC = Path("/etc/slurm")
MARK = "# made by the tests of qatlab\n"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
CPUS, MEMORY_MB = 8, 16000  # configured sizes of the node; the jobs of the tests use less than they request
CONFIGURATION = """ClusterName=qatlab
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
SlurmctldPort={controller}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
ReturnToService=2
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
KillWait=10
SlurmdTimeout=20
NodeName=DEFAULT CPUs={cpus} RealMemory={memory} Gres=gpu:1 State=UNKNOWN
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str | None:
    """Return the reason why no cluster can run on this machine, or None."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (Debian: slurmctld slurmd slurm-client munge)"
    if os.geteuid() != 0:
        return "slurmctld and slurmd need root here"
    configuration = ETC / "slurm.conf"
    if configuration.exists() and not configuration.read_text().startswith(MARK):
        return f"{configuration} belongs to another cluster"
    return None


@contextmanager
def slurm_cluster(folder: Path, nodes: int = 1) -> Iterator["SlurmCluster"]:
    """Run a cluster with its state and logs in a folder, and stop it at the end of the context."""
    cluster = SlurmCluster(folder, nodes)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


class SlurmCluster:
    """Daemons of a cluster, which tests may kill and restart."""

    def __init__(self, folder: Path, nodes: int = 1) -> None:
        self.folder = folder
        self.nodes = [f"slurmd{number}" if number else "slurmd" for number in range(nodes)]
        self.processes: dict[str, subprocess.Popen] = {}

    def start(self) -> None:
        """Start all daemons; return when the nodes accept jobs."""
        host = socket.gethostname().partition(".")[0]
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        (self.folder / "munge.key").write_bytes(os.urandom(1024))
        (self.folder / "munge.key").chmod(0o400)
        ETC.mkdir(exist_ok=True)
        configuration = CONFIGURATION.format(
            host=host,
            folder=self.folder,
            controller=_free_port(),
            nodes="\n".join(
                f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={_free_port()}" for name in self.nodes
            ),
            cpus=CPUS,
            memory=MEMORY_MB,
        )
        (ETC / "slurm.conf").write_text(MARK + configuration)
        (ETC / "gres.conf").write_text(MARK + "Name=gpu File=/dev/null\n")
        munge_options = {
            "key-file": "munge.key",
            "socket": "munge.socket",
            "pid-file": "munged.pid",
            "log-file": "munged.log",
        }
        options = [f"--{option}={self.folder / name}" for option, name in munge_options.items()]
        self.run("munged", "--foreground", "--force", f"--seed-file={self.folder / 'munge.seed'}", *options)
        self._wait("munged", lambda: (self.folder / "munge.socket").exists())
        self.run("slurmctld", "-D")
        for name in self.nodes:
            (self.folder / "spool" / name).mkdir()
            self.run("slurmd", "-D", "-N", name, called=name)
        every = f"{len(self.nodes)} idle"
        self._wait(self.nodes[-1], lambda: self.ask("sinfo", "--noheader", "--format=%D %T").strip() == every)

    def run(self, name: str, *arguments: str, called: str | None = None) -> None:
        """Start a daemon; `called` is its name if several run the same program."""
        with (self.folder / f"{called or name}.out").open("ab") as output:
            self.processes[called or name] = subprocess.Popen(
                [name, *arguments], stdout=output, stderr=output, env=environment(), start_new_session=True
            )

    def node(self) -> str:
        """Return the state of the node, such as idle or down."""
        return self.ask("sinfo", "--noheader", "--format=%T").strip()

    def ask(self, *command: str) -> str:
        """Return the output of one of Slurm's commands."""
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment()).stdout

    def stop(self) -> None:
        """Kill all jobs, then all daemons, so that no job outlives its cluster."""
        if "slurmctld" in self.processes:
            self.ask("scancel", "--full", "--signal=KILL", "--user=root")
        for process in reversed(self.processes.values()):
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
        for name in ("slurm.conf", "gres.conf"):
            if (ETC / name).exists() and (ETC / name).read_text().startswith(MARK):
                (ETC / name).unlink()

    def _wait(self, name: str, ready: Callable[[], bool], seconds: float = 60) -> None:
        until = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > until or self.processes[name].poll() is not None:
                logs = "".join(path.read_text(errors="replace")[-2000:] for path in self.folder.glob("*.log"))
                raise RuntimeError(f"{name} did not start:\n{logs}")
            time.sleep(0.2)


def environment() -> dict[str, str]:
    """Return the environment with the folders of the daemons in PATH."""
    return {**os.environ, "PATH": _path()}


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
