"""How many tokens a model takes, read from its files."""

import pytest
from torch import nn

import miniatures
from qatlab.models.embedding import load_model
from qatlab.models.settings import position_count


def counted(transformer):
    """As the modules say."""
    for name, module in transformer.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return None


@pytest.mark.parametrize(
    "architecture", ["bert", "mpnet", "roberta", "xlm-roberta", "distilbert", "modernbert", "t5", "gemma3", "qwen3"]
)
def test_the_position_count_equals_that_of_the_module(tmp_path, architecture):
    folder = miniatures.encoder(tmp_path / "model", architecture, max_tokens=48)
    assert position_count(folder) == counted(load_model(folder)[0].auto_model)
