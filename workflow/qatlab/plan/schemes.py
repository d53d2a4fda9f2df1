"""Schemes of weights in the names of methods and deployments, and the hardware and packages that they need.

`check_hardware` refuses a deployment or a scheme on a machine that lacks them.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from qatlab.config.weights import SCHEMES, WeightsConfig
from qatlab.errors import UserError, unknown
from qatlab.machine.hardware import capabilities
from qatlab.study.config import RunConfig, StudyConfig

# Weight-quantization schemes in names: METHOD:SCHEME for methods, torchao:SCHEME for deployments.
#
# `baseline:int4` is the method `baseline` with `weights: int4`. `weights: [none, int8, int4]` in a study's matrix is short for every
# method with each of these schemes. `torchao:int4` is a deployment in PyTorch whose weights torchao quantizes to the scheme.

TORCHAO = "torchao"
NO_SCHEME = ("none", None)
FORMER_METHOD = re.compile(r"weight_(?P<scheme>\w+?)(?P<recipe>_lora_256|_lora_merged|_lora|_late)?")
FORMER_RECIPES = {
    None: "baseline",
    "_lora": "lora",
    "_lora_256": "lora_256",
    "_lora_merged": "lora_merged",
    "_late": "late_start",
}

# torchao does not support the grid of ONNX Runtime, which the deployment onnx_int8 uses.
TORCHAO_DEPLOYMENTS = {f"{TORCHAO}:{name}": name for name in SCHEMES if name != "onnx_int8"}


def torchao_deployments() -> dict[str, dict[str, object]]:
    """Return the fields of each deployment `torchao:SCHEME`, by its name."""
    return {name: {"backend": "torch", "weights": {"name": scheme}} for name, scheme in TORCHAO_DEPLOYMENTS.items()}


def method_overrides(choice: str) -> list[str]:
    """Return the overrides, in Hydra's grammar, for a method that is named METHOD or METHOD:SCHEME.

    Raises:
        UserError: for an unknown scheme.
    """
    method, colon, scheme = choice.partition(":")
    if not colon:
        return [f"method={method}"]
    check_scheme(scheme)
    return [f"method={method}", f"++method.name='{choice}'", f"++method.weights={{name:{scheme}}}"]


def check_scheme(name: object) -> None:
    """Raise UserError unless a name is the name of a scheme."""
    if name not in SCHEMES:
        raise unknown("scheme of weights", name, SCHEMES)


def check_choice(group: str, choice: Any, groups: Mapping[str, list[str]]) -> None:
    """Raise UserError unless a configuration group has a choice. For a former name, the message gives the current one."""
    name, colon, scheme = str(choice).partition(":")
    if group == "method" and colon:
        check_scheme(scheme)
        choice = name
    if choice in groups[group]:
        return
    renamed = current_name(group, str(choice))
    if renamed:
        raise UserError(f"{group} '{choice}' is called {renamed} now; write {group}: {renamed}")
    if group == "deploy" and name == TORCHAO and colon:
        check_scheme(scheme)
        raise UserError(
            f"{group} '{choice}': scheme {scheme} is ONNX Runtime's grid, not torchao's; deploy it as onnx_int8"
        )
    raise unknown(group, choice, groups[group])


def current_name(group: str, name: str) -> str | None:
    """Return the current name of a method or deployment by its former one, such as weight_int8; None for any other name."""
    if group == "deploy":
        renamed = f"{TORCHAO}:{name.removeprefix('torchao_')}"
        return renamed if name.startswith("torchao_") and renamed in TORCHAO_DEPLOYMENTS else None
    former = FORMER_METHOD.fullmatch(name)
    if group != "method" or former is None or former["scheme"] not in SCHEMES:
        return None
    return f"{FORMER_RECIPES[former['recipe']]}:{former['scheme']}"


def with_first(
    config: RunConfig,
    compose: Callable[[str], RunConfig],
    groups: Mapping[str, list[str]],
    later: tuple[str, ...] = (),
) -> RunConfig:
    """Return the configuration of a run with that of the training that its method starts from, and so on.

    Args:
        config: configuration of the run.
        compose: returns the configuration of the same cell with another method.
        groups: choices of each configuration group.
        later: methods that are trained after this one, the last of them first.

    Raises:
        UserError: for a method that does not exist, trains nothing, or starts from itself through others.
    """
    name, start = config.method.name, config.method.start_from
    if start is None:
        return config
    chain = (*later, name)
    if start.method in chain:
        raise UserError(
            f"method '{chain[0]}' never begins, because its start_from leads back: {', '.join([*chain, start.method])}; let one of them "
            "start from the base model"
        )
    try:
        check_choice("method", start.method, groups)
    except UserError as error:
        raise UserError(f"start_from of method '{name}': {error}") from None
    first = with_first(compose(start.method), compose, groups, chain)
    if not first.method.train:
        raise UserError(
            f"method '{name}' starts from '{start.method}', which trains nothing; leave start_from out to start from the base model"
        )
    return config.starting_from(first)


def with_methods(settings: StudyConfig, default: str, trains: Callable[[str], bool]) -> StudyConfig:
    """Return a study's settings in which `weights` of its matrix and excluded cells are replaced by methods.

    Args:
        settings: settings of the study.
        default: method of the study if its matrix has none.
        trains: returns whether a method trains; one that does not is listed once, without a scheme.

    Raises:
        UserError: for an unknown scheme, and for a method whose name contains a scheme already.
    """
    matrix = dict(settings.matrix)
    if "weights" not in matrix:
        return settings
    schemes = matrix.pop("weights")
    for scheme in schemes:
        if scheme not in NO_SCHEME:
            check_scheme(scheme)
    variants: dict[str, dict[str, object]] = {}
    for method in matrix.get("method", [default]):
        if ":" in str(method):
            raise UserError(
                f"study.matrix.method: '{method}' names a scheme, and study.matrix.weights sweeps schemes; leave one of them out"
            )
        used = schemes if trains(method) else [None]
        for scheme in used:
            name = method if scheme in NO_SCHEME else f"{method}:{scheme}"
            variants[name] = {"method": method, "weights": "none" if scheme in NO_SCHEME else scheme}
    exclude = [_with_method_names(entry, variants) for entry in settings.exclude]
    matrix = {"method": list(variants), **{key: values for key, values in matrix.items() if key != "method"}}
    return settings.model_copy(update={"matrix": matrix, "exclude": exclude})


def _with_method_names(entry: dict[str, object], variants: dict[str, dict[str, object]]) -> dict[str, object]:
    """Return an entry of `exclude` in which method and weights are replaced by the names of methods."""
    excluded = {key: _listed(entry[key]) for key in ("method", "weights") if key in entry}
    if not excluded:
        return entry
    names = [name for name, keys in variants.items() if all(keys[key] in values for key, values in excluded.items())]
    return {"method": names, **{key: value for key, value in entry.items() if key not in excluded}}


def _listed(value: Any) -> list[Any]:
    values = value if isinstance(value, list) else [value]
    return ["none" if item is None else item for item in values]


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
    """Raise UserError for a scheme or engine that this machine's GPU or packages do not support, or a missing runtime."""
    schemes: dict[str, WeightsConfig] = {}
    for config in runs:
        deployed = [deployment.simulated_by() for deployment in config.deploy.values()]
        schemes |= {s.name: s for s in (config.method.weights, *deployed) if s is not None and s.grid in NEEDS}
    for scheme in schemes.values():
        _check(scheme, NEEDS[scheme.grid])
    for engine in runs[0].evaluate.engines if runs[0].model.embeds else []:  # the same in all runs
        problem = engine.problem()
        if problem is not None:
            raise UserError(problem)
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
