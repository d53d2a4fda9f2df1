"""The chain of a decomposition, from the float model to what is shipped: what tables read of it."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Step:
    """One component, and the form of the model that has it and all those before.

    Attributes:
        component: as tables call it.
        output: how they are compared, as columns of per_query.parquet name it.
        scores: by task, the path of the scores.
    """

    component: str
    output: str
    scores: dict[str, str]


@dataclass(frozen=True)
class Chain:
    """All steps to one deployment, its embeddings stored at one precision."""

    deploy: str
    precision: str
    steps: list[Step]


@dataclass
class Part:
    """An encoding that chains are made from: the form and its deployed model, the task, and every score of its embeddings."""

    deploy: str
    task: str
    deployed: str
    encode: str
    scores: list[str] = field(default_factory=list)
