"""Limit of a model's sequence length in tokens, read from its files."""

from pathlib import Path

from safetensors import safe_open

from qatlab.artifact import read_json
from qatlab.errors import UserError

TABLES = ("position_embeddings.weight", "wpe.weight")
# In these architectures, positions are counted from the id of the padding token plus one.
OFFSET_BY_PADDING = (
    "camembert",
    "data2vec-text",
    "esm",
    "lilt",
    "longformer",
    "luke",
    "mluke",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
)


def position_count(folder: Path) -> int | None:
    """Return how many tokens the model's table of position embeddings can hold; None for a model that computes positions."""
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="np") as weights:
            for name in weights.keys():  # noqa: SIM118 – no mapping
                if name.endswith(TABLES):
                    return int(weights.get_slice(name).get_shape()[0]) - _first_row(folder)
    return None


def _first_row(folder: Path) -> int:
    """Return the row of the table that belongs to the first token of a text."""
    config = read_json(folder / "config.json")
    kind = config.get("model_type")
    if kind not in OFFSET_BY_PADDING:
        return 0
    padding = 1 if kind == "mpnet" else config.get("pad_token_id") or 0  # MPNet hard-codes its padding id.
    return int(padding) + 1


def check_positions(folder: Path, max_seq_length: int, name: str) -> None:
    """Raise a UserError if texts may have more tokens than the model has positions.

    Args:
        folder: a Transformers folder.
        max_seq_length: largest number of tokens of a text.
        name: name of the model, for messages.
    """
    available = position_count(folder)
    if available is not None and max_seq_length > available:
        raise UserError(
            f"model.max_seq_length={max_seq_length}, but model '{name}' has {available} positions; "
            f"set model.max_seq_length={available} or less"
        )
