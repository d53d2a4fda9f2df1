"""A training step with QuantizationAwareLoss (float32 + int8 + binary) against one with the plain loss.

`python -m qatlab.bench.training_step plain|aware` runs a few steps of one and prints its peak memory in bytes.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

from qatlab.bench.row import Row, in_turns

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGES = ("numpy", "scipy")
TOKENS, PAIRS, MEMORY_STEPS = 96, 8, 3
CPU_BATCH, GPU_BATCH = 64, 256


def measure(pairs: int = PAIRS) -> Iterator[Row]:
    """Step time and peak memory: float32 at batch 64 on the processor; bf16 at batch 256 on a GPU, where there is one."""
    import torch

    gpu = torch.cuda.is_available()
    device, batch = ("cuda", GPU_BATCH) if gpu else ("cpu", CPU_BATCH)
    what = f"MultipleNegativesRankingLoss, all-MiniLM-L6-v2, batch {batch}, {TOKENS} tokens, {'bf16' if gpu else 'fp32'}, {device}"
    aware, plain = step_functions(device, batch)
    yield Row("step_time_int8_binary", *in_turns(aware, plain, pairs), 1.02, "s", what)
    ours, theirs = (_peak_memory(name) for name in ("aware", "plain"))
    yield Row("step_memory_int8_binary", ours / 2**20, theirs / 2**20, 1.05, "MiB", what)


def step_functions(device: str, batch: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """(aware, plain): each takes an optimizer step of its own kind on the same model and the same texts."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.util import batch_to_device

    from qatlab.data.docstrings import extract
    from qatlab.losses import QuantizationAwareLoss
    from qatlab.models.packaged import packaged_folder

    pairs = [pair for package in PACKAGES for pair in extract(package)][:batch]
    torch.manual_seed(0)
    model = SentenceTransformer(str(packaged_folder(MODEL) or MODEL), device=device)
    model.max_seq_length = TOKENS
    columns: list[Any] = [[pair.summary for pair in pairs], [pair.code for pair in pairs]]
    features = [batch_to_device(model.preprocess(texts), torch.device(device)) for texts in columns]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
    inner = MultipleNegativesRankingLoss(model)
    aware = QuantizationAwareLoss(model, inner, precisions=["float32", "int8", "binary"])
    model.train()

    def step(loss: Any) -> None:
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=device == "cuda"):
            value = loss([dict(column) for column in features], None)
        total: Any = sum(value.values()) if isinstance(value, dict) else value
        total.backward()
        optimizer.step()
        optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()

    return lambda: step(aware), lambda: step(inner)


def _peak_memory(which: str) -> int:
    command = [sys.executable, "-m", "qatlab.bench.training_step", which]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    return int(printed.split()[-1])


def _print_peak_memory(which: str) -> None:
    import torch

    from qatlab.training.device import peak_memory_bytes

    gpu = torch.cuda.is_available()
    aware, plain = step_functions("cuda" if gpu else "cpu", GPU_BATCH if gpu else CPU_BATCH)
    for _ in range(MEMORY_STEPS):
        {"aware": aware, "plain": plain}[which]()
    sys.stdout.write(f"{peak_memory_bytes()}\n")


if __name__ == "__main__":
    _print_peak_memory(sys.argv[1])
