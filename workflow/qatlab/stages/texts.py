"""texts: a set of texts to embed, from wherever it comes, as Parquet with a manifest."""

from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter

from qatlab.artifact import sha256_of, write_json
from qatlab.config.texts import DocstringTexts, HubTexts, LocalTexts, TextsConfig
from qatlab.errors import UserError


def run(description: dict[str, Any], inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Writes documents.parquet (id, text), in the source's order, and manifest.json."""
    values = dict(description["config"])
    name = values.pop("texts")
    config: DocstringTexts | LocalTexts | HubTexts = TypeAdapter(TextsConfig).validate_python(values)
    texts, commit = _load(config, name)
    texts = texts[: config.rows]
    if not texts or (config.rows is not None and len(texts) < config.rows):
        raise UserError(f"texts '{name}' are {len(texts)}, fewer than texts.{name}.rows={config.rows}")
    table = pd.DataFrame({"id": [str(index) for index in range(len(texts))], "text": texts})
    table.to_parquet(output / "documents.parquet", index=False)
    write_json(
        output / "manifest.json",
        {
            "name": name,
            "source": config.source,
            "origin": description["origin"],
            "rows": len(texts),
            "sha256": sha256_of(output / "documents.parquet"),
            **({"commit": commit} if commit else {}),
        },
    )


def _load(config: DocstringTexts | LocalTexts | HubTexts, name: str) -> tuple[list[str], str | None]:
    """The texts and, of the hub, the commit that they are of."""
    if isinstance(config, DocstringTexts):
        from qatlab.data.docstrings import extract

        return [pair.code for pair in extract(config.package)], None
    if isinstance(config, LocalTexts):
        from qatlab.data.local import read_columns

        column = f"texts.{name}.column"
        return read_columns(Path(config.path).expanduser(), [config.column], column)[config.column].tolist(), None
    from qatlab.data.hub import load_split

    table, commit = load_split(config.name, config.subset, config.split, config.revision, "texts")
    if config.column not in table.columns:
        raise UserError(f"texts '{name}': no column '{config.column}'; '{config.name}' has: {', '.join(table.columns)}")
    return table[config.column].tolist(), commit
