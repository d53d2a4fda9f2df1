"""Bundles: folders with all external inputs of a study, to run it on machines without network access.

    bundle.json       the study it was made for, the origins that planning looked up, and the SHA-256 of each artifact
    model/ data/ …    the artifacts, as their stages write them
    packages/         wheels, with --python-packages

A study that runs from a bundle neither looks up nor downloads anything: the origins (versions, checksums, revisions) are those of the
machine that made the bundle, so artifacts have the same names on both machines. With --half, the float32 weights of models are rounded
and stored as float16, and converted back to float32 in results/. The origin of such a model records that it was rounded, so its
artifact has a name of its own.
"""

import argparse
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypedDict

from qatlab.artifact import link_or_copy_tree, read_json, sha256_of, write_json
from qatlab.errors import UserError

VARIABLE = "QATLAB_BUNDLE"  # environment variable that holds the folder
INDEX = "bundle.json"
KINDS = (
    "model",
    "data",
    "task",
    "texts",
)  # kinds of artifacts with external inputs; models come first, because a task may be mined with one
NAMES = ("name", "package", "path")  # configuration keys that identify a source in error messages
HALF = "float16"
LARGEST_HALF = 65504.0


def run_from(folder: Path) -> None:
    """Make this process and its child processes use a bundle and no network; raise a UserError if the folder is not a bundle."""
    Bundle(folder)
    os.environ[VARIABLE] = str(folder.resolve())
    os.environ.setdefault("HF_HUB_OFFLINE", "1")


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add the option --bundle FOLDER to a command."""

    class Use(argparse.Action):
        def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
            run_from(values)

    parser.add_argument(
        "--bundle",
        type=Path,
        action=Use,
        metavar="FOLDER",
        help=f"folder that qatlab bundle has written, to run from without network (default: environment variable {VARIABLE})",
    )


def in_use() -> "Bundle | None":
    """Return the bundle that this process uses instead of the network, or None.

    Raises:
        UserError: if the environment names a folder that is not a bundle.
    """
    folder = os.environ.get(VARIABLE)
    if not folder:
        return None
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    return Bundle(Path(folder))


class Entry(TypedDict, total=False):
    """Checksum of an artifact in a bundle, and its tensors that were rounded.

    Args:
        sha256: digest of its files, written when the bundle is complete.
        half: names of the tensors that are stored as float16, by file.
    """

    sha256: str
    half: dict[str, list[str]]


class Bundle:
    """Complete bundle.

    Args:
        folder: the folder.

    Raises:
        UserError: if the folder is not a bundle.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.is_dir():
            raise UserError(
                f"bundle '{folder}' does not exist; make it with qatlab bundle --study NAME --output FOLDER"
            )
        try:
            index = read_json(folder / INDEX)
            self.study: str = index["study"]
            self.origins: dict[str, Any] = index["origins"]
            self.artifacts: dict[str, Entry] = index["artifacts"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise UserError(
                f"bundle '{folder}' has no readable {INDEX}; make it again with qatlab bundle --study NAME --output FOLDER"
            ) from None

    def origin(self, key: str, lookup: Callable[[Any], Any], config: Any) -> Any:
        """Return the origin that the lookup returned on the machine that made the bundle.

        Args:
            key: key of the origin in the index.
            lookup: the function that would look it up.
            config: the configuration that would be looked up.

        Raises:
            UserError: if the bundle does not contain the origin.
        """
        if key not in self.origins:
            names = (getattr(config, key, None) for key in NAMES)
            raise self._lacks(lookup.__name__.removesuffix("_origin"), next(filter(None, names), None))
        return self.origins[key]

    def check(self, artifacts: Iterable[Any]) -> None:
        """Raise UserError unless the bundle holds every artifact of KINDS that a plan needs."""
        for artifact in artifacts:
            if artifact.kind in KINDS and not (artifact.path in self.artifacts and self._at(artifact.path).is_dir()):
                raise self._lacks(artifact.kind, artifact.label)

    def _lacks(self, kind: str, name: str | None) -> UserError:
        missing = f"{kind} '{name}'" if name else f"a {kind}"
        return UserError(
            f"bundle '{self.folder}' lacks {missing} as the study configures it (it was made for: {self.study}); "
            "make one with the study, scale and overrides that are to run: qatlab bundle"
        )

    def _at(self, path: str) -> Path:
        return self.folder / path

    def copy(self, path: str, output: Path) -> None:
        """Copy an artifact to the folder in which its stage would have written it.

        Args:
            path: `<kind>/<name>`.
            output: a folder that exists.

        Raises:
            UserError: for an artifact that is missing, or whose checksum has changed.
        """
        entry = self.artifacts.get(path)
        if entry is None or not self._at(path).is_dir():
            raise self._lacks(*path.split("/", 1))
        if sha256_of(self._at(path)) != entry["sha256"]:
            raise UserError(
                f"{self._at(path)} has changed since it was gathered (its SHA-256 differs); copy the bundle again"
            )
        if "half" not in entry:
            link_or_copy_tree(self._at(path), output)
            return
        shutil.copytree(self._at(path), output, dirs_exist_ok=True)
        for file in sorted(output.rglob("*.safetensors")):
            _cast(file, entry["half"].get(file.relative_to(output).as_posix(), []), "float32")


class Gathering:
    """Bundle under construction, which records the origins that planning looks up and the checksums of artifacts.

    Args:
        folder: the folder to write.
        study: name of the study.
        half: whether the float32 weights of models are rounded to float16.
    """

    def __init__(self, folder: Path, study: str, half: bool) -> None:
        self.folder, self.study, self.half = folder, study, half
        self.origins: dict[str, Any] = {}
        self.artifacts: dict[str, Entry] = {}

    def origin(self, key: str, lookup: Callable[[Any], Any], config: Any) -> Any:
        """Look up and record an origin; the origin of a model to be rounded includes the type that it is rounded to.

        Args:
            key: key of the origin in the index.
            lookup: the function that looks it up.
            config: the configuration to look up.
        """
        origin = lookup(config)
        if self.half and lookup.__name__ == "model_origin":
            origin = {"of": origin, "weights": HALF}
        self.origins[key] = origin
        return origin

    def check(self, artifacts: Iterable[Any]) -> None:
        """Accept any plan, because its artifacts are yet to be added."""

    def add(self, path: str) -> None:
        """Add an artifact that its stage has written below the folder.

        With --half, weights are rounded here but stay float32 until `close`, so that hard negatives are mined with the same model
        that the study will use.

        Raises:
            UserError: for weights beyond the range of float16.
        """
        self.artifacts[path] = {}
        if self.half and path.startswith("model/"):
            rounded = _float32_tensors(self.folder / path)
            self._cast_all(path, rounded, HALF)
            self._cast_all(path, rounded, "float32")
            _note_half(self.folder / path)
            self.artifacts[path] = {"half": rounded}

    def _cast_all(self, path: str, tensors: dict[str, list[str]], dtype: str) -> None:
        for file, names in tensors.items():
            _cast(self.folder / path / file, names, dtype)

    def close(self) -> None:
        """Store rounded weights as float16 and write the index, which completes the bundle."""
        for path, entry in self.artifacts.items():
            self._cast_all(path, entry.get("half", {}), HALF)
            entry["sha256"] = sha256_of(self.folder / path)
        write_json(self.folder / INDEX, {"study": self.study, "origins": self.origins, "artifacts": self.artifacts})


def _float32_tensors(artifact: Path) -> dict[str, list[str]]:
    """Return the names of a model's float32 tensors by file, without files that have none."""
    from safetensors import safe_open

    names_by_file = {}
    for file in sorted(artifact.rglob("*.safetensors")):
        with safe_open(file, framework="pt") as stored:
            names = [name for name in stored.keys() if stored.get_slice(name).get_dtype() == "F32"]  # noqa: SIM118
        if names:
            names_by_file[file.relative_to(artifact).as_posix()] = names
    return names_by_file


def _cast(file: Path, names: list[str], dtype: str) -> None:
    """Convert the named tensors of a safetensors file to another type; its other tensors and its metadata stay the same."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    with safe_open(file, framework="pt") as stored:
        metadata = stored.metadata()
    tensors = load_file(file)
    for name in names:
        if dtype == HALF and (tensors[name].abs() > LARGEST_HALF).any():
            raise UserError(
                f"{file.name}: {name} has values beyond {LARGEST_HALF:.0f}, the largest float16; leave --half out"
            )
        tensors[name] = tensors[name].to(getattr(torch, dtype))
    aside = file.with_suffix(".new")  # Tensors that are not converted are still mapped from the original file.
    save_file(tensors, aside, metadata=metadata)
    aside.replace(file)


def _note_half(artifact: Path) -> None:
    """Record in a model's manifest that it was rounded, with the checksum of the rounded float32 model."""
    manifest = read_json(artifact / "manifest.json")
    write_json(artifact / "manifest.json", {**manifest, "weights": HALF, "sha256": sha256_of(artifact / "model")})
