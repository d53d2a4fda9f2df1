"""Hardware and packages that a study's deployments and schemes require, checked before any job starts."""

import os
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from qatlab.config.weights import WeightsConfig
from qatlab.errors import UserError
from qatlab.machine.hardware import capabilities
from qatlab.study.config import RunConfig

# For planning on a machine that does not run the jobs, such as a login node.
CAPABILITY = "QATLAB_COMPUTE_CAPABILITY"


@dataclass(frozen=True)
class Need:
    """Required CUDA compute capability, GPUs that have it, and whether torchao's kernels need the package mslk."""

    capability: tuple[int, int]
    gpus: str
    mslk: bool = False


# torchao 0.18 asserts these capabilities when it converts a model.
NEEDS = {
    "float8": Need((8, 9), "Ada, Hopper or newer"),
    "float8_int4": Need((9, 0), "Hopper or newer", mslk=True),
    "int4_kernel": Need((9, 0), "Hopper or newer", mslk=True),
    "nvfp4": Need((10, 0), "Blackwell or newer"),
    "mxfp8": Need((10, 0), "Blackwell or newer"),
    "mxfp4": Need((10, 0), "Blackwell or newer"),
}


def check_hardware(runs: list[RunConfig]) -> None:
    """Raise UserError for a scheme that this machine's GPU or packages do not support, or a missing runtime."""
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
    required = ".".join(map(str, need.capability))
    available = compute_capability()
    if available is None or available < need.capability:
        reason = f"this machine's has {available[0]}.{available[1]}" if available else "this machine has no GPU"
        raise UserError(
            f"weight scheme '{scheme.name}' needs a GPU of compute capability {required} ({need.gpus}); {reason}. "
            f"Where jobs run on another machine, set {CAPABILITY} to its compute capability"
        )
    if need.mslk and (_version("mslk") or (0,)) < (1,):
        raise UserError(
            f"weight scheme '{scheme.name}' needs the package mslk 1.0 or newer for its kernels; PyTorch's own package index has it"
        )


def compute_capability() -> tuple[int, int] | None:
    """Return the lowest compute capability of this machine's GPUs, without a CUDA context; None without a GPU.

    The environment variable QATLAB_COMPUTE_CAPABILITY overrides it.

    Raises:
        UserError: for a malformed compute capability.
    """
    override = os.environ.get(CAPABILITY)
    if override is not None:
        return _parsed(override, f"{CAPABILITY} is '{override}'; give major.minor, such as 9.0")
    return min(
        (
            _parsed(line, f"nvidia-smi reported the compute capability '{line}', which is not major.minor")
            for line in capabilities()
        ),
        default=None,
    )


def _parsed(text: str, message: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    if not (major.isdecimal() and minor.isdecimal()):
        raise UserError(message)
    return int(major), int(minor)


def _version(package: str) -> tuple[int, ...] | None:
    try:
        return tuple(int(part) for part in version(package).split(".")[:2] if part.isdecimal())
    except PackageNotFoundError:
        return None
