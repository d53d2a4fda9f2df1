"""Sets of texts that are only embedded (conf/texts): any registered set."""

from typing import TYPE_CHECKING, TypeAlias

from qatlab.text_sets.text_set import TEXT_SETS, TextSet

if TYPE_CHECKING:
    TextsConfig: TypeAlias = TextSet
else:
    TextsConfig = TEXT_SETS.config_type()
