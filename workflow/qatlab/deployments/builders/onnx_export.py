"""Export of a model, with pooling and normalization, to an ONNX file in a folder that Sentence Transformers loads."""

import shutil
from pathlib import Path

from qatlab.artifact import read_json
from qatlab.deployments.onnx import ONNX_FILE, OnnxDeployment
from qatlab.errors import UserError
from qatlab.models.folders import check_folder


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
        from qatlab.deployments.builders.onnx_graph import export_graph
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
