"""What a study's weight schemes need of the machine that its jobs run on, asked before any job starts."""

import os
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from qatlab.config.weights import WeightsConfig
from qatlab.errors import UserError
from qatlab.machine.gpu_count import capabilities
from qatlab.study.config import RunConfig

CAPABILITY = (
    "QATLAB_COMPUTE_CAPABILITY"  # for planning on a machine that is not the one that computes, e.g. a login node
)


@dataclass(frozen=True)
class Need:
    """A CUDA compute capability, the GPUs that have it, and whether torchao's kernels come from the package mslk."""

    capability: tuple[int, int]
    gpus: str
    mslk: bool = False


# As torchao 0.18 asserts them when it converts a model.
NEEDS = {
    "float8": Need((8, 9), "Ada, Hopper or newer"),
    "float8_int4": Need((9, 0), "Hopper or newer", mslk=True),
    "int4_kernel": Need((9, 0), "Hopper or newer", mslk=True),
    "nvfp4": Need((10, 0), "Blackwell or newer"),
    "mxfp8": Need((10, 0), "Blackwell or newer"),
    "mxfp4": Need((10, 0), "Blackwell or newer"),
}


def check_hardware(runs: list[RunConfig]) -> None:
    """Raises UserError for a scheme that this machine's GPU or packages do not have, or a runtime that is not installed."""
    schemes: dict[str, WeightsConfig] = {}
    for config in runs:
        deployed = [deployment.simulated_by() for deployment in config.deploy.values()]
        schemes |= {s.name: s for s in (config.method.weights, *deployed) if s is not None and s.grid in NEEDS}
    for scheme in schemes.values():
        _check(scheme, NEEDS[scheme.grid])
    for name, deployment in runs[0].deploy.items():  # the same in all runs
        for extra, packages in deployment.needed_packages().items():
            missing = [package for package in packages if _version(package) is None]
            if missing:
                raise UserError(
                    f"deployment '{name}' needs {' and '.join(missing)}, which {'are' if missing[1:] else 'is'} not installed; "
                    f'pip install "qatlab[{extra}]"'
                )


def _check(scheme: WeightsConfig, need: Need) -> None:
    wanted = ".".join(map(str, need.capability))
    given = compute_capability()
    if given is None or given < need.capability:
        there = f"this machine's has {given[0]}.{given[1]}" if given else "this machine has none"
        raise UserError(
            f"weight scheme '{scheme.name}' needs a GPU of compute capability {wanted} ({need.gpus}); {there}. "
            f"Where jobs run on another machine, set {CAPABILITY} to what that one has"
        )
    if need.mslk and (_version("mslk") or (0,)) < (1,):
        raise UserError(
            f"weight scheme '{scheme.name}' needs the package mslk 1.0 or newer for its kernels; PyTorch's own package index has it"
        )


def compute_capability() -> tuple[int, int] | None:
    """The least of this machine's GPUs, or what QATLAB_COMPUTE_CAPABILITY says; None without a GPU. Asks no CUDA context."""
    said = os.environ.get(CAPABILITY)
    if said is not None:
        return _parsed(said, f"{CAPABILITY} is '{said}'; give major.minor, such as 9.0")
    return min((_parsed(line, f"nvidia-smi says '{line}'") for line in capabilities()), default=None)


def _parsed(text: str, otherwise: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    if not (major.isdecimal() and minor.isdecimal()):
        raise UserError(otherwise)
    return int(major), int(minor)


def _version(package: str) -> tuple[int, ...] | None:
    try:
        return tuple(int(part) for part in version(package).split(".")[:2] if part.isdecimal())
    except PackageNotFoundError:
        return None
