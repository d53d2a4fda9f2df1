"""A model as an ONNX file that Sentence Transformers loads, pooling and normalization included, by PyTorch's own exporter or optimum.

A graph can end in the quantizer: beside `sentence_embedding` it then outputs the codes that an index stores.
"""

import ast
import inspect
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow.parquet as pq
import torch
from onnx import TensorProto, helper, numpy_helper
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from qatlab.artifact import read_json
from qatlab.deployments.backends.onnx_runtime import OnnxEncoder
from qatlab.deployments.onnx import ONNX_FILE, OUTPUT, OnnxDeployment
from qatlab.errors import UserError
from qatlab.models.folders import check_folder
from qatlab.models.settings import export_hindrance, prompt_for
from qatlab.progress import warnings_hidden
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


INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUTS = ("last_hidden_state", "sentence_embedding")  # names that Sentence Transformers and Optimum look for
OLDEST_OPSET = 18  # oldest operator set of PyTorch's exporter
# There are two texts, because the exporter treats a dimension of size 1 as constant.
EXAMPLES = ["A text of a few words.", "A longer text, which has more tokens than the first one has, by far."]
LONGEST_CHECKED = 512  # tokens; attention over longer texts would take too much memory for an export
AGREEMENT = 1e-4  # largest difference between embeddings of PyTorch and the file; rounding alone stays below 1e-5
ONE_FILE = 2**31 - 2**24  # bytes of weights: protobuf is limited to 2 GiB, of which the graph itself needs some


class _WholeModel(nn.Module):
    """Sentence Transformers model as a function of tensors."""

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.steps = nn.ModuleList(model)
        self.kept = model.truncate_dim  # number of leading dimensions to keep (Matryoshka); None keeps all

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Compute token embeddings and text embeddings.

        Args:
            input_ids: token ids, (batch, sequence) int64.
            attention_mask: 1 for tokens and 0 for padding, (batch, sequence) int64.
            token_type_ids: segment ids, (batch, sequence) int64, for models that take them.

        Returns:
            Token embeddings, (batch, sequence, hidden) float32, and text embeddings, (batch, kept dimensions) float32.
        """
        features = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            features["token_type_ids"] = token_type_ids
        features = self.steps[0](features)
        tokens = features["token_embeddings"]
        for module in self.steps[1:]:
            features = module(features)
        embeddings = features["sentence_embedding"]
        return tokens, embeddings if self.kept is None else embeddings[:, : self.kept]


def export_graph(model: SentenceTransformer, path: Path, opset: int, name: str) -> None:
    """Write a model as an ONNX file that takes any number of texts and tokens.

    Its inputs are those of INPUTS that the model takes and its tokenizer produces, (batch, sequence) int64. Its outputs are
    `last_hidden_state`, (batch, sequence, hidden), the transformer's output for each token, and `sentence_embedding`, (batch, dim),
    both float32. Weights of more than 2 GB are written to a second file, `<path>.data`.

    Args:
        model: the model in float32 on the CPU. Its attention is set to "eager", which the exporter supports in every architecture.
        path: the file to write; its folder exists.
        opset: ONNX operator set, at least OLDEST_OPSET.
        name: name of the model, for messages.

    Raises:
        UserError: if the model cannot be exported, or the file computes different embeddings.
    """
    check_exportable(model, name)
    model.eval()
    model[0].auto_model.set_attn_implementation("eager")
    whole = _WholeModel(model).eval()
    inputs = _tokens(model, EXAMPLES)
    try:
        # The exporter warns of packages and of its own internals, which a user cannot change.
        with warnings_hidden("torch.onnx"), torch.no_grad():
            program = torch.onnx.export(
                whole,
                kwargs=inputs,
                input_names=list(inputs),
                output_names=list(OUTPUTS),
                dynamic_shapes={name: {0: "batch", 1: "sequence"} for name in inputs},
                opset_version=opset,
                dynamo=True,
                verbose=False,
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        raise UserError(
            f"{name}: PyTorch cannot export this model to ONNX ({_reason(error)}); leave its ONNX deployments out"
        ) from None
    assert program is not None
    _keep_normalization_fast(program.model)
    _name_by_module(program.model)
    program.save(path, external_data=_weight_bytes(whole) > ONE_FILE)
    check_graph(model, path, name)


def check_exportable(model: SentenceTransformer, name: str) -> None:
    """Raise a UserError for a model whose embeddings a graph of token ids cannot compute, before anything is exported."""
    pooled = all(getattr(module, "include_prompt", True) for module in model)
    hindrance = export_hindrance(type(model[0]).__name__, model.prompts or {}, pooled)
    if hindrance is not None:
        raise UserError(f"{name}: {hindrance}; leave its ONNX deployments out")
    available, requested = positions(model[0].auto_model), model.max_seq_length
    if available is not None and requested is not None and requested > available:
        raise UserError(
            f"{name}: max_seq_length is {requested}, and the model has {available} positions; set model.max_seq_length={available}"
        )


def positions(transformer: nn.Module) -> int | None:
    """Return how many tokens the table of position embeddings can hold; None for a model that computes positions."""
    for name, module in transformer.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa and MPNet count positions from the id of the padding token plus one.
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return None


def check_graph(model: SentenceTransformer, path: Path, name: str) -> None:
    """Raise a UserError unless a file computes a model's embeddings of one text, of texts of unequal lengths, and of a long text.

    Args:
        model: the model in float32 on the CPU.
        path: the ONNX file.
        name: name of the model, for messages.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    whole = _WholeModel(model).eval()
    longest = min(model.max_seq_length or LONGEST_CHECKED, LONGEST_CHECKED)
    for texts in (EXAMPLES[:1], EXAMPLES, [" ".join(["word"] * longest)]):
        inputs = _tokens(model, texts)
        if inputs["input_ids"].shape[1] > LONGEST_CHECKED:
            inputs = {key: values[:, :LONGEST_CHECKED] for key, values in inputs.items()}
        with torch.no_grad():
            expected = whole(**inputs)[1].numpy()
        actual = session.run([OUTPUTS[1]], {key: values.numpy() for key, values in inputs.items()})[0]
        # Embeddings that are not normalized may have any length.
        distance = np.abs(actual - expected).max() / max(1.0, np.abs(expected).max())
        if not distance <= AGREEMENT:
            raise UserError(
                f"{name}: its ONNX file is wrong: embeddings differ from PyTorch's by {distance:.1e} ({len(texts)} texts of "
                f"{inputs['input_ids'].shape[1]} tokens); leave its ONNX deployments out"
            )


def _keep_normalization_fast(graph: Any) -> None:
    """Replace the additions before layer normalizations by Sum, which computes the same as Add.

    ONNX Runtime fuses Add and LayerNormalization into SkipLayerNormalization, whose CPU kernel takes three times as long as the two
    separate operators (release 1.32, all-MiniLM-L6-v2): a sixth to a fifth of the time of an int8 model.
    """
    for node in graph.graph:
        if node.op_type == "LayerNormalization" and node.inputs[0] is not None:
            added = node.inputs[0].producer()
            if added is not None and added.op_type == "Add":
                added.op_type = "Sum"


def _name_by_module(graph: Any) -> None:
    """Name nodes and values after the modules that they come from, as PyTorch's older exporter did: /0/encoder/layer.0/…/MatMul.

    A study refers to nodes by these names to leave them in float. Other metadata of a node, such as the source lines on this
    machine that it comes from, is removed.
    """
    counts: Counter[str] = Counter()
    outputs = {id(value) for value in graph.graph.outputs}
    for node in graph.graph:
        scopes = ast.literal_eval(node.metadata_props.get("pkg.torch.onnx.name_scopes", "[]"))
        base = f"{_path(scopes[-2] if scopes[1:] else '')}/{node.op_type}"
        node.name = f"{base}_{counts[base]}" if counts[base] else base
        counts[base] += 1
        for number, value in enumerate(node.outputs):
            value.metadata_props.clear()
            if id(value) not in outputs:
                value.name = f"{node.name}_output_{number}"
        node.metadata_props.clear()
    for value in (*graph.graph.inputs, *graph.graph.initializers.values()):
        value.metadata_props.clear()
    graph.metadata_props.clear()
    graph.graph.metadata_props.clear()


def _path(module: str) -> str:
    """Convert a module's name to a path: steps.0.model.encoder.layer.0.attention to /0/encoder/layer.0/attention."""
    parts = module.split(".")
    if parts[0] != "steps":
        return ""
    parts = parts[1:]
    if parts[1:2] in (
        ["model"],
        ["auto_model"],
    ):  # attribute of a Sentence Transformers module that holds its transformer
        del parts[1]
    path = ""
    for depth, part in enumerate(parts):
        path += f".{part}" if depth and part.isdecimal() else f"/{part}"
    return path


def _tokens(model: SentenceTransformer, texts: list[str]) -> dict[str, Tensor]:
    """Return those outputs of the model's tokenizer for texts that are inputs of the transformer."""
    accepted = inspect.signature(model[0].auto_model.forward).parameters
    tokens = model.preprocess(texts)
    return {key: tokens[key] for key in INPUTS if key in tokens and key in accepted}


def _weight_bytes(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in module.state_dict().values())


def _reason(error: BaseException) -> str:
    """Return the first line of the innermost cause of an error."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
