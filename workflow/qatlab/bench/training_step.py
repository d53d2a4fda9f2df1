"""Benchmark of training steps with QuantizationAwareLoss (float32 + int8 + binary) and with int8 weights, over a plain step.

`python -m qatlab.bench.training_step plain|aware|weights` runs a few steps of one kind and prints its peak memory in bytes.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

from qatlab.bench.row import Row, in_turns

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGES = ("numpy", "scipy")
TOKENS, PAIRS, MEMORY_STEPS = 96, 8, 3
DIM, LOSSES_PER_PAIR = 384, 10
CPU_BATCH, GPU_BATCH = 64, 256


def measure_training_step(pairs: int = PAIRS) -> Iterator[Row]:
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
    columns = torch.nn.functional.normalize(torch.randn(2, batch, DIM, device=device), dim=2)

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
    command = [sys.executable, "-m", "qatlab.bench.training_step", which]
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
