"""Configuration of the training data (conf/data): any registered source."""

from typing import TYPE_CHECKING, TypeAlias

from qatlab.sources.source import SOURCES, Source

if TYPE_CHECKING:
    DataConfig: TypeAlias = Source
else:
    DataConfig = SOURCES.config_type()
