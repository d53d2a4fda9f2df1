"""Stage model: a base model from a local folder, an installed package or the hub, or a new one, as a plain folder of its library."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qatlab.artifact import read_json, sha256_of, write_json
from qatlab.config.model import ModelConfig
from qatlab.deployments.vectors import copy_vectors
from qatlab.errors import UserError
from qatlab.job import JobDescription
from qatlab.models.folders import MODULES, check_folder, model_source, packaged_folder, verify
from qatlab.models.settings import SETTINGS, check_dense_encoder, check_positions, unused_prompts
from qatlab.progress import say

NORMALIZE = "sentence_transformers.models.Normalize"  # the name under which every release of Sentence Transformers can import it
PLAIN_FILES = (".json", ".txt", ".safetensors", ".model")


def run(description: JobDescription, inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Write model/ and manifest.json, without pickled weights, code and other files of the source folder."""
    config = ModelConfig.model_validate(description.config)
    source = model_source(config)
    target = output / "model"
    if config.decoder is not None:
        from qatlab.models.causal_lm import make

        make(config.decoder, config.max_seq_length, target)
    elif config.kind == "vectors":
        copy_vectors(Path(config.name).expanduser(), target)
    else:
        _copy_plain_files(_source_folder(config, source), target)
        check_folder(target, config.name)
        if config.embeds:
            check_dense_encoder(target, config.name)
        COMPLETE[config.kind](target, config)
    write_json(
        output / "manifest.json",
        {"name": config.name, "revision": config.revision, "source": source, "sha256": sha256_of(target)},
    )


def _source_folder(config: ModelConfig, source: str) -> Path:
    """Return the folder of a base model, which is downloaded if its source is the hub."""
    if source == "local":
        return Path(config.name).expanduser()
    if source == "package":
        folder = packaged_folder(config.name)
        assert folder is not None
        verify(config.name, folder)
        return folder
    from qatlab.hub import download

    return download(config.name, config.revision)


def _complete_encoder(target: Path, config: ModelConfig) -> None:
    """Complete a Sentence Transformers folder, with the configured numbers of layers and tokens and the configured normalization.

    Its tokenizer.json becomes the tokenizer as Sentence Transformers loads it, for runtimes that read no other file: it includes the
    changes that other files of the folder make on loading, such as an additional end token or casing.
    """
    _set_prompts(target)
    if unused := unused_prompts(target):
        say(
            f"model '{config.name}': encode_document of Sentence Transformers does not apply its prompt '{unused[0]}', so documents "
            "are encoded without one; to apply it, name it 'document' in config_sentence_transformers.json"
        )
    if config.num_hidden_layers:
        with _layers_kept(target, config.num_hidden_layers) as kept:
            _save_again(target, **kept)
    elif not (target / "tokenizer.json").exists() or not _holds_its_transformer(target):
        _save_again(target)
    else:
        _save_tokenizer(target)
    check_positions(target, config.max_seq_length, config.name)
    _set_max_seq_length(target, config.max_seq_length)
    if config.normalize is not None:
        _set_normalize(target, config.normalize, config.name)


def _holds_its_transformer(folder: Path) -> bool:
    """Return whether the first module's files are in the folder itself, and not below it as in folders before 2021."""
    modules = folder / MODULES
    return modules.exists() and read_json(modules)[0]["path"] == ""


def _complete_static(target: Path, config: ModelConfig) -> None:
    """Replace a Transformer by a static model that begins with its input embeddings."""
    from qatlab.models.embedding import static_model

    _set_prompts(target)
    model = static_model(target, config.max_seq_length, config.normalize is not False, config.name)
    _replace(target, model)


def _complete_decoder(target: Path, config: ModelConfig) -> None:
    """Remove all layers but the configured number from the model in the folder."""
    if config.num_hidden_layers:
        from transformers import AutoModelForCausalLM

        with _layers_kept(target, config.num_hidden_layers) as kept:
            model = AutoModelForCausalLM.from_pretrained(
                str(target), trust_remote_code=False, use_safetensors=True, dtype="auto", **kept
            )
        for shard in target.glob("model*.safetensors*"):
            shard.unlink()
        model.save_pretrained(str(target), safe_serialization=True)


def _copy_plain_files(folder: Path, target: Path) -> None:
    for file in sorted(folder.rglob("*")):
        relative = file.relative_to(folder)
        if file.is_file() and file.suffix in PLAIN_FILES and not {"onnx", "openvino"}.intersection(relative.parts):
            (target / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target / relative)


@contextmanager
def _layers_kept(folder: Path, layers: int) -> Iterator[dict[str, object]]:
    """Yield the configuration keys with which a model loads only its first layers, and silence the warnings of loading it.

    Raises:
        UserError: for a model with fewer layers.
    """
    from transformers import AutoConfig
    from transformers.utils import logging

    config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    if layers > config.num_hidden_layers:
        raise UserError(f"model.num_hidden_layers={layers}, but the model has {config.num_hidden_layers}")
    types = getattr(config, "layer_types", None)
    shown = logging.get_verbosity()
    logging.set_verbosity_error()  # otherwise each omitted weight is reported
    try:
        yield {"num_hidden_layers": layers, **({"layer_types": list(types[:layers])} if types else {})}
    finally:
        logging.set_verbosity(shown)


def _save_again(folder: Path, **config: Any) -> None:
    """Load the model of a folder with Sentence Transformers, and replace the folder by the saved model.

    This adds mean pooling to a plain Transformers encoder, and tokenizer.json to a slow tokenizer. No other files remain, such as shards of
    removed weights or folders of an older layout.

    Args:
        folder: the model's folder.
        config: keys of the model's config.json that receive other values.
    """
    from qatlab.models.embedding import load_model

    _replace(folder, load_model(folder, config=config))


def _replace(folder: Path, model: Any) -> None:
    """Replace a folder by a saved model of Sentence Transformers."""
    aside = folder.with_name(f"{folder.name}.anew")
    model.save_pretrained(str(aside), safe_serialization=True, create_model_card=False)
    shutil.rmtree(folder)
    aside.rename(folder)


def _save_tokenizer(folder: Path) -> None:
    from transformers import PreTrainedTokenizerBase

    from qatlab.models.embedding import load_model

    tokenizer = load_model(folder).tokenizer
    if isinstance(tokenizer, PreTrainedTokenizerBase):  # that of static embeddings is of another library
        tokenizer.save_pretrained(str(folder))


def _set_normalize(folder: Path, normalize: bool, name: str) -> None:
    """Remove the final Normalize module of a Sentence Transformers folder, or append one if it is missing.

    Raises:
        UserError: for a model that does not end in the module that is to be removed.
    """
    path = folder / MODULES
    modules = read_json(path)
    classes = [module["type"].rpartition(".")[2] for module in modules]
    ends_normalized = classes[-1] == "Normalize"
    if normalize and not ends_normalized:
        at = len(modules)
        modules.append({"idx": at, "name": f"{at}", "path": f"{at}_Normalize", "type": NORMALIZE})
    elif not normalize:
        if not ends_normalized:
            raise UserError(
                f"model.normalize=false, but the last module of '{name}' is not Normalize (its modules: {', '.join(classes)}); "
                "leave model.normalize out"
            )
        removed = modules.pop()
        if removed["path"]:
            shutil.rmtree(folder / removed["path"], ignore_errors=True)
    write_json(path, modules)


def _set_prompts(folder: Path) -> None:
    """Replace null by no prompts, because Sentence Transformers cannot load it, and prompts that are null by empty ones."""
    path = folder / SETTINGS
    settings = read_json(path) if path.exists() else {}
    if "prompts" in settings:
        prompts = settings["prompts"] or {}
        write_json(path, {**settings, "prompts": {name: prompt or "" for name, prompt in prompts.items()}})


def _set_max_seq_length(folder: Path, max_seq_length: int) -> None:
    path = folder / "sentence_bert_config.json"
    settings = read_json(path) if path.exists() else {}
    write_json(path, {**settings, "max_seq_length": max_seq_length})


COMPLETE = {"embedding": _complete_encoder, "static": _complete_static, "causal_lm": _complete_decoder}
