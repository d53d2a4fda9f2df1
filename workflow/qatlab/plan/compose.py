"""Hydra composition of a study: group choices and overrides in, one validated RunConfig per cell of the matrix out."""

import copy
import itertools
import re
from collections.abc import Iterable
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import BaseModel, ValidationError

from qatlab.errors import UserError, unknown
from qatlab.plan.configuration_files import ConfigurationFiles
from qatlab.plan.safe_files import check_override, check_overrides
from qatlab.plan.schemes import check_choice, method_overrides, with_first, with_methods
from qatlab.study.config import RunConfig, StudyConfig

LONGEST_SHOWN = 100  # characters of an invalid value that a message quotes


def describe(error: ValidationError, model: type[BaseModel], values: Any, prefix: str = "") -> str:
    """Describe the first mistake of a validation error in one line, followed by the number of further mistakes.

    Args:
        error: The error that pydantic raised.
        model: The class that `values` were validated against.
        values: The values that were validated.
        prefix: Path of the section that contains the values, ending with a dot; it precedes every key in the description.
    """
    first = error.errors()[0]
    path = [str(part) for part in _real_path(first["loc"], values) if part != "[key]"]
    key = prefix + ".".join(path)
    more = f" (and {len(error.errors()) - 1} more)" if len(error.errors()) > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"unknown key '{key}'{_hint(key, keys_at(model, path[:-1], values), model)}{more}"
    if first["type"] == "missing":
        return f"'{key}' is missing{more}"
    if first["type"] == "union_tag_not_found":
        group, _, name = key.rpartition(".")
        tag = first["ctx"]["discriminator"].strip("'")
        return (
            f"'{key}' has keys but no {tag}: its keys are set although it was not selected; add {name} to {group}=[…], "
            f"or remove the keys{more}"
        )
    if first["type"] == "union_tag_invalid":
        tag = first["ctx"]["discriminator"].strip("'")
        return f"{key}.{tag}: unknown value '{first['ctx']['tag']}'; valid: {first['ctx']['expected_tags']}{more}"
    message = first["msg"].removeprefix("Value error, ")
    shown = repr(first["input"])
    shown = shown if len(shown) <= LONGEST_SHOWN else f"{shown[:LONGEST_SHOWN]}…"
    is_shown = isinstance(first["input"], dict | list) or (isinstance(first["input"], str) and shown in message)
    given = "" if is_shown else f", not {shown}"
    return f"{key.rstrip('.') or 'configuration'}: {message}{given}{more}"


def _real_path(location: tuple[int | str, ...], values: Any) -> list[int | str]:
    """Return an error's location without the tags that pydantic adds for discriminated unions."""
    path: list[int | str] = []
    for index, part in enumerate(location):
        if isinstance(values, dict) and part in values:
            values = values[part]
        elif isinstance(values, list) and isinstance(part, int) and part < len(values):
            values = values[part]
        elif index < len(location) - 1:
            continue  # the part is the tag of a union, not a key
        path.append(part)
    return path


def _hint(key: str, valid: list[str], model: type[BaseModel]) -> str:
    """Return a suggestion for an unknown key: the most similar key of the same section, or else of another section.

    Args:
        key: The unknown key with its path.
        valid: Keys of the section that contains it.
        model: The class of the whole configuration, whose other sections are searched too.
    """
    section, dot, name = key.rpartition(".")
    near = get_close_matches(name, valid, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{section}{dot}{near[0]}'?"
    elsewhere = _keys_of_sections(model)
    near = get_close_matches(name, elsewhere, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{elsewhere[near[0]]}'?"
    return f"; valid here: {', '.join(valid)}" if valid else ""


def _keys_of_sections(model: type[BaseModel]) -> dict[str, str]:
    """Map the name of each key of a configuration's sections to its full path, such as `batch_size` to `trainer.batch_size`.

    Where several sections have a key of the same name, the path leads to the first of them.
    """
    keys: dict[str, str] = {}
    for section, field in model.model_fields.items():
        named = f"{section}.NAME" if get_origin(field.annotation) is dict else section
        for cls in _models(field.annotation):
            for name in cls.model_fields:
                keys.setdefault(name, f"{named}.{name}")
    return keys


def keys_at(model: type[BaseModel], path: list[str], values: Any) -> list[str]:
    """Return the valid keys of a section of a configuration.

    Args:
        model: The class of the whole configuration.
        path: Keys that lead to the section.
        values: The configuration; its keys `source`, `backend` and `kind` select the class of a section that has several.
    """
    models = [model]
    for key in path:
        values = values.get(key) if isinstance(values, dict) else None
        fields = [cls.model_fields.get(key) for cls in models]
        inner = [cls for field in fields if field is not None for cls in _models(field.annotation)]
        # A key that is not a field is the name of an entry, as in deploy.NAME; the classes stay the same.
        models = [cls for cls in inner or models if _is_kind(cls, values)]
    return list(dict.fromkeys(name for cls in models for name in cls.model_fields))


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Return the configuration classes in a type annotation, such as the members of a union or the values of a dictionary."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _is_kind(model: type[BaseModel], values: Any) -> bool:
    """Return whether a class accepts the kind that the values have; True where they have none."""
    for name in ("source", "backend", "kind"):
        field = model.model_fields.get(name)
        given = values.get(name) if isinstance(values, dict) else None
        if field is not None and given is not None and get_origin(field.annotation) is Literal:
            return given in get_args(field.annotation)
    return True


Model = TypeVar("Model", bound=BaseModel)

# For invalid defaults lists and files, Hydra raises built-in exceptions.
LIBRARY_ERRORS = (HydraException, OmegaConfBaseException, ValueError, TypeError, AttributeError, AssertionError)
FULL_SCALE = "full"
SMALL_SCALE = "small"  # name of a study's file itself if the study lists a larger scale `full`
# Keys that a study sets for trainings that start from another one, and not for the trainings that they start from.
ONLY_OF_A_SECOND_TRAINING = ("method.start_from", "method.float_teacher")
# Only keys that determine the trained model may be swept; every run is deployed and evaluated in all ways that the study lists.
SWEEPABLE = ("model", "data", "method", "weights", "trainer", "seed")
COLON = "__colon__"  # replaces ':' in keys such as deploy.torchao:int4.dtype, where Hydra's grammar does not allow it


def compose_runs(
    conf: Path, study: str, scale: str | None = None, overrides: Iterable[str] = ()
) -> list[tuple[dict[str, object], RunConfig]]:
    """Return the matrix cell and the configuration of each run of a study, in the order of its matrix.

    Args:
        conf: folder of the configuration files.
        study: name of the study.
        scale: name of one of its scales; None for the study's file itself, see `scale_of_file`.
        overrides: user's overrides, in Hydra's override grammar.

    Raises:
        UserError: in one line, for an error that a user can correct.
    """
    files = ConfigurationFiles(conf)
    if study not in files.groups.get("study", []):
        raise unknown("study", study, files.groups.get("study", []))
    user_overrides = list(overrides)
    of_scale = _overrides_of_scale(study, scale, files)
    runs = _matrix_runs(study, of_scale, user_overrides, files)
    is_overridden = any(o.key_or_group == "study.decomposition" for o in _parsed(user_overrides))
    return runs if is_overridden else _without_removed_entries(runs, [f"study={study}", *of_scale], files)


def scale_of_file(scales: Iterable[str]) -> str:
    """Return the name of the scale that a study's file itself has: `full`, or `small` if the file lists a larger scale `full`.

    Args:
        scales: names of the scales that the study lists.
    """
    return SMALL_SCALE if FULL_SCALE in scales else FULL_SCALE


def _overrides_of_scale(study: str, scale: str | None, files: ConfigurationFiles) -> list[str]:
    """Return the overrides of a study's scale: an empty list for the file itself. Raise UserError for an unknown scale."""
    if scale is None:
        return []
    scales = _section(StudyConfig, _compose([f"study={study}"], files), "study").scales
    of_file = scale_of_file(scales)
    if scale not in (*scales, of_file):
        raise unknown("scale", scale, [*scales, of_file])
    return scales.get(scale, [])


def stands_for(conf: Path, study: str, scale: str | None = None) -> dict[str, dict[str, object]]:
    """Return the names at full scale by the name at a scale, by matrix key, `task`, `texts` and `deploy`.

    Where a scale lists as many values as full scale, each stands for the one at the same position. A key with fewer or more values
    is left out, because they cannot be matched. In a study that lists a scale `full`, though, names of its file that full scale has
    too stand for themselves.
    """
    files = ConfigurationFiles(conf)
    overrides_of_full = _overrides_of_scale(study, FULL_SCALE, files)
    full_names = _named(_compose([f"study={study}", *overrides_of_full], files), files)
    overrides_of_scale = _overrides_of_scale(study, scale, files)
    scaled_names = _named(_compose([f"study={study}", *overrides_of_scale], files), files)
    matched = {
        key: {str(scaled): full for scaled, full in zip(scaled_names[key], names, strict=True)}
        for key, names in full_names.items()
        if len(scaled_names.get(key, [])) == len(names)
    }
    if overrides_of_scale:
        return matched
    same = {key: {str(name): name for name in names} for key, names in scaled_names.items() if key in full_names}
    return {
        key: names for key, names in same.items() if all(name in full_names[key] for name in names.values())
    } | matched


def _named(config: DictConfig, files: ConfigurationFiles) -> dict[str, list[Any]]:
    """Return the values of each matrix key, and the names of deployments, tasks and sets of texts."""
    listed = {group: list(config.get(group, {})) for group in ("deploy", "task", "texts")}
    return {**_settings(config, [], files).matrix, **listed}


def _settings(config: DictConfig, base: list[str], files: ConfigurationFiles) -> StudyConfig:
    """Return a study's settings, in which the schemes of the matrix are written as methods."""
    settings = _section(StudyConfig, config, "study")
    if "weights" not in settings.matrix:
        return settings

    def trains(method: str) -> bool:
        check_choice("method", method, files.groups)
        return bool(_compose([*base, f"method={method}"], files).method.get("train", True))

    return with_methods(settings, config.method.name, trains)


def _matrix_runs(
    study: str, of_scale: list[str], overrides: list[str], files: ConfigurationFiles
) -> list[tuple[dict[str, object], RunConfig]]:
    base = [f"study={study}", *of_scale, *overrides]
    composed_base = _compose(base, files)
    # A user may vary a key for which the scale sets one value.
    _check_matrix(_section(StudyConfig, composed_base, "study"), overrides, files)
    settings = _settings(composed_base, base, files)
    scalars_of = [key for key in settings.matrix if key not in files.groups]
    composed: dict[tuple[Any, ...], _Composed] = {}

    def run(cell: dict[str, object], without: tuple[str, ...] = ()) -> RunConfig:
        choice = tuple((key, value) for key, value in cell.items() if key in files.groups)
        if (choice, without) not in composed:
            # Composing is slow: it is done once per choice of groups, and scalars are set on its result.
            left_out = (*without, "method=") if "method" in cell else without
            given = [override for override in base if not override.lstrip("+").startswith(left_out)]
            chosen = _compose([*given, *(f"{key}={value}" for key, value in choice)], files)
            composed[choice, without] = _Composed(chosen, scalars_of)
        return composed[choice, without].run({key: cell[key] for key in scalars_of if key in cell})

    def with_method(cell: dict[str, object], method: str) -> RunConfig:
        kept = {key: value for key, value in cell.items() if not key.startswith(ONLY_OF_A_SECOND_TRAINING)}
        return run({**kept, "method": method}, ONLY_OF_A_SECOND_TRAINING)

    runs = []
    for values in itertools.product(*settings.matrix.values()):
        cell = dict(zip(settings.matrix, values, strict=True))
        if any(_matches(cell, entry) for entry in settings.exclude):
            continue
        runs.append((cell, with_first(run(cell), partial(with_method, cell), files.groups)))
    if not runs:
        raise UserError(f"study '{study}' has no runs: its exclude list leaves out every cell of its matrix")
    return runs


class _Composed:
    """Composed choice of groups, which has one run for each combination of the matrix's scalars.

    OmegaConf's copies and the validation take most of the time of planning a run. Therefore, runs share plain values unless there
    are interpolations between keys, and share the validated sections that contain no swept scalar.
    """

    def __init__(self, config: DictConfig, scalars: list[str]) -> None:
        self.config = config
        dumped = yaml.safe_dump(OmegaConf.to_container(config))
        values: Any = OmegaConf.to_container(config, resolve=True) if "${" not in dumped else None
        self.values: dict[str, object] | None = values
        self.changing = {key.partition(".")[0] for key in scalars}
        self.sections: dict[str, object] = {}

    def run(self, scalars: dict[str, object]) -> RunConfig:
        """Return the validated configuration with these values.

        Raises:
            UserError: if it is invalid.
        """
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
    """Return a copy of nested values with another value at a path; all that is not on the path is shared."""
    within = values.get(path[0])
    inner = value if len(path) == 1 else _with(within if isinstance(within, dict) else {}, path[1:], value)
    return {**values, path[0]: inner}


def _matches(cell: dict[str, object], entry: dict[str, object]) -> bool:
    """Return whether a cell has, for every key of an entry of `exclude`, its value or one of its list of values."""
    return all(cell[key] == value or (isinstance(value, list) and cell[key] in value) for key, value in entry.items())


def _without_removed_entries(
    runs: list[tuple[dict[str, object], RunConfig]], base: list[str], files: ConfigurationFiles
) -> list[tuple[dict[str, object], RunConfig]]:
    """Return the runs without the entries of `study.decomposition` whose method or deployment was removed by overrides.

    An entry that does not fit the study without the user's overrides either is kept, so that it is refused later.

    Args:
        runs: the runs with the user's overrides.
        base: the study and the overrides of its scale.
        files: the configuration files.
    """
    available = {f"{config.method.name}/{deployment}" for _, config in runs for deployment in config.deploy}
    entries = runs[0][1].study.decomposition
    if available.issuperset(entries):
        return runs
    full = _compose(base, files)
    methods = full.study.matrix.get("method", [full.method.name])
    removed = {f"{method}/{deployment}" for method in methods for deployment in full.deploy} - available
    update = {"decomposition": [entry for entry in entries if entry not in removed]}
    return [
        (cell, config.model_copy(update={"study": config.study.model_copy(update=update)})) for cell, config in runs
    ]


def _check_matrix(settings: StudyConfig, overrides: list[str], files: ConfigurationFiles) -> None:
    for key, values in settings.matrix.items():
        if key.split(".")[0] not in SWEEPABLE:
            raise UserError(
                f"study.matrix sweeps '{key}', but only {', '.join(SWEEPABLE)} (or keys below them) can be swept: "
                "every run is evaluated alike"
            )
        if key in files.groups:
            for value in values:
                check_choice(key, value, files.groups)
    for override in _parsed(overrides):
        swept = [
            key for key in settings.matrix if key not in files.groups and override.key_or_group.startswith(f"{key}.")
        ]
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
                "a value with blanks, commas, parentheses or = needs quotes that reach Hydra: "
                f'overrides="{key}=\\"\'{value}\'\\""'
            )
        raise UserError(f"override not understood: {shown} ({reason}); {hint}") from None


def _compose(overrides: list[str], files: ConfigurationFiles) -> DictConfig:
    choices: list[str] = []
    values: list[str] = []
    scheme_values: dict[str, object] = {}
    for override in _parsed(overrides):
        group = override.key_or_group
        if ":" in group:
            scheme_values[group] = override.value()
            continue
        if group not in files.groups:
            values.append(_forced(override))
            continue
        value = override.value()
        for choice in value if isinstance(value, list) else [value]:
            check_choice(group, choice, files.groups)
        if group == "method" and override.type == OverrideType.CHANGE:
            choice, *scheme_overrides = method_overrides(str(value))
            choices.append(choice)
            values = [*scheme_overrides, *values]  # first, so that later overrides can change keys of the scheme
        else:
            choices.append(override.input_line)
    try:
        config = files.compose([*choices, *values])
        for key, value in scheme_values.items():
            OmegaConf.update(config, key, value, force_add=True)
        return config
    except yaml.YAMLError as error:
        raise UserError(f"a file of conf/ is not YAML: {' '.join(str(error).split())}") from None
    except LIBRARY_ERRORS as error:
        raise _as_user_error(error, overrides) from None


def _forced(override: Override) -> str:
    """Return an override that can also set a key that no file sets; the pydantic models validate the keys."""
    return f"++{override.input_line}" if override.type == OverrideType.CHANGE else str(override.input_line)


def _as_user_error(error: Exception, overrides: list[str]) -> UserError:
    text = " ".join(str(error).split()).partition(" Config search path:")[0]
    ambiguous = re.match(r"Ambiguous value for argument '\+*([^=']+)=([^']*)'", text)
    if ambiguous:
        name, value = ambiguous.groups()
        return UserError(
            f"override of '{name}': '{value}' has a comma; write {name}=[{value}] for a list, or study.matrix.{name}=[{value}] for one "
            "run per value"
        )
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
    """Validate a configuration.

    Args:
        model: pydantic model of the configuration.
        given: values by key, or sections that are validated already.
        values: plain values by key, which error messages show.
        prefix: start of the keys in error messages.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise UserError(describe(error, model, values, prefix)) from None
