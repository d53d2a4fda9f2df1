"""Resolution of a model's name to its origin."""

from pathlib import Path

from qatlab.config.model import ModelConfig
from qatlab.errors import UserError
from qatlab.models.packaged import packaged_folder
from qatlab.registry import is_hub_id


def model_source(config: ModelConfig) -> str:
    """Return the origin of a model.

    Returns:
        'made' for a generated decoder, 'local' for a folder, 'package' for a model that an installed package contains, else 'hub'.

    Raises:
        UserError: if the name is neither an existing folder nor a valid hub id.
    """
    name = config.name
    if config.decoder is not None:
        return "made"
    if Path(name).expanduser().is_dir():
        return "local"
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError(f"model folder '{name}' does not exist (model.name is a local folder or a hub id, owner/name)")
    if not is_hub_id(name):
        raise UserError(f"model.name '{name}' is neither a folder that exists nor a hub id, owner/name")
    return "package" if packaged_folder(name) else "hub"
