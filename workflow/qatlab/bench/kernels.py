"""Benchmarks of kernels: quantization, search, percentiles of weights, intervals of differences, and a training step."""

import logging
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import faiss
import numpy as np

from qatlab.bench.run import Row, in_turns, medians
from qatlab.config.evaluate import EvaluateConfig
from qatlab.evaluation.axes import OnAxes, unit_length
from qatlab.evaluation.outputs import outputs
from qatlab.evaluation.ranking import SideRanges, rank, side_ranges
from qatlab.evaluation.search import Stopwatch
from qatlab.quantization import MinMaxRange, quantize_embeddings

ROWS, QUANTIZED_DIM, QUANTIZED_PAIRS = 1_000_000, 384, 9
ROOM = 256 * 2**20  # bytes that quantization may allocate in addition to its result


def measure_quantize(rows: int = ROWS, pairs: int = QUANTIZED_PAIRS) -> Iterator[Row]:
    """Measure the time and peak memory of int8 and packed binary codes of embeddings (rows, 384) float32."""
    from sentence_transformers.util import quantize_embeddings as reference

    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    embeddings = np.random.default_rng(0).standard_normal((rows, QUANTIZED_DIM), dtype=np.float32)
    ranges = MinMaxRange().fit(embeddings)
    array = np.vstack([ranges.low, ranges.high])
    for precision in ("int8", "binary"):
        ours, theirs = in_turns(
            partial(quantize_embeddings, embeddings, precision, ranges),
            partial(reference, embeddings, precision=precision, ranges=array),
            pairs,
        )
        reference_is = f"sentence-transformers' quantize_embeddings, {rows:,} × {QUANTIZED_DIM}"
        yield Row(f"quantize_{precision}_time", ours, theirs, 1.0, "s", reference_is)
        tracemalloc.start()
        codes = quantize_embeddings(embeddings, precision, ranges)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        reference_is = f"the codes ({codes.nbytes / 2**20:.0f} MiB) and 256 MiB"
        yield Row(f"quantize_{precision}_memory", peak / 2**20, (codes.nbytes + ROOM) / 2**20, 1.0, "MiB", reference_is)


# Benchmark of exact search in a million int8 and binary documents, with faiss in float32 and sentence-transformers as references.
#
# It calls `qatlab.evaluation.ranking.rank` as the stage `score` does. Seconds per query exclude the preparation of documents: the
# references search an existing index, and `rank` measures only the comparison (its docstring says what is excluded). Unlike the
# references, `rank` orders equal scores deterministically and computes the best products again in float64. The last rows measure whole
# calls, from float32 documents to rankings.
#
# Sentence Transformers compares uint8 codes with each other or with float32 queries; `rank` compares the values of int8 codes. The
# former rescores with the codes that it has searched, the latter with float32 documents.

DOCUMENTS, QUERIES, DIM, TOP_K, PAIRS = 1_000_000, 100, 384, 10, 3
OVERSAMPLING = 2  # sentence-transformers' default
AT_ONCE = 1 << 16
THEIR_PRECISION = {"int8": "uint8", "binary": "ubinary"}


def measure_search(documents: int = DOCUMENTS, queries: int = QUERIES, pairs: int = PAIRS) -> Iterator[Row]:
    """Measure the seconds per query of searches for all queries at once.

    Args:
        documents: number of documents.
        queries: number of queries.
        pairs: number of measurements, of which the median is taken.
    """
    sides = embeddings(documents, queries)
    size = f"{documents:,} × {DIM}, {queries} queries"
    yield from _against_float32(*sides, pairs, size)
    for precision in THEIR_PRECISION:
        yield from _against_sentence_transformers(*sides, precision, pairs, size)


def embeddings(documents: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Return queries and documents of unit length, (n, DIM) float32 each: random documents, and queries near some of them."""
    rng = np.random.default_rng(0)
    stored = np.empty((documents, DIM), dtype=np.float32)
    for first in range(0, documents, AT_ONCE):
        block = stored[first : first + AT_ONCE]
        block[:] = unit_length(rng.standard_normal(block.shape, dtype=np.float32))
    near = stored[rng.choice(documents, queries, replace=False)]
    return unit_length(near + rng.standard_normal(near.shape, dtype=np.float32) / DIM**0.5), stored


def our_search(queries: np.ndarray, documents: np.ndarray, precision: str, rescoring: bool) -> Callable[[], float]:
    """Return a function that ranks the documents and returns the measured seconds.

    Args:
        queries: embeddings, (queries, DIM) float32.
        documents: embeddings, (documents, DIM) float32.
        precision: precision of both.
        rescoring: whether the best documents are rescored in float32.
    """
    step = {"documents": "float32", "oversampling": OVERSAMPLING, "top_k": TOP_K}
    config = EvaluateConfig.model_validate(
        {"metrics": ["ndcg@10"], "precisions": [precision], "rescoring": [[step]] if rescoring else ["none"]}
    )
    (output,) = outputs(config)
    sides = (OnAxes(queries), OnAxes(documents))
    ranges = side_ranges([output], *sides, config, {}).get(output.ranges, SideRanges())

    def search() -> float:
        watch = Stopwatch()
        rank(*sides, output, ranges, TOP_K, watch=watch)
        return watch.seconds

    return search


def their_search(
    queries: np.ndarray, documents: np.ndarray, precision: str
) -> tuple[Callable[..., Any], Callable[[], Any]]:
    """Return two searches of Sentence Transformers: one of an existing index, with an argument `rescore`, and one that builds it.

    Args:
        queries: embeddings, (queries, DIM) float32.
        documents: embeddings, (documents, DIM) float32.
        precision: int8 or binary.
    """
    from sentence_transformers.util.quantization import quantize_embeddings, semantic_search_faiss

    theirs, ranges = THEIR_PRECISION[precision], np.stack([documents.min(axis=0), documents.max(axis=0)])
    options: dict[str, object] = {"corpus_precision": theirs, "ranges": ranges, "top_k": TOP_K}
    options["rescore_multiplier"] = OVERSAMPLING

    def from_documents(output_index: bool = False) -> Any:
        codes = quantize_embeddings(documents, theirs, ranges)
        return semantic_search_faiss(queries, codes, rescore=False, output_index=output_index, **options)

    index = from_documents(output_index=True)[2]
    return partial(semantic_search_faiss, queries, corpus_index=index, **options), from_documents


def _against_float32(queries: np.ndarray, documents: np.ndarray, pairs: int, size: str) -> Iterator[Row]:
    index = faiss.IndexFlatIP(DIM)
    index.add(documents)
    theirs = partial(_timed, partial(index.search, queries, TOP_K))
    for precision in ("float32", *THEIR_PRECISION):
        seconds = medians(our_search(queries, documents, precision, rescoring=False), theirs, pairs)
        yield _row(f"search_{precision}_over_float32", seconds, len(queries), f"faiss.IndexFlatIP in float32, {size}")


def _against_sentence_transformers(
    queries: np.ndarray, documents: np.ndarray, precision: str, pairs: int, size: str
) -> Iterator[Row]:
    theirs, from_documents = their_search(queries, documents, precision)
    reference = f"semantic_search_faiss at {THEIR_PRECISION[precision]}"
    for rescoring, name in ((False, "rescore=False"), (True, f"rescoring {OVERSAMPLING * TOP_K}")):
        ours = our_search(queries, documents, precision, rescoring)
        seconds = medians(ours, partial(_timed, partial(theirs, rescore=rescoring)), pairs)
        suffix = "_rescored" if rescoring else ""
        yield _row(f"search_{precision}{suffix}", seconds, len(queries), f"{reference}, {name}, {size}")
    seconds = in_turns(our_search(queries, documents, precision, rescoring=False), from_documents, pairs)
    reference = f"quantize_embeddings and {reference}, rescore=False, {size}"
    yield _row(f"search_{precision}_with_indexing", seconds, len(queries), reference)


def _timed(call: Callable[[], Any]) -> float:
    watch = Stopwatch()
    with watch:
        call()
    return watch.seconds


def _row(name: str, seconds: tuple[float, float], queries: int, reference: str) -> Row:
    return Row(name, seconds[0] / queries, seconds[1] / queries, None, "s", reference)


SIZE, SHARE, CLIP_PAIRS = 2048, 0.9999984, 15  # SHARE is that of the parameter-golf ablation.


def measure_clip(size: int = SIZE, pairs: int = CLIP_PAIRS) -> Iterator[Row]:
    """Measure the time for a weight (size, size), as the median of pairs, and the largest difference."""
    import torch

    from qatlab.weights.prepare import percentile_limit

    weight = torch.randn(size, size, generator=torch.Generator().manual_seed(0))

    def reference() -> torch.Tensor:
        return torch.quantile(weight.abs(), SHARE, dim=1)

    ours, theirs = in_turns(partial(percentile_limit, weight, SHARE), reference, pairs)
    reference_is = f"torch.quantile of the magnitudes of {size} × {size}"
    yield Row("percentile_clip_time", ours, theirs, 1 / 20, "s", reference_is)
    difference = (percentile_limit(weight, SHARE) - reference()).abs().max().item()
    yield Row("percentile_clip_difference", difference, 1e-6, 1.0, "", "the difference allowed")


TASKS, METHODS, PRECISIONS, SEEDS, TESTED_QUERIES = 13, 8, 5, 3, 50
SECONDS_ALLOWED, TIMES = 10.0, 3


def measure_bootstrap(tasks: int = TASKS, queries: int = TESTED_QUERIES) -> Iterator[Row]:
    """Measure the seconds for the verdicts on METHODS × PRECISIONS differences, each with SEEDS seeds per task.

    Args:
        tasks: number of tasks.
        queries: number of queries per task.
    """
    from qatlab.statistics import verdicts

    rng = np.random.default_rng(0)
    differences = [
        [rng.normal(0.002 * cell, 0.3, size=(SEEDS, queries)) for _ in range(tasks)]
        for cell in range(METHODS * PRECISIONS)
    ]
    seconds = []
    for _ in range(TIMES):
        began = time.perf_counter()
        verdicts(differences)
        seconds.append(time.perf_counter() - began)
    size = f"{len(differences)} differences over {tasks} tasks × {queries} queries × {SEEDS} seeds"
    reference = f"the {SECONDS_ALLOWED:g} s allowed for {size}"
    yield Row("bootstrap_time", statistics.median(seconds), SECONDS_ALLOWED, 1.0, "s", reference)


# Benchmark of training steps with QuantizationAwareLoss (float32 + int8 + binary) and with int8 weights, over a plain step.
#
# `python -m qatlab.bench.kernels plain|aware|weights` runs a few steps of one kind and prints its peak memory in bytes.

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGES = ("numpy", "scipy")
TOKENS, TRAINED_PAIRS, MEMORY_STEPS = 96, 8, 3
TRAINED_DIM, LOSSES_PER_PAIR = 384, 10
CPU_BATCH, GPU_BATCH = 64, 256


def measure_training_step(pairs: int = TRAINED_PAIRS) -> Iterator[Row]:
    """Measure step time and peak memory: compiled bf16 at batch 256 if there is a GPU, else float32 at batch 64 on the CPU."""
    import torch

    from qatlab.losses.gradients import EVERY

    gpu = torch.cuda.is_available()
    device, batch = ("cuda", GPU_BATCH) if gpu else ("cpu", CPU_BATCH)
    precision = "bf16, compiled" if gpu else "fp32"
    reference = f"MultipleNegativesRankingLoss, all-MiniLM-L6-v2, batch {batch}, {TOKENS} tokens, {precision}, {device}"
    steps = step_functions(device, batch)
    memory = {name: _peak_memory(name) / 2**20 for name in steps}
    seconds = {}
    for name, kind, bound in (("int8_binary", "aware", 1.02), ("int8_weights", "weights", 1.10)):
        seconds[kind], plain = in_turns(steps[kind], steps["plain"], pairs)
        yield Row(f"step_time_{name}", seconds[kind], plain, bound, "s", reference)
        yield Row(f"step_memory_{name}", memory[kind], memory["plain"], 1.05, "MiB", reference)
    comparing, plain = in_turns(*_losses_alone(device, batch), pairs * LOSSES_PER_PAIR)
    reference = f"a step of float32 + int8 + binary; gradients are compared every {EVERY} steps, {device}"
    yield Row("step_time_gradient_comparison", (comparing - plain) / EVERY, seconds["aware"], 0.01, "s", reference)


def _losses_alone(device: str, batch: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return forward passes of the loss over stored embeddings, without a model: with and without the comparison of gradients."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    from qatlab.losses import QuantizationAwareLoss

    model = SentenceTransformer(
        modules=[torch.nn.Identity()], device=device, trust_remote_code=False, model_kwargs={"use_safetensors": True}
    )
    columns = torch.nn.functional.normalize(torch.randn(2, batch, TRAINED_DIM, device=device), dim=2)

    def forward_of(every: int) -> Callable[[], None]:
        loss = QuantizationAwareLoss(
            model,
            MultipleNegativesRankingLoss(model),
            precisions=["float32", "int8", "binary"],
            diagnose_every=every,
        )

        def forward() -> None:
            loss([{"sentence_embedding": column.clone().requires_grad_()} for column in columns], None)
            if device == "cuda":
                torch.cuda.synchronize()

        return forward

    return forward_of(1), forward_of(0)


def step_functions(device: str, batch: int, only: str | None = None) -> dict[str, Callable[[], None]]:
    """Return functions that take an optimizer step on the same texts, each with its own model, by kind: plain, aware and weights.

    Args:
        device: cpu or cuda.
        batch: number of texts per batch.
        only: the only kind to return; None returns all.
    """
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.util import batch_to_device

    from qatlab.config.weights import WeightsConfig
    from qatlab.losses import QuantizationAwareLoss
    from qatlab.models.folders import packaged_folder
    from qatlab.sources.packages import extract
    from qatlab.weights.prepare import prepare

    pairs = [pair for package in PACKAGES for pair in extract(package)][:batch]
    texts: list[Any] = [[pair.summary for pair in pairs], [pair.code for pair in pairs]]

    def step_of(kind: str) -> Callable[[], None]:
        torch.manual_seed(0)
        model = SentenceTransformer(
            str(packaged_folder(MODEL) or MODEL),
            device=device,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )
        model.max_seq_length = TOKENS
        if kind == "weights":
            prepare(model, WeightsConfig(name="int8"))
        if device == "cuda":
            # All kinds are compiled, because fake quantizers consist of many small kernels until they are fused.
            model[0].compile(dynamic=True)
        features = [batch_to_device(model.preprocess(column), torch.device(device)) for column in texts]
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
        loss: Any = MultipleNegativesRankingLoss(model)
        if kind == "aware":
            loss = QuantizationAwareLoss(model, loss, precisions=["float32", "int8", "binary"])
        model.train()

        def step() -> None:
            with torch.autocast("cuda", dtype=torch.bfloat16, enabled=device == "cuda"):
                value = loss([dict(column) for column in features], None)
            total: Any = sum(value.values()) if isinstance(value, dict) else value
            total.backward()
            optimizer.step()
            optimizer.zero_grad()
            if device == "cuda":
                torch.cuda.synchronize()

        return step

    return {kind: step_of(kind) for kind in ("plain", "aware", "weights") if only in (None, kind)}


def _peak_memory(which: str) -> int:
    command = [sys.executable, "-m", "qatlab.bench.kernels", which]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    return int(printed.split()[-1])


def _print_peak_memory(which: str) -> None:
    import torch

    from qatlab.machine.hardware import peak_memory_bytes

    gpu = torch.cuda.is_available()
    steps = step_functions("cuda" if gpu else "cpu", GPU_BATCH if gpu else CPU_BATCH, which)
    for _ in range(MEMORY_STEPS):
        steps[which]()
    sys.stdout.write(f"{peak_memory_bytes()}\n")


if __name__ == "__main__":
    _print_peak_memory(sys.argv[1])
