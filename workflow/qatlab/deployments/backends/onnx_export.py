"""A model as an ONNX file that Sentence Transformers loads, pooling and normalization included.

A graph can end in the quantizer: beside `sentence_embedding` it then outputs the codes that an index stores.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper

from qatlab.artifact import read_json
from qatlab.deployments.backends.onnx_runtime import OnnxEncoder
from qatlab.deployments.onnx import ONNX_FILE, OUTPUT, OnnxDeployment
from qatlab.errors import UserError
from qatlab.models.folders import check_folder
from qatlab.models.settings import prompt_for
from qatlab.quantization.grids import fitted_grid
from qatlab.quantization.ranges import RANGES, MinMaxRange, Range


def export(source: Path, target: Path, config: OnnxDeployment) -> None:
    """Write a folder that `SentenceTransformer(target, backend="onnx")` loads; its graph also outputs `sentence_embedding`.

    Args:
        source: a Sentence Transformers folder with float weights.
        target: the folder to write, without safetensors.
        config: the exporter and the ONNX operator set.

    Raises:
        UserError: for a model that cannot be exported.
    """
    copy_without_weights(source, target)
    (target / "onnx").mkdir()
    if config.exporter == "optimum":
        settings = target / "config_sentence_transformers.json"
        if settings.exists() and read_json(settings).get("truncate_dim"):
            raise UserError(
                f"{source.parent.name} keeps only the first dimensions (truncate_dim), which optimum's file does not; "
                "set exporter: torch"
            )
        _by_optimum(source, target, config.opset)
    else:
        from qatlab.deployments.backends.onnx_graph import export_graph
        from qatlab.models.embedding import load_model

        export_graph(load_model(source, "cpu", "float32"), target / ONNX_FILE, config.opset, source.parent.name)


def copy_without_weights(source: Path, target: Path) -> None:
    """Copy configuration, tokenizer and modules of a folder, without the weights that its ONNX file contains.

    Weights of modules after the transformer, such as Dense, are copied, because Sentence Transformers runs these modules itself.
    """
    transformer = source / read_json(source / "modules.json")[0]["path"]
    weights = shutil.ignore_patterns("*.safetensors", "onnx")

    def left_out(folder: str, names: list[str]) -> set[str]:
        return {".snakemake_timestamp", *(weights(folder, names) if Path(folder) == transformer else ())}

    shutil.copytree(source, target, ignore=left_out)


def _by_optimum(source: Path, target: Path, opset: int) -> None:
    from optimum.exporters.onnx import main_export

    check_folder(source, source.parent.name)  # Optimum does not prevent Sentence Transformers from reading pickles.
    scratch = target.with_name("export")
    main_export(
        str(source),
        output=scratch,
        task="feature-extraction",
        library_name="sentence_transformers",
        opset=opset,
        device="cpu",
        trust_remote_code=False,
        do_validation=False,
    )
    _rename_output(scratch / Path(ONNX_FILE).name, "token_embeddings", "last_hidden_state")
    for file in scratch.glob("*.onnx*"):
        file.rename(target / "onnx" / file.name)
    shutil.rmtree(scratch)


def _rename_output(file: Path, old: str, new: str) -> None:
    """Rename an output, because Optimum exports Sentence Transformers with a name that its own runtime does not look for."""
    import onnx

    model = onnx.load(file, load_external_data=False)
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
    for output in model.graph.output:
        output.name = new if output.name == old else output.name
    onnx.save(model, file)


# Extension of an ONNX graph by a quantizer, which outputs the codes that an index stores in addition to `sentence_embedding`.
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
