"""Files that run code if they are read as pickles or as Python. The code creates a marker file, which tests look for."""

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np


class Touch:
    """Object whose pickle creates a marker file when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.marker}'",)


def pickled(path: Path, marker: Path) -> Path:
    """Write a plain pickle, the format of old PyTorch versions."""
    path.write_bytes(pickle.dumps({"weight": Touch(marker)}, protocol=2))
    return path


def torch_archive(path: Path, marker: Path) -> Path:
    """Write a zip archive with a pickle, the format of `torch.save`."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": Touch(marker)}, protocol=2))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    return path


def objects(marker: Path) -> np.ndarray:
    """Return an array of objects, which NumPy saves as a pickle."""
    return np.array([Touch(marker)], dtype=object)


def module(path: Path, marker: Path) -> Path:
    """Write a Python module that the configuration of a model's folder can name."""
    path.write_text(
        f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n"
        "from sentence_transformers.sentence_transformer.modules import Pooling\n\nclass Evil(Pooling):\n    pass\n"
    )
    return path
