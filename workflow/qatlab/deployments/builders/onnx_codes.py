"""An ONNX graph that ends in the quantizer: beside `sentence_embedding`, the codes that an index stores.

They are those of `qatlab.quantization.quantize_embeddings`, bit for bit: the same float32 operations in the same order.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper

from qatlab.deployments.encoders.onnx import OnnxEncoder
from qatlab.deployments.onnx import ONNX_FILE, OUTPUT
from qatlab.models.prompts import prompt_for
from qatlab.quantization.grids import fitted_grid
from qatlab.quantization.ranges import RANGES, MinMaxRange, Range

RANGES_FILE = "onnx/int8_ranges.npz"
BATCH_SIZE = 32
Steps = list[tuple[str, list[str | None], dict[str, Any]]]  # operator, inputs (None: what is before it), attributes


def append_codes(path: Path, precision: str, dim: int, ranges: Range | None = None) -> None:
    """Add the output `sentence_embedding_<precision>` to an ONNX file.

    Args:
        path: of a file with the output `sentence_embedding`, (batch, dim) float32.
        precision: "int8", (batch, dim) int8; or "binary", (batch, ⌈dim / 8⌉) int8, eight dimensions to a byte.
        dim: of the embeddings.
        ranges: what int8 codes are laid over; None for binary.
    """
    model = onnx.load(path, load_external_data=False)
    codes = f"{OUTPUT}_{precision}"
    if precision == "int8":
        assert ranges is not None
        width = dim
        _int8(model.graph, codes, *fitted_grid(ranges, "int8", dim, np.empty(0, np.float32)))  # type: ignore[misc]
    else:
        width = -(-dim // 8)
        _binary(model.graph, codes, dim)
    model.graph.output.append(helper.make_tensor_value_info(codes, TensorProto.INT8, ["batch", width]))
    onnx.save(model, path)


def finish_with_codes(folder: Path, precision: str, data: Path | None, texts: int, threads: int | None) -> None:
    """Let the ONNX file of a deployed folder also output codes.

    Args:
        folder: a deployment's `model/`.
        precision: int8 or binary.
        data: the training data, for int8 ranges where training left none.
        texts: training documents that these are then fitted on.
        threads: of ONNX Runtime.
    """
    ranges = saved_ranges(folder, data, texts, threads) if precision == "int8" else None
    dim = OnnxEncoder(folder, threads).encode(["a"], 1).shape[1]
    append_codes(folder / ONNX_FILE, precision, dim, ranges)


def saved_ranges(folder: Path, data: Path | None, texts: int, threads: int | None) -> Range:
    """The int8 ranges of a deployment's codes: training's, or those of training documents' embeddings; written to RANGES_FILE."""
    trained = folder / RANGES / "int8.npz"
    if trained.is_file():
        shutil.copyfile(trained, folder / RANGES_FILE)
    else:
        assert data is not None
        documents = pq.read_table(data / "train.parquet").column(1).slice(0, texts).to_pylist()
        prompt = prompt_for(folder, "documents")
        embeddings = OnnxEncoder(folder, threads).encode([prompt + text for text in documents], BATCH_SIZE)
        MinMaxRange().fit(embeddings).save(folder / RANGES_FILE)
    return Range.load(folder / RANGES_FILE)


def _int8(graph: Any, codes: str, low: np.ndarray, step: np.ndarray) -> None:
    """⌊(x − low) / step⌋ within 0 and 255, less 128."""
    name = _constants(graph, codes, low=low, step=step, least=np.float32(0), most=np.float32(255), half=np.int32(128))
    steps: Steps = [
        ("Sub", [OUTPUT, name["low"]], {}),
        ("Div", [None, name["step"]], {}),
        ("Clip", [None, name["least"], name["most"]], {}),
        ("Cast", [None], {"to": TensorProto.INT32}),  # cuts decimals off
        ("Sub", [None, name["half"]], {}),
        ("Cast", [None], {"to": TensorProto.INT8}),
    ]
    _chain(graph, codes, steps)


def _binary(graph: Any, codes: str, dim: int) -> None:
    """Whether x > 0, the first dimension in the highest bit, the last byte filled up with zeros; less 128."""
    lacking = -dim % 8
    name = _constants(
        graph,
        codes,
        zero=np.float32(0),
        places=2 ** np.arange(7, -1, -1, dtype=np.int32),
        pads=np.array([0, 0, 0, lacking], dtype=np.int64),
        bytes=np.array([-1, (dim + lacking) // 8, 8], dtype=np.int64),
        axis=np.array([2], dtype=np.int64),
        half=np.int32(128),
    )
    steps: Steps = [
        ("Greater", [OUTPUT, name["zero"]], {}),
        ("Cast", [None], {"to": TensorProto.INT32}),
        *([("Pad", [None, name["pads"]], {})] if lacking else []),
        ("Reshape", [None, name["bytes"]], {}),
        ("Mul", [None, name["places"]], {}),
        ("ReduceSum", [None, name["axis"]], {"keepdims": 0}),
        ("Sub", [None, name["half"]], {}),
        ("Cast", [None], {"to": TensorProto.INT8}),
    ]
    _chain(graph, codes, steps)


def _constants(graph: Any, codes: str, **arrays: Any) -> dict[str, str]:
    """Adds constants to the graph; their names in it, by their own."""
    names = {name: f"/{codes}/{name}" for name in arrays}
    graph.initializer.extend(numpy_helper.from_array(np.asarray(array), names[name]) for name, array in arrays.items())
    return names


def _chain(graph: Any, codes: str, steps: Steps) -> None:
    """Adds operators, each of which takes the one before it where an input is None; the last one's output is `codes`."""
    before = ""
    for at, (operator, inputs, attributes) in enumerate(steps):
        output = codes if at == len(steps) - 1 else f"/{codes}/{operator}_{at}_output"
        given = [before if entry is None else entry for entry in inputs]
        graph.node.append(helper.make_node(operator, given, [output], name=f"/{codes}/{operator}_{at}", **attributes))
        before = output
