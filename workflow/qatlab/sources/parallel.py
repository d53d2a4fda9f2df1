"""Texts and their translations: two files line by line, two columns of one table, or message catalogues of gettext."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pandas as pd

from qatlab.errors import UserError
from qatlab.registry import ParallelTexts
from qatlab.sources.packages import package_root
from qatlab.sources.readers import SUFFIXES, read_columns, read_lines, without_end
from qatlab.sources.source import SOURCES, DataManifest, RowCounts, Source, inspect_files

if TYPE_CHECKING:
    from qatlab.sources.source import Inspection

CATALOGUES = (".po", ".mo")


def load_catalogues(paths: list[Path], columns: list[str], key: str) -> pd.DataFrame:
    """Read the messages of catalogues and their translations, each pair once, in the order of the files.

    Messages without a translation and fuzzy or obsolete messages are left out. A message with a plural yields singular and plural
    if the language has two forms; otherwise it is left out.

    Args:
        paths: files in .po or .mo format.
        columns: names of the column of messages and of the column of translations.
        key: the section of the configuration that names the paths, such as data.

    Returns:
        A table with the two text columns.

    Raises:
        UserError: for files that cannot be read, and if no catalogue holds a translation.
    """
    pairs = list(dict.fromkeys(pair for path in paths for pair in read_catalogue(path)))
    if not pairs:
        raise UserError(f"{key}: {paths[0]}{' …' * (len(paths) > 1)} holds no message with a translation")
    return pd.DataFrame(pairs, columns=columns)


def read_catalogue(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the messages of one catalogue and their translations.

    Raises:
        UserError: for a missing file, or one that is not a message catalogue.
    """
    import polib

    if not path.is_file():  # Given a name that is not a file, polib would parse the name itself.
        raise UserError(f"data file '{path}' does not exist")
    try:
        catalogue = (polib.mofile if path.suffix.lower() == ".mo" else polib.pofile)(str(path))
    except (OSError, ValueError, struct.error) as error:
        raise UserError(f"{path}: cannot be read as a message catalogue ({error})") from None
    for entry in catalogue.translated_entries():
        if entry.msgid_plural and len(entry.msgstr_plural) == 2:
            yield from ((entry.msgid, entry.msgstr_plural[0]), (entry.msgid_plural, entry.msgstr_plural[1]))
        elif not entry.msgid_plural:
            yield entry.msgid, entry.msgstr


def catalogue_files(path: Path, language: str | None, key: str) -> list[Path]:
    """Return the sorted catalogues of a language below a folder, such as fr.po and all files below a folder called fr.

    A .mo file beside the .po file that it was compiled from is left out.

    Args:
        path: a folder; for a file, the result is this file alone.
        language: code of the language, such as fr or pt_BR; - and _ are equivalent.
        key: the section of the configuration that names the path, such as data.

    Raises:
        UserError: if a folder holds no catalogue of the language, or no language is given for it.
    """
    if not path.is_dir():
        return [path]
    if language is None:
        raise UserError(f"{path} is a folder; name the language of its message catalogues, such as {key}.language=fr")
    names = {language, language.replace("_", "-"), language.replace("-", "_")}
    catalogues = [
        file
        for file in sorted(path.rglob("*"))
        if file.suffix.lower() in CATALOGUES
        and names & {*file.relative_to(path).parts[:-1], file.stem}
        and file.is_file()
    ]
    catalogues = [
        file for file in catalogues if file.suffix.lower() == ".po" or file.with_suffix(".po") not in catalogues
    ]
    if not catalogues:
        raise UserError(f"{path} holds no message catalogue (.po, .mo) of the language '{language}'")
    return catalogues


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
    return [file for path in paths for file in catalogue_files(path, config.language, key)]


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
    if any(path.suffix.lower() in CATALOGUES for path in paths):
        return load_catalogues(paths, columns, key)
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


@SOURCES.register("parallel")
class Parallel(ParallelTexts, Source):
    """Texts and their translations as training data."""

    source: Literal["parallel"]

    def origin(self) -> dict[str, object]:
        """Return the SHA-256 checksum of every file."""
        return {"sha256": self._inspection().sha256}

    def counts(self) -> RowCounts | None:
        """Return the row counts of the files, or None if the files are very large."""
        return self._inspection().counts

    def load(self) -> "tuple[pd.DataFrame, None]":
        """Return a table with one column of texts and one of their translations, and None, since there is no hub commit.

        Raises:
            UserError: for missing files, different numbers of lines, or a text without a translation.
        """
        return load(self, "data"), None

    def describe(self, manifest: DataManifest) -> str:
        """Return the packages of the message catalogues, or that the files are local, without paths, which may be private."""
        if self.packages:
            return f", messages of {', '.join(self.packages)} and their translations ({self.language})"
        return " of local files: texts and their translations"

    def _inspection(self) -> "Inspection":

        return inspect_files(self, local_paths(self, "data"))
