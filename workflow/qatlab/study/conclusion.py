"""Conclusion of a study, which the stage `tables` writes to conclusion.json and pages show: sentences, and forms to ship."""

from typing import Literal

from qatlab.registry import Strict

Grade = Literal["safest", "balanced", "smallest"]
# Largest loss of an offer as a multiple of the study's budget, at the upper end of its interval.
GRADES: dict[Grade, float] = {"safest": 0.2, "balanced": 1.0, "smallest": 5.0}


class Offer(Strict):
    """One form in which a model can be shipped.

    Attributes:
        run: the run to load.
        varied: values of the matrix's other keys.
        rotation: label of the axes that embeddings are quantized on; "none" for the model's own.
        output: label of the precision as tables print it.
        value: main metric, mean over tasks and seeds.
        loss, low, high: best float value minus `value`, absolute, with its 95 % interval.
        relative, relative_high: loss and its upper end as a share of the best float value.
        load: lines that load the model and quantize its embeddings.
    """

    grade: Grade
    run: str
    method: str
    varied: dict[str, object]
    deploy: str
    rotation: str
    output: str
    scoring: str
    doc_bytes: int
    model_bytes: int | None
    texts_per_second: float | None
    value: float
    loss: float
    low: float
    high: float
    relative: float
    relative_high: float
    verdict: str
    load: str


class Conclusion(Strict):
    """The answer of a study in three sentences, and at most three offers.

    Attributes:
        metric: label of the main metric.
        budget: relative loss that is accepted.
        reference: the best float result in words.
        undecided: what the study cannot decide, and what a decision would take.
        complete: False while runs are missing or failed.
    """

    version: Literal[1] = 1
    metric: str
    budget: float
    reference: str
    reference_value: float | None
    sentences: tuple[str, ...]
    offers: tuple[Offer, ...]
    undecided: str | None
    complete: bool
