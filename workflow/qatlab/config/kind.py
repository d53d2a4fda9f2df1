"""What a task asks of a model, which decides how it is scored."""

from typing import Literal

Kind = Literal["retrieval", "reranking", "similarity", "translation", "language_modelling"]

# Kinds in which a query and the document of the same id are one item.
PAIRED: tuple[Kind, ...] = ("similarity", "translation", "language_modelling")
