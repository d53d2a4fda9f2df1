"""Texts and their translations, from files of the user's own: two files line by line, or two columns of one table."""

from pathlib import Path

import pandas as pd

from qatlab.data.local import SUFFIXES, read_columns, read_lines, without_end
from qatlab.errors import UserError


def load(paths: list[Path], columns: list[str], key: str) -> pd.DataFrame:
    """Both sides as columns, a row a pair. Pairs that are empty on both sides, as between paragraphs, are left out.

    Args:
        columns: of one file, which are read; of two, what they are called.
        key: the part of the configuration that says so, such as data.

    Raises:
        UserError: for missing files, different numbers of lines, or a text without a counterpart.
    """
    if len(paths) == 1:
        if paths[0].is_file() and not paths[0].name.lower().endswith(SUFFIXES):
            raise UserError(
                f"{paths[0]}: one file must be a table ({', '.join(SUFFIXES)}); of plain text, name two files in {key}.paths, "
                "the translations second"
            )
        return read_columns(paths[0], columns, f"{key}.columns").reset_index(drop=True)
    sources, targets = (_lines(path, key) for path in paths)
    if len(sources) != len(targets):
        raise UserError(
            f"{paths[0]} has {len(sources)} lines and {paths[1]} has {len(targets)}; line by line they must belong together"
        )
    _check_sides(paths, sources, targets)
    pairs = [(source, target) for source, target in zip(sources, targets, strict=True) if source.strip()]
    if not pairs:
        raise UserError(f"{paths[0]} and {paths[1]}: no lines with text")
    return pd.DataFrame(pairs, columns=columns)


def _lines(path: Path, key: str) -> list[str]:
    r"""Lines of a plain text file. They end at \n only, as texts may hold U+2028 and U+0085; a \r before it is no text."""
    if not path.is_file():
        raise UserError(f"data file '{path}' does not exist")
    if path.name.lower().endswith(SUFFIXES):
        raise UserError(f"{path}: a table holds both sides; name it alone in {key}.paths, or two files of plain text")
    return [without_end(line) for line in read_lines(path)]


def _check_sides(paths: list[Path], sources: list[str], targets: list[str]) -> None:
    """Raises UserError for texts whose counterpart is empty, with the first of them."""
    uneven = [
        number
        for number, (source, target) in enumerate(zip(sources, targets, strict=True), start=1)
        if bool(source.strip()) != bool(target.strip())
    ]
    if uneven:
        empty, other = paths if not sources[uneven[0] - 1].strip() else reversed(paths)
        raise UserError(
            f"{empty}, line {uneven[0]}: empty, where {other} has a text ({len(uneven)} such lines); take both lines away or add a text"
        )
