"""Reader of gettext message catalogues: texts of programs and their translations in .po and .mo files."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from qatlab.errors import UserError

SUFFIXES = (".po", ".mo")


def load(paths: list[Path], columns: list[str], key: str) -> pd.DataFrame:
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
    pairs = list(dict.fromkeys(pair for path in paths for pair in read(path)))
    if not pairs:
        raise UserError(f"{key}: {paths[0]}{' …' * (len(paths) > 1)} holds no message with a translation")
    return pd.DataFrame(pairs, columns=columns)


def read(path: Path) -> Iterator[tuple[str, str]]:
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


def files(path: Path, language: str | None, key: str) -> list[Path]:
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
        if file.suffix.lower() in SUFFIXES
        and names & {*file.relative_to(path).parts[:-1], file.stem}
        and file.is_file()
    ]
    catalogues = [
        file for file in catalogues if file.suffix.lower() == ".po" or file.with_suffix(".po") not in catalogues
    ]
    if not catalogues:
        raise UserError(f"{path} holds no message catalogue (.po, .mo) of the language '{language}'")
    return catalogues
