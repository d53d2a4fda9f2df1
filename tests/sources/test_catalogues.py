"""Message catalogues: every message with a translation is read, and an invalid catalogue is one line."""

import gettext
import struct

import polib
import pytest
from pydantic import ValidationError

from qatlab.errors import UserError
from qatlab.plan.artifacts import data_origin, task_origin, training_rows
from qatlab.registry import ParallelTexts
from qatlab.sources.parallel import Parallel, load
from qatlab.tasks.translation import ParallelTask

CATALOGUE = r"""
msgid ""
msgstr "Content-Type: text/plain; charset=UTF-8\nPlural-Forms: nplurals=2; plural=(n > 1);\n"

msgid "Open the file"
msgstr "Ouvrir le fichier"

msgctxt "menu"
msgid "Open"
msgstr "Ouvrir"

#, fuzzy
msgid "Close"
msgstr "Ouvrir"

msgid "Save"
msgstr ""

msgid "%d file"
msgid_plural "%d files"
msgstr[0] "%d fichier"
msgstr[1] "%d fichiers"

#~ msgid "Quit"
#~ msgstr "Quitter"
"""
PAIRS = [
    ("Open the file", "Ouvrir le fichier"),
    ("Open", "Ouvrir"),
    ("%d file", "%d fichier"),
    ("%d files", "%d fichiers"),
]


@pytest.fixture
def folder(tmp_path):
    """Write a package's catalogues in two languages, in the folders that gettext requires."""
    for language in ("fr", "pt_BR"):
        place = tmp_path / "locale" / language / "LC_MESSAGES"
        place.mkdir(parents=True)
        (place / "app.po").write_text(CATALOGUE, encoding="utf-8")
    return tmp_path


def pairs(*paths, **more):
    table = load(ParallelTexts(paths=[str(path) for path in paths], **more), "data")
    return list(table.itertuples(index=False, name=None))


def test_messages_with_a_translation_are_read(folder):
    assert pairs(folder / "locale/fr/LC_MESSAGES/app.po") == PAIRS


def test_compiled_catalogues_hold_what_gettext_translates(folder):
    compiled = folder / "app.mo"
    polib.pofile(str(folder / "locale/fr/LC_MESSAGES/app.po")).save_as_mofile(str(compiled))
    with compiled.open("rb") as file:
        translations = gettext.GNUTranslations(file)
    read = pairs(compiled)
    assert sorted(read) == sorted(PAIRS)
    assert translations.gettext("Open the file") == dict(read)["Open the file"]
    assert translations.ngettext("%d file", "%d files", 2) == dict(read)["%d files"]
    assert translations.pgettext("menu", "Open") == dict(read)["Open"]


@pytest.mark.parametrize("language", ["fr", "pt_BR", "pt-BR"])
def test_a_folder_gives_the_catalogues_of_one_language(folder, language):
    assert pairs(folder, language=language) == PAIRS


def test_a_compiled_file_beside_its_source_is_left_out(folder):
    source = folder / "locale/fr/LC_MESSAGES/app.po"
    source.with_suffix(".mo").write_bytes(b"damaged")
    (folder / "fr.po").write_text('msgid "Yes"\nmsgstr "Oui"\n')
    assert pairs(folder, language="fr") == [("Yes", "Oui"), *PAIRS]


def test_an_installed_package_is_found(folder, monkeypatch):
    (folder / "__init__.py").write_text("raise SystemExit('it is not imported')")
    monkeypatch.syspath_prepend(folder.parent)
    config = Parallel(source="parallel", name="mine", packages=[folder.name], language="fr")
    assert len(load(config, "data")) == len(PAIRS)
    assert training_rows(config).rows == len(PAIRS)
    origin = data_origin(config)
    assert task_origin(ParallelTask(source="parallel", packages=[folder.name], language="fr")) == origin
    with (folder / "locale/fr/LC_MESSAGES/app.po").open("a") as file:
        file.write('\nmsgid "Yes"\nmsgstr "Oui"\n')
    assert data_origin(config) != origin


MISTAKES = {
    "no language": ("locale", {}, r"locale is a folder; name the language of its message catalogues, such as data\.language=fr"),
    "another language": ("locale", {"language": "de"}, "locale holds no message catalogue .* of the language 'de'"),
    "nothing there": ("nowhere.po", {}, "data file '.*nowhere.po' does not exist"),
    "no catalogue": ("words.po", {}, "words.po: cannot be read as a message catalogue"),
    "half of one": ("half.mo", {}, "half.mo: cannot be read as a message catalogue"),
    "nothing translated": ("empty.po", {}, "data: .*empty.po holds no message with a translation"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_an_invalid_catalogue_is_one_line(folder, mistake):
    name, more, message = MISTAKES[mistake]
    (folder / "words.po").write_text("only words\n")
    (folder / "empty.po").write_text('msgid "Yes"\nmsgstr ""\n')
    (folder / "half.mo").write_bytes(struct.pack("<7I", 0x950412DE, 0, 9, 28, 100, 0, 0))
    with pytest.raises(UserError, match=message) as error:
        pairs(folder / name, **more)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "set either paths or packages"),
        ({"paths": ["a"], "packages": ["b"], "language": "fr"}, "set either paths or packages"),
        ({"packages": ["b"]}, "set language, for example to fr"),
    ],
)
def test_the_source_of_texts_is_set_once(given, message):
    with pytest.raises(ValidationError, match=message):
        ParallelTexts(**given)
