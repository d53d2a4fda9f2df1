"""Deployment that reads stored embeddings from files by row, in place of a model that computes them.

A text of such a task is the place of an embedding, such as `documents:17`, the row of a table counted from 0.
"""

import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from qatlab.deployments.deployment import DEPLOYMENTS, Deployment
from qatlab.errors import UserError

SUFFIXES = (".npy", ".parquet")
FILES = {"documents": "corpus", "queries": "queries"}  # by table, the name of the file without its suffix
COLUMN, IDS = "embedding", ("_id", "id")  # columns of a Parquet file
TYPES = ("float16", "float32", "float64")


def vector_file(folder: Path, table: str) -> Path | None:
    """Return the file of a folder with the embeddings of a table; None if there is none."""
    paths = (folder / f"{FILES[table]}{suffix}" for suffix in SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def read_vectors(path: Path) -> tuple[list[str], np.ndarray]:
    """Read embeddings and their ids, which are row numbers from 0 unless a Parquet file has a column `_id` or `id`.

    Args:
        path: a .npy file with an array (n, dim), or a .parquet file with a list of numbers per row in the column `embedding`.

    Returns:
        The ids, and the embeddings, (n, dim) float32.

    Raises:
        UserError: for a file that is missing or of another format, pickles, no rows, rows of unequal numbers of values, a type that
            is not a float of 16, 32 or 64 bits, NaN and infinity, and ids that occur more than once.
    """
    if not path.is_file() or path.suffix not in SUFFIXES:
        raise UserError(f"'{path}' is not an existing file of embeddings ({' or '.join(SUFFIXES)})")
    ids, array = _of_parquet(path) if path.suffix == ".parquet" else (None, _of_npy(path))
    if array.ndim != 2 or not array.size:
        raise UserError(
            f"{path}: an array of shape {array.shape}; embeddings need one row per text and at least one value"
        )
    if array.dtype.name not in TYPES:
        raise UserError(f"{path}: values of type {array.dtype}; save embeddings as {', '.join(TYPES)}")
    with np.errstate(over="ignore"):
        embeddings = np.ascontiguousarray(array, dtype=np.float32)
    finite = np.isfinite(embeddings).all(axis=1)
    if not finite.all():
        raise UserError(
            f"{path}: row {int(finite.argmin())} (counted from 0) contains NaN or infinity, also in float32 ({int((~finite).sum())} "
            "such rows)"
        )
    names = [str(row) for row in range(len(embeddings))] if ids is None else ids
    if len(set(names)) < len(names):
        raise UserError(f"{path}: {len(names) - len(set(names))} ids occur more than once; ids must be unique")
    return names, embeddings


def _of_npy(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise UserError(
            f"{path}: not an array of numbers ({str(error).partition('.')[0]}); pickles are never read"
        ) from None
    if not isinstance(array, np.ndarray):
        raise UserError(f"{path}: an archive of arrays; save one array by numpy.save")
    return array


def _of_parquet(path: Path) -> tuple[list[str] | None, np.ndarray]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from None
    if COLUMN not in table.column_names:
        raise UserError(f"{path}: no column '{COLUMN}'; it has: {', '.join(table.column_names)}")
    rows = table[COLUMN].combine_chunks()
    if not (pa.types.is_list(rows.type) or pa.types.is_large_list(rows.type) or pa.types.is_fixed_size_list(rows.type)):
        raise UserError(f"{path}: column '{COLUMN}' is of type {rows.type}; each row must be a list of numbers")
    values = rows.flatten()
    if rows.null_count or values.null_count:
        raise UserError(f"{path}: column '{COLUMN}' has rows or values that are null")
    lengths = {len(row) for row in rows}
    if len(lengths) > 1:
        raise UserError(f"{path}: rows of {min(lengths)} to {max(lengths)} values; all embeddings need the same number")
    name = next((name for name in IDS if name in table.column_names), None)
    ids = None if name is None else [str(value) for value in table[name].to_pylist()]
    return ids, values.to_numpy(zero_copy_only=False).reshape(len(rows), -1)


def places(table: str, ids: list[str]) -> pd.DataFrame:
    """Return the rows of a table of a task (id, text), whose texts are the places of embeddings."""
    return pd.DataFrame({"id": ids, "text": [f"{table}:{row}" for row in range(len(ids))]})


def read_folder(folder: Path) -> dict[str, np.ndarray]:
    """Return the embeddings of a folder by table, (n, dim) float32 each: documents and, if it has any, queries.

    Raises:
        UserError: for files that are missing or invalid, and for queries and documents with different numbers of dimensions.
    """
    files = {table: vector_file(folder, table) for table in FILES}
    if files["documents"] is None:
        raise UserError(f"'{folder}' has no embeddings of documents: corpus.npy or corpus.parquet")
    vectors = {table: read_vectors(path)[1] for table, path in files.items() if path is not None}
    widths = {table: array.shape[1] for table, array in vectors.items()}
    if len(set(widths.values())) > 1:
        raise UserError(f"'{folder}': documents have {widths['documents']} dimensions, queries {widths['queries']}")
    return vectors


def copy_vectors(folder: Path, target: Path) -> None:
    """Write the embeddings of a folder to documents.npy and queries.npy; see `read_folder`."""
    target.mkdir(parents=True)
    for table, array in read_folder(folder).items():
        np.save(target / f"{table}.npy", array)


class VectorReader:
    """Encoder that returns the stored embedding of each text, which is the embedding's place."""

    device = "none: embeddings were read"

    def __init__(self, folder: Path) -> None:
        self.tables = {path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in folder.glob("*.npy")}

    def encode(self, texts: list[str], batch_size: int, prompt: str = "") -> np.ndarray:
        """Return the embeddings of the rows that the texts name, (n, dim) float32; see `Encoder.encode`."""
        split = [text.partition(":")[::2] for text in texts]
        return np.stack([np.array(self.tables[table][int(row)]) for table, row in split])


@DEPLOYMENTS.register("vectors")
class VectorsDeployment(Deployment):
    """Stored embeddings in place of a deployed model; no model runs."""

    backend: Literal["vectors"]

    def build(self, inputs: dict[str, Path], target: Path, threads: int | None, label: str) -> None:
        """Copy the embeddings."""
        shutil.copytree(inputs["model"] / "model", target)

    def encoder(self, folder: Path, threads: int | None) -> VectorReader:
        """Return the reader of the embeddings."""
        return VectorReader(folder)

    @property
    def exported(self) -> bool:
        """Return False: there is no graph."""
        return False

    @property
    def computes(self) -> bool:
        """Return False: embeddings are read."""
        return False
