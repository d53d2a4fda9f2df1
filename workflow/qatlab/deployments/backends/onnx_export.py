"""A model as an ONNX file that Sentence Transformers loads, pooling and normalization included, by PyTorch's own exporter or optimum.

The graph of an architecture is exported once, and filled with the weights of each model.
"""

import ast
import base64
import hashlib
import inspect
import json
import shutil
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from qatlab.artifact import read_json
from qatlab.deployments.onnx import ONNX_FILE, OnnxDeployment
from qatlab.errors import UserError
from qatlab.models.embedding import check_exportable, load_model
from qatlab.models.folders import check_folder
from qatlab.progress import warnings_hidden
from qatlab.remembered import remembered


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


INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUTS = ("last_hidden_state", "sentence_embedding")  # names that Sentence Transformers and Optimum look for
OLDEST_OPSET = 18  # oldest operator set of PyTorch's exporter
# There are two texts, because the exporter treats a dimension of size 1 as constant.
EXAMPLES = ["A text of a few words.", "A longer text, which has more tokens than the first one has, by far."]
LONGEST_CHECKED = 512  # tokens; attention over longer texts would take too much memory for an export
AGREEMENT = 1e-4  # largest difference between embeddings of PyTorch and the file; rounding alone stays below 1e-5
MATRIX = 2  # dimensions
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


def export_graph(model: SentenceTransformer, path: Path, opset: int, name: str, reuse: bool = True) -> None:
    """Write a model as an ONNX file that takes any number of texts and tokens.

    Its inputs are those of INPUTS that the model takes and its tokenizer produces, (batch, sequence) int64. Its outputs are
    `last_hidden_state`, (batch, sequence, hidden), the transformer's output for each token, and `sentence_embedding`, (batch, dim),
    both float32. Weights of more than 2 GB are written to a second file, `<path>.data`.

    Args:
        model: the model in float32 on the CPU. Its attention is set to "eager", which the exporter supports in every architecture.
        path: the file to write; its folder exists.
        opset: ONNX operator set, at least OLDEST_OPSET.
        name: name of the model, for messages.
        reuse: whether an earlier export of the same architecture is reused.

    Raises:
        UserError: if the model cannot be exported, or the file computes different embeddings.
    """
    check_exportable(model, name)
    model.eval()
    model[0].auto_model.set_attn_implementation("eager")
    whole = _WholeModel(model).eval()
    if not (reuse and _write_from_template(whole, model, path, opset, name)):
        program = _exported(whole, _tokens(model, EXAMPLES), opset, name)
        program.save(path, external_data=_weight_bytes(whole) > ONE_FILE)
        check_graph(model, path, name)


def _exported(whole: _WholeModel, inputs: dict[str, Tensor], opset: int, name: str) -> torch.onnx.ONNXProgram:
    """Return the exported model, with nodes named after its modules."""
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
    return program


# A study exports many models of one architecture, whose graphs differ in nothing but their weights. The export takes most of the time
# of a deployment. Therefore, the graph without weights is cached as a template, and filled with the weights of each model.

TRANSPOSED = "transposed "  # before the name of a weight, in the field doc_string of its place in a template


def _write_from_template(whole: _WholeModel, model: SentenceTransformer, path: Path, opset: int, name: str) -> bool:
    """Write a model's file by filling the template of its architecture with its weights; return whether the file is right.

    Nothing is written for architectures whose graphs contain more than weights and constants, and for models of more than 2 GB.
    """
    if _weight_bytes(whole) > ONE_FILE:
        return False
    inputs = _tokens(model, EXAMPLES)
    architecture = json.dumps(_architecture(whole, model, list(inputs), opset), sort_keys=True, default=str)
    encoded = remembered(f"onnx template: {architecture}", [], lambda: _template(whole, inputs, opset, name))
    if encoded is None:
        return False
    graph = onnx.load_from_string(base64.b64decode(encoded))
    weights = {key: value.numpy() for key, value in whole.state_dict().items()}
    for place in graph.graph.initializer:
        if place.doc_string:
            weight = weights[place.doc_string.removeprefix(TRANSPOSED)]
            array = weight.T if place.doc_string.startswith(TRANSPOSED) else weight
            place.raw_data = np.ascontiguousarray(array).tobytes()
            place.ClearField("doc_string")
    onnx.save(graph, path)
    try:
        check_graph(model, path, name)
    except UserError:
        path.unlink()
        return False
    return True


def _architecture(whole: _WholeModel, model: SentenceTransformer, inputs: list[str], opset: int) -> dict[str, Any]:
    """Return all that determines a model's graph, apart from its weights."""
    of_transformer = model[0].auto_model.config.to_dict()
    of_transformer.pop("_name_or_path", None)
    return {
        "modules": repr(whole),
        "settings": [module.get_config_dict() if hasattr(module, "get_config_dict") else None for module in model],
        "transformer": of_transformer,
        "weights": [(key, list(value.shape), str(value.dtype)) for key, value in whole.state_dict().items()],
        "kept": whole.kept,
        "inputs": inputs,
        "opset": opset,
        "versions": [
            version(name) for name in ("onnx", "onnxscript", "sentence-transformers", "torch", "transformers")
        ],
        "code": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
    }


def _template(whole: _WholeModel, inputs: dict[str, Tensor], opset: int, name: str) -> str | None:
    """Return the exported graph without weights, in base64; None if it contains numbers that may depend on weights.

    It is exported with random weights, no two of which are alike, so that its content shows which weight is where.
    """
    saved = {key: value.clone() for key, value in whole.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in whole.state_dict().values():
            if value.is_floating_point():
                value.copy_(torch.rand(value.shape, generator=generator))
    try:
        weights = {key: value.numpy().copy() for key, value in whole.state_dict().items() if value.is_floating_point()}
        graph = _exported(whole, inputs, opset, name).model_proto
    finally:
        with torch.no_grad():
            for key, value in whole.state_dict().items():
                value.copy_(saved[key])
    constants = [value.numpy() for key, value in whole.named_buffers() if key not in weights]
    by_content = {_content(weight): key for key, weight in weights.items()}
    by_content |= {_content(weight.T): TRANSPOSED + key for key, weight in weights.items() if weight.ndim == MATRIX}
    for place in graph.graph.initializer:
        array = numpy_helper.to_array(place)
        weight = by_content.get(_content(array))
        if weight is not None:
            place.ClearField("raw_data")
            place.ClearField("float_data")
            place.doc_string = weight
        elif (
            array.dtype.kind == "f" and array.size > 1 and not any(np.array_equal(array, other) for other in constants)
        ):
            return None
    return base64.b64encode(graph.SerializeToString()).decode()


def _content(array: np.ndarray) -> tuple[tuple[int, ...], bytes]:
    """Return what equal arrays of float32 share: the shape and a hash."""
    return array.shape, hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest()


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
