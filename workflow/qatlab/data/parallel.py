"""Reader of texts and their translations: two files line by line, two columns of one table, or message catalogues."""

from pathlib import Path

import pandas as pd

from qatlab.data import catalogues
from qatlab.data.docstrings import package_root
from qatlab.data.local import SUFFIXES, read_columns, read_lines, without_end
from qatlab.errors import UserError
from qatlab.registry import ParallelTexts


def local_paths(config: ParallelTexts, key: str) -> list[Path]:
    """Return the files that a configuration names; folders and packages are replaced by their message catalogues.

    Args:
        config: paths or packages, and the language.
        key: the section of the configuration that holds them, such as data, for messages.

    Raises:
        UserError: for folders and packages without a catalogue of the language.
    """
    if config.packages is None:
        paths = [Path(path).expanduser() for path in config.paths or []]
    else:
        paths = [package_root(package) for package in config.packages]
    return [file for path in paths for file in catalogues.files(path, config.language, key)]


def load(config: ParallelTexts, key: str) -> pd.DataFrame:
    """Read texts and translations as two columns with one row per pair.

    Pairs of two empty lines, as between paragraphs, are left out.

    Args:
        config: paths or packages, the language, and the names of the columns.
        key: the section of the configuration that holds them, such as data, for messages.

    Raises:
        UserError: for missing files, different numbers of lines, or a text without a counterpart.
    """
    paths, columns = local_paths(config, key), config.columns
    if any(path.suffix.lower() in catalogues.SUFFIXES for path in paths):
        return catalogues.load(paths, columns, key)
    if len(paths) == 1:
        if paths[0].is_file() and not paths[0].name.lower().endswith(SUFFIXES):
            raise UserError(
                f"{paths[0]}: one file must be a table ({', '.join(SUFFIXES)}); for plain text, name two files in {key}.paths, "
                "the translations second"
            )
        return read_columns(paths[0], columns, f"{key}.columns").reset_index(drop=True)
    sources, targets = (_lines(path, key) for path in paths)
    if len(sources) != len(targets):
        raise UserError(
            f"{paths[0]} has {len(sources)} lines and {paths[1]} has {len(targets)}; their lines must correspond one to one"
        )
    _check_sides(paths, sources, targets)
    pairs = [(source, target) for source, target in zip(sources, targets, strict=True) if source.strip()]
    if not pairs:
        raise UserError(f"{paths[0]} and {paths[1]}: no lines with text")
    return pd.DataFrame(pairs, columns=columns)


def _lines(path: Path, key: str) -> list[str]:
    r"""Return the lines of a plain text file. They end with \n or \r\n only, because texts may contain U+2028 and U+0085."""
    if not path.is_file():
        raise UserError(f"data file '{path}' does not exist")
    if path.name.lower().endswith(SUFFIXES):
        raise UserError(f"{path}: a table holds both sides; name it alone in {key}.paths, or two files of plain text")
    return [without_end(line) for line in read_lines(path)]


def _check_sides(paths: list[Path], sources: list[str], targets: list[str]) -> None:
    """Raise a UserError if a line is empty and its counterpart is not, with the first such line."""
    uneven = [
        number
        for number, (source, target) in enumerate(zip(sources, targets, strict=True), start=1)
        if bool(source.strip()) != bool(target.strip())
    ]
    if uneven:
        empty, other = paths if not sources[uneven[0] - 1].strip() else reversed(paths)
        raise UserError(
            f"{empty}, line {uneven[0]}: empty, but {other} has a text there ({len(uneven)} such lines); remove both lines or add a text"
        )
