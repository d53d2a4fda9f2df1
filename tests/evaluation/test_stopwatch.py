"""The time of a query excludes the work that is done once for all documents."""

import time

import numpy as np
import pytest

from qatlab.config.evaluate import EvaluateConfig
from qatlab.evaluation.axes import OnAxes, unit_length
from qatlab.evaluation.outputs import outputs
from qatlab.evaluation.ranking import SideRanges, rank, side_ranges
from qatlab.evaluation.search import Stopwatch


def test_only_time_inside_the_blocks_is_added_up():
    watch = Stopwatch()
    for _ in range(2):
        with watch:
            time.sleep(0.02)
        time.sleep(0.2)
    assert 0.04 <= watch.seconds < 0.2


class Slow(OnAxes):
    """Embeddings that are slow to read."""

    def __getitem__(self, rows):
        time.sleep(0.1)
        return super().__getitem__(rows)


@pytest.mark.parametrize(
    ("precision", "scoring", "rescoring"),
    [("int8", "dequantized", "none"), ("binary", "dequantized", "float32"), ("float32_x_binary", "rabitq", "none")],
)
def test_reading_documents_is_not_part_of_the_query_time(precision, scoring, rescoring):
    config = {"metrics": ["ndcg@10"], "precisions": [precision], "scoring": scoring, "rescoring": [rescoring]}
    config = EvaluateConfig.model_validate(config)
    (output,) = outputs(config)
    embeddings = unit_length(np.random.default_rng(0).normal(size=(200, 32)).astype(np.float32))
    queries, documents = OnAxes(embeddings[:2]), Slow(embeddings)
    ranges = side_ranges([output], queries, OnAxes(embeddings), config, {}).get(output.ranges, SideRanges())
    watch = Stopwatch()
    best = rank(queries, documents, output, ranges, 10, watch=watch)
    assert 0 < watch.seconds < 0.1
    assert np.array_equal(best, rank(queries, OnAxes(embeddings), output, ranges, 10))
