"""Configuration of embedding drift, the distance by which deployment moves embeddings (conf/drift)."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from qatlab.registry import FullLine, Strict


def _each_once(references: str | list[str]) -> str | list[str]:
    if isinstance(references, list) and len(set(references)) != len(references):
        raise ValueError(f"a reference is listed twice: {', '.join(references)}; list each reference once")
    return references


class DriftTexts(Strict):
    """Settings of which texts' embeddings are compared."""

    texts: Annotated[
        Literal["documents", "queries", "all"], Field(description="Texts of a task whose embeddings are compared.")
    ] = "documents"
    limit: Annotated[
        int | None,
        Field(gt=0, description="Number of texts, from the first, whose embeddings are compared; null compares all."),
    ] = None


class DriftConfig(DriftTexts):
    """Settings for measuring the cosine similarity between each text's embeddings by a deployment and by a reference."""

    reference: Annotated[
        FullLine | Annotated[list[FullLine], Field(min_length=1)],
        AfterValidator(_each_once),
        Field(
            description="Reference, or list of references, that each deployment is compared with: another deployment of the same "
            "run (torch_fp32), or a deployment of another method's run (baseline/torch_fp32)."
        ),
    ] = "torch_fp32"

    @property
    def references(self) -> list[str]:
        """Return `reference` as a list, also where it is a single reference."""
        return [self.reference] if isinstance(self.reference, str) else self.reference
