"""Files that would run code, had anything read them as pickles or as Python: each would make a file that a test looks for."""

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np


class Touch:
    """Its pickle makes a file when it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.marker}'",)


def pickled(path: Path, marker: Path) -> Path:
    """A plain pickle, as of old PyTorch."""
    path.write_bytes(pickle.dumps({"weight": Touch(marker)}, protocol=2))
    return path


def torch_archive(path: Path, marker: Path) -> Path:
    """A zip of a pickle, as torch.save writes it."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": Touch(marker)}, protocol=2))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    return path


def objects(marker: Path) -> np.ndarray:
    """An array whose file is a pickle."""
    return np.array([Touch(marker)], dtype=object)


def module(path: Path, marker: Path) -> Path:
    """Python that a model's folder may name."""
    path.write_text(
        f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n"
        "from sentence_transformers.sentence_transformer.modules import Pooling\n\nclass Evil(Pooling):\n    pass\n"
    )
    return path
