"""Reader of texts for language modelling: the whole source files of installed Python packages."""

from collections.abc import Sequence

from qatlab.data.docstrings import module_paths


def extract(package: str) -> list[str]:
    """Return the distinct, non-empty source files of a package, in the order of their paths."""
    texts = []
    for path in module_paths(package):
        try:
            texts.append(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            continue  # Some packages ship test files in other encodings.
    return list(dict.fromkeys(text for text in texts if text.strip()))


def extract_all(packages: Sequence[str], held_out: Sequence[str] = ()) -> list[str]:
    """Return the distinct source files of several packages, without those that also occur in a held-out package."""
    held_out_texts = {text for package in held_out for text in extract(package)}
    texts = dict.fromkeys(text for package in packages for text in extract(package))
    return [text for text in texts if text not in held_out_texts]
