"""Docstring → code search in an installed package, after the CodeSearchNet protocol (https://arxiv.org/abs/1909.09436)."""

import random
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from qatlab.base import Name
from qatlab.tasks.task import TASKS, Loaded, Task


@TASKS.register("docstrings")
class DocstringTask(Task):
    """Find a function of an installed package by its docstring summary; every function is a document."""

    chooses_queries: ClassVar[bool] = True

    source: Literal["docstrings"]
    package: Annotated[Name, Field(description="An installed package, or 'stdlib'")]
    documents: Annotated[
        int | None, Field(gt=0, description="Documents indexed, those of the queries first; null indexes all")
    ] = None

    def origin(self) -> dict[str, str]:
        """Return the package's version."""
        from qatlab.data.docstrings import package_version

        return {self.package: package_version(self.package)}

    def load(self, name: str, model: Path | None) -> Loaded:
        """Return the package's functions, shuffled, and the summaries of the first of them."""
        import pandas as pd

        from qatlab.data.docstrings import extract

        pairs = extract(self.package)
        random.Random(self.shuffle_seed).shuffle(pairs)
        pairs = pairs[: self.documents]
        asked = pairs[: self.queries]
        return Loaded(
            "retrieval",
            pd.DataFrame([(pair.id, pair.code) for pair in pairs], columns=["id", "text"]),
            pd.DataFrame([(pair.id, pair.summary) for pair in asked], columns=["id", "text"]),
            pd.DataFrame([(pair.id, pair.id, 1) for pair in asked], columns=["query_id", "doc_id", "relevance"]),
        )
