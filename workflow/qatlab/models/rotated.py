"""Rotation of a model's embeddings as an additional module, fitted on its embeddings of training documents."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from sentence_transformers import SentenceTransformer

from qatlab.config.precision import FittedRotationConfig
from qatlab.errors import UserError
from qatlab.models.prompts import prompt_for
from qatlab.quantization.rotations import Rotation, fit_rotation

BATCH_SIZE = 32


def append_rotation(
    model: SentenceTransformer, folder: Path, config: FittedRotationConfig, data: Path, trainable: bool = False
) -> Rotation:
    """Fit a rotation and append it to a model in place; the saved model can be loaded without qatlab.

    Args:
        model: the model.
        folder: folder that the model was loaded from, which holds its prompts.
        config: kind, number of dimensions, seed and number of rows of the rotation.
        data: folder of a data artifact; its second column holds the documents.
        trainable: whether the rotation is a parameter that training changes.

    Returns:
        The rotation.

    Raises:
        UserError: if there are fewer training documents than the rotation needs.
    """
    if config.fitted:
        embeddings = training_embeddings(model, folder, data, config.fit_rows)
    else:
        embeddings = np.zeros((1, model.get_embedding_dimension() or 0), dtype=np.float32)
    try:
        bits = config.dimensions_out(embeddings.shape[1])
        rotation = fit_rotation(config.kind, embeddings, bits, config.center, config.seed)
    except ValueError as error:
        raise UserError(f"rotation {config.label}: {error}") from None
    model.append(rotation.as_module(trainable).to(model.device))
    return rotation


def training_embeddings(model: SentenceTransformer, folder: Path, data: Path, rows: int) -> np.ndarray:
    """Return the model's embeddings of the first training documents, (rows, dim) float32.

    Args:
        model: the model.
        folder: folder that the model was loaded from, which holds its prompts.
        data: folder of a data artifact; its second column holds the documents.
        rows: number of documents.
    """
    table = pq.read_table(data / "train.parquet")
    texts = table.column(1).slice(0, rows).to_pylist()
    return model.encode(
        texts,
        batch_size=BATCH_SIZE,
        prompt=prompt_for(folder, "documents"),
        convert_to_numpy=True,
        show_progress_bar=False,
    ).astype(np.float32)
