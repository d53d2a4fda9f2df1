"""Composition of the files of a configuration folder by Hydra, with each file parsed once.

Hydra parses its files anew for each composition, and a study of five methods is composed six times. Therefore, parsed files and
composed configurations are kept in the process and copied, which takes a fifth of the time of parsing.
"""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import DictConfig

from qatlab.plan.safe_files import FileState, check_files
from qatlab.plan.schemes import torchao_deployments
from qatlab.tasks.beir import nano_beir

# Choices of groups that have no file, because they differ in a name only: the group, the name of the choice and its values.
CHOICES: dict[str, dict[str, dict[str, object]]] = {"deploy": torchao_deployments(), "task": nano_beir()}

_parsed: dict[tuple[str, str, FileState | None], ConfigResult] = {}
_composed: dict[tuple[tuple[FileState, ...], tuple[str, ...]], DictConfig] = {}
for group, choices in CHOICES.items():
    for name, values in choices.items():
        ConfigStore.instance().store(group=group, name=name, node={name: values})


class ConfigurationFiles:
    """Checked YAML files of a configuration folder.

    Args:
        folder: the folder, with `config.yaml` and one folder per Hydra group.

    Attributes:
        groups: choices of each group, those without a file last.

    Raises:
        UserError: for a file that contains more than plain data.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.states = check_files(self.folder)
        self.groups = {
            group.name: sorted(file.stem for file in group.glob("*.yaml"))
            for group in sorted(folder.iterdir())
            if group.is_dir()
        }
        for group, choices in CHOICES.items():
            in_files = self.groups.get(group, [])
            self.groups[group] = [*in_files, *(name for name in choices if name not in in_files)]

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """Return a composed configuration, which the caller may change.

        Args:
            overrides: choices of groups and values of keys, in Hydra's override grammar.
        """
        key = (self.states, tuple(overrides))
        if key not in _composed:
            with initialize_config_dir(version_base="1.3", config_dir=str(self.folder.resolve())):
                _remember_parsed_files()
                _composed[key] = compose(config_name="config", overrides=list(overrides))
        return copy.deepcopy(_composed[key])


def _remember_parsed_files() -> None:
    """Have the initialized Hydra parse only files that are new or have changed."""
    for source in GlobalHydra.instance().config_loader().get_sources():
        # Hydra copies its sources, and with them all registered configurations, for each composition.
        source.__deepcopy__ = _itself(source)
        if source.scheme() in ("file", "pkg"):
            source.load_config = _remembering(source, source.load_config)


def _itself(source: ConfigSource) -> Callable[[object], ConfigSource]:
    """Return a function that returns the source, whatever its argument."""
    return lambda memo: source


def _remembering(source: ConfigSource, load: Callable[[str], ConfigResult]) -> Callable[[str], ConfigResult]:
    """Return a function that loads a configuration as `load` does; its callers may change what it returns.

    Args:
        source: the folder, or the package of Hydra, that contains the file.
        load: the source's own function, which parses a file.
    """

    def load_config(config_path: str) -> ConfigResult:
        state = None  # The files that Hydra is installed with do not change.
        if source.scheme() == "file":
            state = FileState.of(Path(source.path) / f"{config_path.removesuffix('.yaml')}.yaml")
        key = (source.full_path(), config_path, state)
        if key not in _parsed:
            _parsed[key] = load(config_path)
        return copy.deepcopy(_parsed[key])

    return load_config
