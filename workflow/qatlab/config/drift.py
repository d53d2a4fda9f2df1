"""How far deployment moves embeddings (conf/drift)."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from qatlab.base import FullLine, Strict


def _each_once(references: str | list[str]) -> str | list[str]:
    if isinstance(references, list) and len(set(references)) != len(references):
        raise ValueError("a reference stands twice")
    return references


class DriftTexts(Strict):
    """The texts whose embeddings are compared."""

    texts: Annotated[Literal["documents", "queries", "all"], Field(description="Which of a task's texts")] = "documents"
    limit: Annotated[int | None, Field(gt=0, description="The first n texts; null takes all")] = None


class DriftConfig(DriftTexts):
    """Cosine similarity of each text's embedding by a deployment to that by a reference."""

    reference: Annotated[
        FullLine | Annotated[list[FullLine], Field(min_length=1)],
        AfterValidator(_each_once),
        Field(
            description="What deployments are compared with, one or several: another deployment of the same run (torch_fp32), "
            "or of another method's run (baseline/torch_fp32)"
        ),
    ] = "torch_fp32"

    @property
    def references(self) -> list[str]:
        """One or several, as a list."""
        return [self.reference] if isinstance(self.reference, str) else self.reference
