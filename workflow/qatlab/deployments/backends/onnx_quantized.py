"""A quantized ONNX file, by its configuration: dynamic, or with calibrated ranges of activations (QDQ), by ONNX Runtime.

It stays within a drift budget, or the matrix products that break it are found by bisection and named.
"""

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from qatlab.artifact import write_json
from qatlab.config.weights import LEAST_SHARE, Coverage
from qatlab.deployments.backends.onnx_export import copy_without_weights
from qatlab.deployments.backends.onnx_runtime import OnnxEncoder, TokenBatches, by_length
from qatlab.deployments.deployment import cosine
from qatlab.deployments.onnx import (
    BUDGET_FILE,
    ONNX_FILE,
    OUTPUT,
    DriftBudget,
    DynamicQuantization,
    OnnxDeployment,
    StaticQuantization,
)
from qatlab.errors import UserError
from qatlab.models.settings import prompt_for
from qatlab.progress import say
from qatlab.quantization.grids import fitted_grid
from qatlab.quantization.ranges import RANGES, MinMaxRange, Range

CALIBRATION_BATCH = 16


def calibration_texts(folder: Path, data: Path, count: int) -> list[str]:
    """Return the queries and documents of the first training rows in alternation, with the model's prompts before them.

    Args:
        folder: folder of the model, which holds its prompts.
        data: folder of the data artifact; its first column holds queries, its second documents.
        count: largest number of texts.
    """
    table = pq.read_table(data / "train.parquet")
    rows = (count + 1) // 2
    columns = [
        [prompt_for(folder, side) + text for text in table.column(index).slice(0, rows).to_pylist()]
        for index, side in enumerate(("queries", "documents"))
    ]
    return [text for pair in zip(*columns, strict=True) for text in pair][:count]


def feeds(
    folder: Path, texts: list[str], names: set[str], same_length: bool = False
) -> Iterator[dict[str, np.ndarray]]:
    """Yield a model's inputs batch by batch.

    Args:
        folder: folder of the model, which holds its tokenizer.
        texts: the texts.
        names: names of the model's inputs.
        same_length: whether every batch is padded to the largest number of tokens that the model takes.
    """
    tokens = TokenBatches(folder)
    if same_length:
        tokens.pad_to(tokens.max_tokens)
    for batch in by_length(texts, CALIBRATION_BATCH):
        yield tokens.feed([texts[index] for index in batch], names)


def quantize_dynamically(source: Path, target: Path, config: DynamicQuantization) -> None:
    """Copy a deployment's folder and quantize its ONNX file: weights to int8 now, activations at run time.

    Args:
        source: folder of a float ONNX deployment.
        target: the folder to write.
        config: the parameters of ONNX Runtime.

    Reference: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    """
    copy_without_weights(source, target)
    (target / ONNX_FILE).parent.mkdir()
    quantize_dynamic(
        source / ONNX_FILE,
        target / ONNX_FILE,
        per_channel=config.per_channel,
        reduce_range=config.reduce_range,
        weight_type=QuantType[config.weight_type],
        nodes_to_exclude=config.nodes_to_exclude,
        extra_options={"EnableSubgraph": config.enable_subgraph, "MatMulConstBOnly": config.matmul_const_b_only},
    )


METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}


class Texts(CalibrationDataReader):
    """Reader of batches of tokenized texts, which can be read once."""

    def __init__(self, batches: Iterator[dict[str, np.ndarray]]) -> None:
        self.batches = batches

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next batch, or None after the last."""
        return next(self.batches, None)


def quantize_statically(source: Path, target: Path, config: StaticQuantization, texts: list[str]) -> None:
    """Copy a deployment's folder and quantize its ONNX file, with activation ranges that are calibrated on texts.

    Args:
        source: folder of a float ONNX deployment.
        target: the folder to write.
        config: the parameters of ONNX Runtime.
        texts: the calibration set.

    Reference: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    """
    copy_without_weights(source, target)
    (target / ONNX_FILE).parent.mkdir()
    names = {entry.name for entry in onnx.load(source / ONNX_FILE, load_external_data=False).graph.input}
    # Histograms of activations require batches of equal shape.
    batches = feeds(source, texts, names, same_length=config.calibration != "minmax")
    quantize_static(
        source / ONNX_FILE,
        target / ONNX_FILE,
        Texts(batches),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=config.op_types,
        per_channel=config.per_channel,
        reduce_range=config.reduce_range,
        activation_type=QuantType[config.activation_type],
        weight_type=QuantType[config.weight_type],
        nodes_to_exclude=config.nodes_to_exclude,
        calibrate_method=METHODS[config.calibration],
        extra_options={"MatMulConstBOnly": True, "CalibPercentile": config.percentile},
    )


# Search for the matrix products that cause most of a quantized ONNX file's drift, by bisection.
#
# A node's contribution cannot be derived from its own error, because errors add up and cancel on the way to the embedding. So it is
# measured: the file is quantized again with part of the nodes left in float, and the part that reduces drift most is bisected again.


@dataclass
class SearchResult:
    """Result of the search for a drift budget.

    Attributes:
        drift: mean cosine distance between the float file and the file in which all nodes are quantized.
        nodes: the nodes that contribute most, the largest contribution first, each with the drift of a file that leaves it and
            the nodes before it in float.
    """

    drift: float
    nodes: list[tuple[str, float]] = field(default_factory=list)

    @property
    def remaining(self) -> float:
        """Return the drift of a file that leaves all nodes of the result in float."""
        return self.nodes[-1][1] if self.nodes else self.drift


def search(nodes: Sequence[str], drift_without: Callable[[list[str]], float], budget: DriftBudget) -> SearchResult:
    """Search for the nodes to leave in float so that drift is within the budget; none if it already is.

    Args:
        nodes: names of the candidates, in the order of the graph.
        drift_without: returns the drift of a file that leaves the given nodes in float; it is called about 2 log2(nodes) times
            for each node of the result.
        budget: the largest drift, and the largest number of nodes.
    """
    result = SearchResult(drift_without([]))
    while result.remaining > budget.mean_distance and len(result.nodes) < min(budget.max_nodes, len(nodes)):
        chosen = [name for name, _ in result.nodes]
        candidates, drift = [name for name in nodes if name not in chosen], 0.0
        while True:
            middle = (len(candidates) + 1) // 2
            halves = [half for half in (candidates[:middle], candidates[middle:]) if half]
            drifts = [drift_without([*chosen, *half]) for half in halves]
            drift = min(drifts)
            candidates = halves[drifts.index(drift)]
            if len(candidates) == 1:
                break
        result.nodes.append((candidates[0], drift))
    return result


BATCH_SIZE = 32


def deploy(
    source: Path, target: Path, config: OnnxDeployment, data: Path | None, threads: int | None, label: str
) -> Coverage:
    """Copy the folder of a float ONNX deployment and quantize its file; with a budget, also write budget.json beside the folder.

    Args:
        source: folder of the float deployment.
        target: the folder to write.
        config: the quantized deployment.
        data: folder of the data artifact, for calibration texts.
        threads: number of CPU threads; None for all.
        label: name of the deployment, for messages.

    Returns:
        The number of quantized weights of matrix products among all of them.

    Raises:
        UserError: if the float file is incomplete or lacks a node to exclude, or if less than half of the weights are quantized
            although no node is excluded.
    """
    assert config.quantization is not None
    plain = _load(source / ONNX_FILE)
    nodes = {node.name for node in plain.graph.node}
    for name in config.quantization.nodes_to_exclude:
        if name not in nodes:
            raise UserError(f"quantization.nodes_to_exclude names '{name}', which is not a node of the ONNX file")
    _quantize(source, target, config.quantization, data)
    if config.budget is not None:
        _keep_within_budget(source, target, config, data, threads, label)
    weights = float_weights(plain)
    counts = Coverage(weights - float_weights(onnx.load(target / ONNX_FILE, load_external_data=False)), weights)
    if counts.share < LEAST_SHARE and not _leaves_products_out(config):
        raise UserError(
            f"ONNX Runtime quantizes {counts.quantized_weights:,} of the {counts.linear_weights:,} weights of matrix products in the "
            "file of this model; leave its quantized ONNX deployments out"
        )
    return counts


def _leaves_products_out(config: OnnxDeployment) -> bool:
    """Return whether the configuration itself keeps matrix products in float."""
    quantization = config.quantization
    operators = quantization.op_types if isinstance(quantization, StaticQuantization) else ["MatMul"]
    excluded = quantization.nodes_to_exclude if quantization is not None else []
    return bool(excluded) or config.budget is not None or "MatMul" not in operators


def float_weights(model: Any) -> int:
    """Return the number of float weights of the matrix products in an ONNX model."""
    names = {node.input[1] for node in model.graph.node if node.op_type in ("MatMul", "Gemm")}
    return sum(
        math.prod(tensor.dims)
        for tensor in model.graph.initializer
        if tensor.name in names and tensor.data_type == onnx.TensorProto.FLOAT
    )


def _keep_within_budget(
    source: Path, target: Path, config: OnnxDeployment, data: Path | None, threads: int | None, label: str
) -> None:
    """Write budget.json beside a quantized folder, and quantize it again without the nodes that the budget leaves out."""
    assert config.quantization is not None
    assert config.budget is not None
    assert data is not None
    result = _search(source, target.with_name("try"), config, data, threads)
    left_out = [name for name, _ in result.nodes] if config.budget.leave_out else []
    if left_out:
        shutil.rmtree(target)
        _quantize(source, target, _without(config.quantization, left_out), data)
    write_json(target.with_name(BUDGET_FILE), _summary(config.budget, result, left_out))
    say(f"deploy {label}: {_sentence(config.budget, result, left_out)}")


def products(model: Any) -> list[str]:
    """Return the names of the matrix products with weights, which quantization affects, in the order of the graph."""
    constant = {tensor.name for tensor in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type in ("MatMul", "Gemm") and node.input[1] in constant]


def _search(source: Path, scratch: Path, config: OnnxDeployment, data: Path, threads: int | None) -> SearchResult:
    assert config.quantization is not None
    assert config.budget is not None
    texts = calibration_texts(source, data, config.budget.texts)
    plain = OnnxEncoder(source, threads).encode(texts, BATCH_SIZE)

    def drift_without(left_out: list[str]) -> float:
        assert config.quantization is not None
        shutil.rmtree(scratch, ignore_errors=True)
        _quantize(source, scratch, _without(config.quantization, left_out), data)
        embeddings = OnnxEncoder(scratch, threads, config.exact_products).encode(texts, BATCH_SIZE)
        return float(np.mean(1 - cosine(plain, embeddings)))

    nodes = [name for name in products(_load(source / ONNX_FILE)) if name not in config.quantization.nodes_to_exclude]
    result = search(nodes, drift_without, config.budget)
    shutil.rmtree(scratch)
    return result


def _quantize(source: Path, target: Path, config: DynamicQuantization | StaticQuantization, data: Path | None) -> None:
    if isinstance(config, DynamicQuantization):
        quantize_dynamically(source, target, config)
        return
    assert data is not None
    quantize_statically(source, target, config, calibration_texts(source, data, config.calibration_texts))


def _without(
    config: DynamicQuantization | StaticQuantization, names: list[str]
) -> DynamicQuantization | StaticQuantization:
    return config.model_copy(update={"nodes_to_exclude": [*config.nodes_to_exclude, *names]})


def _load(path: Path) -> Any:
    try:
        return onnx.load(path)
    except Exception as error:  # Errors of protobuf and of the file system have no common base class.
        raise UserError(
            f"{path} is not a complete ONNX file ({type(error).__name__}); delete its folder, {path.parents[2]}, and run again"
        ) from None


def _summary(budget: DriftBudget, result: SearchResult, left_out: list[str]) -> dict[str, object]:
    return {
        "budget": budget.mean_distance,
        "drift": result.drift,
        "nodes": [{"node": name, "drift_without": drift} for name, drift in result.nodes],
        "drift_without_nodes": result.remaining,
        "left_out": left_out,
    }


def _sentence(budget: DriftBudget, result: SearchResult, left_out: list[str]) -> str:
    if not result.nodes:
        return f"drift {result.drift:.4f} is within the budget of {budget.mean_distance:g}"
    names = ", ".join(f"{name} ({drift:.4f} without it)" for name, drift in result.nodes)
    measure = "left in float" if left_out else "all quantized; leave_out: true keeps them in float"
    return f"drift {result.drift:.4f} is over the budget of {budget.mean_distance:g}; worst: {names}; {measure}"


# Extension of an ONNX graph by a quantizer of embeddings, which outputs the codes that an index stores beside `sentence_embedding`.
#
# The codes equal those of `qatlab.quantization.quantize_embeddings` bit for bit: the float32 operations and their order are the same.

RANGES_FILE = "onnx/int8_ranges.npz"
BATCH_SIZE = 32
Steps = list[
    tuple[str, list[str | None], dict[str, Any]]
]  # operator, inputs (None: output of the previous step), attributes


def append_codes(path: Path, precision: str, dim: int, ranges: Range | None = None) -> None:
    """Add the output `sentence_embedding_<precision>` to an ONNX file.

    Args:
        path: an ONNX file with the output `sentence_embedding`, (batch, dim) float32.
        precision: "int8" for codes (batch, dim) int8; "binary" for codes (batch, ⌈dim / 8⌉) int8 with eight dimensions per byte.
        dim: number of dimensions of the embeddings.
        ranges: ranges of the int8 codes; None for binary.
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
    """Extend the ONNX file of a deployed folder by the output of codes.

    Args:
        folder: the `model/` folder of a deployment.
        precision: int8 or binary.
        data: folder of the data artifact, for int8 ranges if training saved none.
        texts: number of training documents on which these ranges are fitted.
        threads: number of CPU threads of ONNX Runtime; None for all.
    """
    ranges = saved_ranges(folder, data, texts, threads) if precision == "int8" else None
    dim = OnnxEncoder(folder, threads).encode(["a"], 1).shape[1]
    append_codes(folder / ONNX_FILE, precision, dim, ranges)


def saved_ranges(folder: Path, data: Path | None, texts: int, threads: int | None) -> Range:
    """Return the int8 ranges of a deployment's codes, and write them to RANGES_FILE.

    Args:
        folder: the `model/` folder of a deployment; ranges that training saved in it are used.
        data: folder of the data artifact, for ranges of training documents if training saved none.
        texts: number of training documents on which these ranges are fitted.
        threads: number of CPU threads of ONNX Runtime; None for all.
    """
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
    """Append ⌊(x − low) / step⌋, clipped to 0…255, minus 128."""
    name = _constants(graph, codes, low=low, step=step, least=np.float32(0), most=np.float32(255), half=np.int32(128))
    steps: Steps = [
        ("Sub", [OUTPUT, name["low"]], {}),
        ("Div", [None, name["step"]], {}),
        ("Clip", [None, name["least"], name["most"]], {}),
        ("Cast", [None], {"to": TensorProto.INT32}),  # truncates decimals
        ("Sub", [None, name["half"]], {}),
        ("Cast", [None], {"to": TensorProto.INT8}),
    ]
    _chain(graph, codes, steps)


def _binary(graph: Any, codes: str, dim: int) -> None:
    """Append the bits x > 0, packed with the first dimension in the highest bit and zeros at the end of the last byte, minus 128."""
    padding = -dim % 8
    name = _constants(
        graph,
        codes,
        zero=np.float32(0),
        places=2 ** np.arange(7, -1, -1, dtype=np.int32),
        pads=np.array([0, 0, 0, padding], dtype=np.int64),
        bytes=np.array([-1, (dim + padding) // 8, 8], dtype=np.int64),
        axis=np.array([2], dtype=np.int64),
        half=np.int32(128),
    )
    steps: Steps = [
        ("Greater", [OUTPUT, name["zero"]], {}),
        ("Cast", [None], {"to": TensorProto.INT32}),
        *([("Pad", [None, name["pads"]], {})] if padding else []),
        ("Reshape", [None, name["bytes"]], {}),
        ("Mul", [None, name["places"]], {}),
        ("ReduceSum", [None, name["axis"]], {"keepdims": 0}),
        ("Sub", [None, name["half"]], {}),
        ("Cast", [None], {"to": TensorProto.INT8}),
    ]
    _chain(graph, codes, steps)


def _constants(graph: Any, codes: str, **arrays: Any) -> dict[str, str]:
    """Add constants to the graph and return their names in it, by the names of the arguments."""
    names = {name: f"/{codes}/{name}" for name in arrays}
    graph.initializer.extend(numpy_helper.from_array(np.asarray(array), names[name]) for name, array in arrays.items())
    return names


def _chain(graph: Any, codes: str, steps: Steps) -> None:
    """Append a chain of operators whose last output is `codes`; an input of None is the output of the previous operator."""
    previous = ""
    for number, (operator, inputs, attributes) in enumerate(steps):
        output = codes if number == len(steps) - 1 else f"/{codes}/{operator}_{number}_output"
        names = [previous if entry is None else entry for entry in inputs]
        graph.node.append(
            helper.make_node(operator, names, [output], name=f"/{codes}/{operator}_{number}", **attributes)
        )
        previous = output
