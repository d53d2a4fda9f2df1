"""Task of docstring → code search in an installed package, after the CodeSearchNet protocol (https://arxiv.org/abs/1909.09436)."""

import random
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from qatlab.registry import Name
from qatlab.tasks.task import TASKS, Loaded, Task


@TASKS.register("docstrings")
class DocstringTask(Task):
    """Retrieval of functions of an installed package by their docstring summaries; every function is a document."""

    chooses_queries: ClassVar[bool] = True

    source: Literal["docstrings"]
    package: Annotated[Name, Field(description="Import name of an installed package, or 'stdlib'.")]
    documents: Annotated[
        int | None,
        Field(gt=0, description="Number of documents to index, those of the queries first; null indexes all."),
    ] = None

    def origin(self) -> dict[str, str]:
        """Return the version of the package, by its name."""
        from qatlab.sources.packages import package_version

        return {self.package: package_version(self.package)}

    def load(self, name: str, model: Path | None) -> Loaded:
        """Return the functions of the package, shuffled, as documents and the summaries of the first ones as queries."""
        import pandas as pd

        from qatlab.sources.packages import extract

        pairs = extract(self.package)
        random.Random(self.shuffle_seed).shuffle(pairs)
        pairs = pairs[: self.documents]
        queried = pairs[: self.queries]
        return Loaded(
            "retrieval",
            pd.DataFrame([(pair.id, pair.code) for pair in pairs], columns=["id", "text"]),
            pd.DataFrame([(pair.id, pair.summary) for pair in queried], columns=["id", "text"]),
            pd.DataFrame([(pair.id, pair.id, 1) for pair in queried], columns=["query_id", "doc_id", "relevance"]),
        )
