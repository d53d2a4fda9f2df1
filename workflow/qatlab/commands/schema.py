"""Command schema: print the JSON Schema of a composed configuration, which is generated from the pydantic models."""

import json

from qatlab.study.config import RunConfig

TITLE = "qatlab configuration"


def schema() -> dict[str, object]:
    """Return the JSON Schema of the configuration that Hydra composes from conf/."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **RunConfig.model_json_schema(), "title": TITLE}


def print_schema(arguments: list[str]) -> None:
    """Print the schema."""
    print(json.dumps(schema(), indent=2, ensure_ascii=False))
