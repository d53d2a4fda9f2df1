"""Message catalogues of gettext: texts of programs and their translations, in .po and .mo files."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from qatlab.errors import UserError

SUFFIXES = (".po", ".mo")


def load(paths: list[Path], columns: list[str], key: str) -> pd.DataFrame:
    """Read the messages of catalogues and their translations, each pair once, in the order of the files.

    Messages without a translation, fuzzy and obsolete ones are left out. Of a message with a plural, both forms are taken where
    the language has two.

    Args:
        columns: what messages and translations are called.
        key: the part of the configuration that names the paths, such as data.

    Raises:
        UserError: for files that cannot be read, and catalogues without translations.
    """
    pairs = list(dict.fromkeys(pair for path in paths for pair in read(path)))
    if not pairs:
        raise UserError(f"{key}: {paths[0]}{' …' * (len(paths) > 1)} holds no message with a translation")
    return pd.DataFrame(pairs, columns=columns)


def read(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the messages of one catalogue and their translations.

    Raises:
        UserError: for a file that is no catalogue.
    """
    import polib

    if not path.is_file():  # polib would parse the name itself
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
    """Return a file itself, and of a folder the catalogues of a language, sorted: fr.po, and all below a folder called fr.

    A .mo file beside the .po file that it was compiled from is left out.

    Raises:
        UserError: for a folder without any, or where no language is named.
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
