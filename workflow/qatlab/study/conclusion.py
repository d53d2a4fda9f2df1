"""Conclusion of a study: what quantization costs, whether a recipe wins it back, and what to ship, in sentences and as data.

The stage `tables` writes conclusion.json beside study.json; the study's page, the terminal and the command `gate` read it.
"""

import shutil
import textwrap
from pathlib import Path
from typing import Literal

from qatlab.artifact import read_json
from qatlab.registry import Strict

FILE = "conclusion.json"
PAGE, TABLE = (
    "index.html",
    "tables/recommendation.md",
)  # in the study's folder; the table is shown where there is no page
Grade = Literal["safest", "balanced", "smallest"]
# Largest loss of an offer as a multiple of the study's budget, at the upper end of its interval.
GRADES: dict[Grade, float] = {"safest": 0.2, "balanced": 1.0, "smallest": 5.0}
WIDEST = 110  # characters of a line on the terminal, where sentences stay readable
INDENT = "  "


class Offer(Strict):
    """Form in which a model can be shipped: the one with the fewest bytes within its grade's bound on the loss.

    Attributes:
        grade: the grade, whose bound is a multiple of the study's budget (GRADES).
        run: the run to load, of the lowest seed.
        varied: values of the matrix's keys besides method and seed.
        rotation: label of the axes on which embeddings are quantized, or "none".
        output: label of the precision in tables, with scoring and rescoring; "text" of a causal language model.
        doc_bytes: bytes stored per document, with copies for rescoring; 0 for a causal language model.
        model_bytes: median over seeds; None if it is unknown.
        texts_per_second: median over the runs of all methods in this deployment; None if it is unknown.
        value: mean over tasks and seeds of the main metric.
        loss, low, high: how much worse than the best float result the value is, and the ends of the simultaneous 95 % interval.
        relative, relative_high: `loss` and `high` as shares of the best float result.
        verdict: "better", "worse" or "not separable" from the best float result.
        load: Python code that loads the model and quantizes embeddings; paths are relative to the folder that contains results/.
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
    """Conclusion of a study.

    Attributes:
        metric: label of the main metric.
        budget: largest loss of the balanced offer, as a share of the best float result.
        reference: the best float result in words; empty if the study has none.
        reference_value: its value.
        sentences: what quantization costs, whether a recipe wins it back, and the recommendation.
        offers: one offer per grade; empty if nothing can be recommended.
        undecided: what the results cannot decide, and what it would take; None if nothing is open.
        complete: whether all runs of the study have results.
    """

    version: Literal[1] = 1
    metric: str
    budget: float
    reference: str
    reference_value: float | None
    sentences: tuple[str, str, str]
    offers: tuple[Offer, ...] = ()
    undecided: str | None = None
    complete: bool = True

    def offer(self, grade: Grade) -> Offer | None:
        """Return the offer of a grade; None if there is none."""
        return next((offer for offer in self.offers if offer.grade == grade), None)


def read_conclusion(study: Path) -> Conclusion:
    """Read conclusion.json from the folder of a study."""
    return Conclusion.model_validate(read_json(study / FILE))


def terminal_lines(study: Path, width: int | None = None) -> list[str]:
    """Return the conclusion of a study as lines for the terminal: its name, the sentences, and the path of its page.

    Args:
        study: folder of the study.
        width: number of characters of a line; None for that of the terminal.
    """
    conclusion, page = read_conclusion(study), study / PAGE
    sentences = [*conclusion.sentences, *([conclusion.undecided] if conclusion.undecided else [])]
    across = min(width or shutil.get_terminal_size().columns, WIDEST)
    lines = [f"{study.name}:"]
    for sentence in sentences:
        # Names and paths are not broken at hyphens, so that they can be copied.
        lines += textwrap.wrap(
            sentence, max(across, 3 * len(INDENT)), initial_indent=INDENT, subsequent_indent=2 * INDENT,
            break_on_hyphens=False, break_long_words=False,
        )  # fmt: skip
    return [*lines, f"{INDENT}{page if page.exists() else study / TABLE}"]
