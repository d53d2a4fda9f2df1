"""Export to ONNX through optimum, pooling and normalization included."""

import shutil
from pathlib import Path

ONNX_FILE = "onnx/model.onnx"


def export(source: Path, target: Path, opset: int) -> None:
    """Writes a folder that `SentenceTransformer(target, backend="onnx")` loads; its graph also outputs `sentence_embedding`.

    Args:
        source: a plain Sentence Transformers folder.
        target: the folder to write, without safetensors.
        opset: ONNX operator set.
    """
    from optimum.exporters.onnx import main_export

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
    copy_without_weights(source, target)
    (target / "onnx").mkdir()
    for file in scratch.glob("*.onnx*"):
        file.rename(target / "onnx" / file.name)
    shutil.rmtree(scratch)


def copy_without_weights(source: Path, target: Path) -> None:
    """Configuration, tokenizer and modules of a folder, without its weights."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.safetensors", "onnx", ".snakemake_timestamp"))
