"""English sentences and their French, made by a grammar: text to learn translation from where there is no network.

    from qatlab.data.grammar import sentences
    for english, french in sentences("train", seed=0, count=10): ...

The mapping is a function, and it takes more than a dictionary: gender and number spread over articles, adjectives and participles,
words run together (l', d', au, du), negation goes around the verb, pronouns before it, tenses divide time otherwise. Words are
frequent and rare as in a language.
"""

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

from qatlab.data.grammar.sentences import draw

PARTS = ("train", "test")
TEST_SHARE = 10  # one sentence in so many is for testing


def part_of(english: str) -> str:
    """The part that a sentence belongs to, whatever the seed."""
    digest = hashlib.sha256(english.encode()).digest()
    return "test" if int.from_bytes(digest[:8], "big") % TEST_SHARE == 0 else "train"


def sentences(part: str, seed: int, count: int, max_characters: int | None = None) -> Iterator[tuple[str, str]]:
    """Distinct sentences and their translations: those of a smaller count are the first of a larger one.

    Args:
        part: 'train' or 'test'; no sentence is in both, whatever the seeds.
        max_characters: of the English; longer sentences are left out.
    """
    if part not in PARTS:
        raise ValueError(f"part '{part}' is none of {', '.join(PARTS)}")
    rng = random.Random(seed)
    seen: set[str] = set()
    while len(seen) < count:
        english, french = draw(rng).as_texts()
        if max_characters is not None and len(english) > max_characters:
            continue
        if english not in seen and part_of(english) == part:
            seen.add(english)
            yield english, french


def version() -> str:
    """SHA-256 of the grammar: another one makes other sentences."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
