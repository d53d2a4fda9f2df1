"""Kinds of evaluation tasks; the kind of a task determines how a model is scored on it."""

from typing import Literal

Kind = Literal["retrieval", "reranking", "similarity", "translation", "language_modelling"]

# In tasks of these kinds, a query and the document with the same id form one item.
PAIRED: tuple[Kind, ...] = ("similarity", "translation", "language_modelling")
