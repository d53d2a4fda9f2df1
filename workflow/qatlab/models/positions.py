"""How many tokens a text may have for a model, read from its files."""

from pathlib import Path

from safetensors import safe_open

from qatlab.artifact import read_json
from qatlab.errors import UserError

TABLES = ("position_embeddings.weight", "wpe.weight")
# Of these, the first text token stands behind the number of the padding token.
COUNTED_BEHIND_PADDING = (
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


def table_of_positions(folder: Path) -> int | None:
    """Return how many tokens the model's table of positions is for; None for a model that computes positions."""
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="np") as weights:
            for name in weights.keys():  # noqa: SIM118 – no mapping
                if name.endswith(TABLES):
                    return int(weights.get_slice(name).get_shape()[0]) - _first(folder)
    return None


def _first(folder: Path) -> int:
    """The row of the table that the first token has."""
    config = read_json(folder / "config.json")
    kind = config.get("model_type")
    if kind not in COUNTED_BEHIND_PADDING:
        return 0
    padding = 1 if kind == "mpnet" else config.get("pad_token_id") or 0  # MPNet's stands in its code
    return int(padding) + 1


def check_positions(folder: Path, max_seq_length: int, name: str) -> None:
    """Raises UserError for texts of more tokens than a model has positions for."""
    available = table_of_positions(folder)
    if available is not None and max_seq_length > available:
        raise UserError(
            f"model.max_seq_length={max_seq_length}, but model '{name}' has {available} positions; "
            f"set model.max_seq_length={available} or less"
        )
