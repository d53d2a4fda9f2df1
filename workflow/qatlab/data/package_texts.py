"""Texts for language modelling from installed Python packages: their source files, whole."""

from collections.abc import Sequence

from qatlab.data.docstrings import module_paths


def extract(package: str) -> list[str]:
    """The distinct source files of a package that hold any text, in the order of their paths."""
    texts = []
    for path in module_paths(package):
        try:
            texts.append(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            continue  # a library ships files in other encodings, to test that it reads them
    return list(dict.fromkeys(text for text in texts if text.strip()))


def extract_all(packages: Sequence[str], held_out: Sequence[str] = ()) -> list[str]:
    """The distinct source files of several packages, without those that a held-out package has too."""
    withheld = {text for package in held_out for text in extract(package)}
    found = dict.fromkeys(text for package in packages for text in extract(package))
    return [text for text in found if text not in withheld]
