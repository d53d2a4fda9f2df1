"""Hydra composition of a study: group choices and overrides in, one validated RunConfig per cell of the matrix out."""

import copy
import itertools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import BaseModel, ValidationError

from qatlab.config.mistakes import LONGEST_SHOWN, describe
from qatlab.errors import UserError, unknown
from qatlab.plan.safe_files import check_files, check_override, check_overrides
from qatlab.plan.schemes import (
    TORCHAO_DEPLOYMENTS,
    check_choice,
    method_overrides,
    store_deployments,
    with_methods,
)
from qatlab.study.config import RunConfig, StudyConfig

Model = TypeVar("Model", bound=BaseModel)

# Hydra raises Python's own errors for defaults lists and files that are none.
LIBRARY_ERRORS = (HydraException, OmegaConfBaseException, ValueError, TypeError, AttributeError, AssertionError)
# What decides which model is trained may be swept; every run is then deployed and evaluated in all ways the study lists.
FULL_SCALE = "full"
SWEEPABLE = ("model", "data", "method", "weights", "trainer", "seed")
COLON = "__colon__"  # in keys such as deploy.torchao:int4.dtype while Hydra parses them: its grammar has no ':' there
store_deployments()


def group_options(conf: Path) -> dict[str, list[str]]:
    """Return the Hydra groups of a configuration folder and the choices in each, deployments of schemes included."""
    groups = {
        folder.name: sorted(file.stem for file in folder.glob("*.yaml"))
        for folder in sorted(conf.iterdir())
        if folder.is_dir()
    }
    return {**groups, "deploy": [*groups.get("deploy", []), *TORCHAO_DEPLOYMENTS]}


def compose_runs(
    conf: Path, study: str, scale: str | None = None, overrides: Iterable[str] = ()
) -> list[tuple[dict[str, object], RunConfig]]:
    """(matrix cell, configuration) of each run of a study, in the order of its matrix.

    `overrides` are in Hydra's override grammar. Raises UserError, in one line, for anything a user can mend.
    """
    check_files(conf)
    groups = group_options(conf)
    if study not in groups.get("study", []):
        raise unknown("study", study, groups.get("study", []))
    user_overrides = list(overrides)
    with initialize_config_dir(version_base="1.3", config_dir=str(conf.resolve())):
        try:
            if scale not in (None, FULL_SCALE):
                scales = _section(StudyConfig, _compose([f"study={study}"], groups), "study").scales
                if scale not in scales:
                    raise unknown("scale", scale, [*scales, FULL_SCALE])
                user_overrides = scales[scale] + user_overrides
            runs = _matrix_runs(study, user_overrides, groups)
            asked_for = any(o.key_or_group == "study.decomposition" for o in _parsed(user_overrides))
            return runs if asked_for else _without_what_was_left_out(runs, study, groups)
        finally:
            GlobalHydra.instance().clear()


def stands_for(conf: Path, study: str, scale: str | None = None) -> dict[str, dict[str, object]]:
    """What names at a scale stand for in the study as its file has it: by matrix key, `task`, `texts` and `deploy`, by name.

    A scale that keeps the matrix lists as many values, of which each stands for the one at its place. A key with fewer or
    more is left out: nothing tells which is which.
    """
    check_files(conf)
    groups = group_options(conf)
    with initialize_config_dir(version_base="1.3", config_dir=str(conf.resolve())):
        try:
            written = _named(_compose([f"study={study}"], groups), groups)
            if scale in (None, FULL_SCALE):
                scaled = written
            else:
                scales = _section(StudyConfig, _compose([f"study={study}"], groups), "study").scales
                scaled = _named(_compose([f"study={study}", *scales[scale]], groups), groups)
        finally:
            GlobalHydra.instance().clear()
    return {
        key: {str(there): full for there, full in zip(scaled[key], names, strict=True)}
        for key, names in written.items()
        if len(scaled.get(key, [])) == len(names)
    }


def _named(config: DictConfig, groups: dict[str, list[str]]) -> dict[str, list[Any]]:
    """The values of each matrix key, and the names of deployments, tasks and sets of texts."""
    listed = {group: list(config.get(group, {})) for group in ("deploy", "task", "texts")}
    return {**_settings(config, [], groups).matrix, **listed}


def _settings(config: DictConfig, base: list[str], groups: dict[str, list[str]]) -> StudyConfig:
    """Return a study's settings, with the schemes that its matrix sweeps as methods."""
    settings = _section(StudyConfig, config, "study")
    if "weights" not in settings.matrix:
        return settings

    def trains(method: str) -> bool:
        check_choice("method", method, groups)
        return bool(_compose([*base, f"method={method}"], groups).method.get("train", True))

    return with_methods(settings, config.method.name, trains)


def _matrix_runs(
    study: str, overrides: list[str], groups: dict[str, list[str]]
) -> list[tuple[dict[str, object], RunConfig]]:
    base = [f"study={study}", *overrides]
    composed_base = _compose(base, groups)
    _check_matrix(_section(StudyConfig, composed_base, "study"), overrides, groups)
    settings = _settings(composed_base, base, groups)
    choices_of = {key: values for key, values in settings.matrix.items() if key in groups}
    scalars_of = {key: values for key, values in settings.matrix.items() if key not in groups}
    composed: dict[tuple[Any, ...], _Composed] = {}
    runs = []
    for values in itertools.product(*settings.matrix.values()):
        cell = dict(zip(settings.matrix, values, strict=True))
        if any(_matches(cell, entry) for entry in settings.exclude):
            continue
        choice = tuple(cell[key] for key in choices_of)
        if choice not in composed:
            # One compose per choice of groups: scalars are set on what it gave.
            composed[choice] = _Composed(
                _compose([*base, *(f"{key}={cell[key]}" for key in choices_of)], groups), list(scalars_of)
            )
        runs.append((cell, composed[choice].run({key: cell[key] for key in scalars_of})))
    if not runs:
        raise UserError(f"study '{study}' has no runs: its exclude list leaves out every cell of its matrix")
    return runs


class _Composed:
    """A composed choice of groups, of which there is a run for each value of the matrix's scalars.

    OmegaConf's copies and a whole validation are most of the time that a run takes to plan. So plain values are shared where no
    interpolation reaches from one key to another, and validated sections where no scalar is theirs.
    """

    def __init__(self, config: DictConfig, scalars: list[str]) -> None:
        self.config = config
        written = yaml.safe_dump(OmegaConf.to_container(config))
        values: Any = OmegaConf.to_container(config, resolve=True) if "${" not in written else None
        self.values: dict[str, object] | None = values
        self.changing = {key.partition(".")[0] for key in scalars}
        self.sections: dict[str, object] = {}

    def run(self, scalars: dict[str, object]) -> RunConfig:
        """The valid configuration with these values. Raises UserError."""
        if not self.sections or self.values is None:
            config = copy.deepcopy(self.config)
            for key, value in scalars.items():
                OmegaConf.update(config, key, value, merge=False, force_add=True)
            run = _validated(RunConfig, config)
            self.sections = {name: section for name, section in run if name not in self.changing}
            return run
        values = self.values
        for key, value in scalars.items():
            values = _with(values, key.split("."), value)
        return _valid(RunConfig, {**values, **self.sections}, values)


def _with(values: dict[str, object], path: list[str], value: Any) -> dict[str, object]:
    """A copy with another value; what is not on its path is shared."""
    within = values.get(path[0])
    inner = value if len(path) == 1 else _with(within if isinstance(within, dict) else {}, path[1:], value)
    return {**values, path[0]: inner}


def _matches(cell: dict[str, object], entry: dict[str, object]) -> bool:
    """Whether an entry of a study's exclude leaves out a cell: for every key its value, or one of its list of values."""
    return all(cell[key] == value or (isinstance(value, list) and cell[key] in value) for key, value in entry.items())


def _without_what_was_left_out(
    runs: list[tuple[dict[str, object], RunConfig]], study: str, groups: dict[str, list[str]]
) -> list[tuple[dict[str, object], RunConfig]]:
    """The runs less entries of the study's decomposition whose method or deployment overrides have taken away.

    An entry that does not fit the study as its file has it stays, to be refused.
    """
    there = {f"{config.method.name}/{deployment}" for _, config in runs for deployment in config.deploy}
    entries = runs[0][1].study.decomposition
    if there.issuperset(entries):
        return runs
    written = _compose([f"study={study}"], groups)
    methods = written.study.matrix.get("method", [written.method.name])
    taken = {f"{method}/{deployment}" for method in methods for deployment in written.deploy} - there
    kept = {"decomposition": [entry for entry in entries if entry not in taken]}
    return [(cell, config.model_copy(update={"study": config.study.model_copy(update=kept)})) for cell, config in runs]


def _check_matrix(settings: StudyConfig, overrides: list[str], groups: dict[str, list[str]]) -> None:
    for key, values in settings.matrix.items():
        if key.split(".")[0] not in SWEEPABLE:
            raise UserError(
                f"study.matrix sweeps '{key}', but only {', '.join(SWEEPABLE)} (or keys below them) can be swept: "
                "every run is evaluated alike"
            )
        if key in groups:
            for value in values:
                check_choice(key, value, groups)
    for override in _parsed(overrides):
        swept = [key for key in settings.matrix if key not in groups and override.key_or_group.startswith(f"{key}.")]
        if swept:
            raise UserError(
                f"unknown key '{override.key_or_group}': '{swept[0]}' is one value, swept by the study's matrix"
            )
        if override.key_or_group in settings.matrix:
            values = override.value()
            raise UserError(
                f"'{override.key_or_group}' is swept by the study's matrix; write study.matrix.{override.key_or_group}=[{values}] instead"
            )


def _parsed(overrides: list[str]) -> list[Override]:
    check_overrides(overrides)
    parser = OverridesParser.create()
    parsed = [_parse(parser, override) for override in overrides]
    for override in parsed:
        check_override(override.key_or_group, override.value())
    return parsed


def _parse(parser: OverridesParser, override: str) -> Override:
    key, equals, value = override.partition("=")
    try:
        parsed = parser.parse_override(key.replace(":", COLON) + equals + value)
        parsed.key_or_group = parsed.key_or_group.replace(COLON, ":")
        return parsed
    except HydraException as error:
        reason = str(error).strip().splitlines()[0].replace(COLON, ":")
        shown = override if len(override) <= LONGEST_SHOWN else f"{override[:LONGEST_SHOWN]}…"
        hint = "write key=value, as in Hydra"
        if equals and len(override) <= LONGEST_SHOWN and "'" not in value:
            hint = (
                "a value with blanks, commas, parentheses or = needs quotes that Hydra sees: "
                f'overrides="{key}=\\"\'{value}\'\\""'
            )
        raise UserError(f"override not understood: {shown} ({reason}); {hint}") from None


def _compose(overrides: list[str], groups: dict[str, list[str]]) -> DictConfig:
    choices: list[str] = []
    values: list[str] = []
    of_schemes: dict[str, object] = {}
    for override in _parsed(overrides):
        group = override.key_or_group
        if ":" in group:
            of_schemes[group] = override.value()
            continue
        if group not in groups:
            values.append(_forced(override))
            continue
        value = override.value()
        for choice in value if isinstance(value, list) else [value]:
            check_choice(group, choice, groups)
        if group == "method" and override.type == OverrideType.CHANGE:
            choice, *of_scheme = method_overrides(str(value))
            choices.append(choice)
            values = [*of_scheme, *values]  # first, so that keys of the scheme can be overridden
        else:
            choices.append(override.input_line)
    try:
        config = compose(config_name="config", overrides=[*choices, *values])
        for key, value in of_schemes.items():
            OmegaConf.update(config, key, value, force_add=True)
        return config
    except yaml.YAMLError as error:
        raise UserError(f"a file of conf/ is not YAML: {' '.join(str(error).split())}") from None
    except LIBRARY_ERRORS as error:
        raise _as_user_error(error, overrides) from None


def _forced(override: Override) -> str:
    """Return an override that also sets a key that no file sets; which keys there are is what the models say."""
    return f"++{override.input_line}" if override.type == OverrideType.CHANGE else str(override.input_line)


def _as_user_error(error: Exception, overrides: list[str]) -> UserError:
    text = " ".join(str(error).split()).partition(" Config search path:")[0]
    key = re.search(r"Could not override '([^']+)'", text)
    if key and "@study." in key.group(1):
        study = re.search(r"In '([^']+)'", text)
        file = f"conf/{study.group(1)}.yaml" if study else "the study's file"
        return UserError(
            f"{file} must begin with the line '# @package _global_', for its defaults to be those of all groups"
        )
    return UserError(f"configuration cannot be composed: {text[:300]}")


def _section(model: type[Model], config: DictConfig, name: str) -> Model:
    return _validated(model, config[name], prefix=f"{name}.")


def _validated(model: type[Model], config: DictConfig, prefix: str = "") -> Model:
    try:
        values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise UserError(
            f"'{error.full_key}' has no value yet; add {error.full_key}=VALUE to the overrides or write it into its file"
        ) from None
    except OmegaConfBaseException as error:
        raise UserError(f"configuration: {' '.join(str(error).split())[:300]}") from None
    return _valid(model, values, values, prefix)


def _valid(model: type[Model], given: Any, values: Any, prefix: str = "") -> Model:
    """Of plain values, of which `given` may have some as sections that are valid already."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise UserError(describe(error, model, values, prefix)) from None
