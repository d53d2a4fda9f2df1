"""What is drawn: words by how frequent they are, phrases, adverbials. All that is random goes through one random.Random."""

import random
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from typing import Generic, TypeVar

from qatlab.data.grammar import english, french
from qatlab.data.grammar.lexicon import (
    CITIES,
    MANNERS,
    Adjective,
    Noun,
    Verb,
    adjectives,
    control_verbs,
    countries,
    giving_verbs,
    intransitive_verbs,
    names,
    nouns,
    pairs,
    times,
    verbs,
    words,
)
from qatlab.data.grammar.phrases import (
    OBJECTS,
    OWN,
    POSSESSIVES,
    SUBJECTS,
    Phrase,
    Pronoun,
    Tokens,
    noun_phrase,
    of_somebody,
    place_name,
)

Item = TypeVar("Item")

MONTHS = (
    ("January", "janvier"), ("February", "février"), ("March", "mars"), ("April", "avril"), ("May", "mai"), ("June", "juin"),
    ("July", "juillet"), ("August", "août"), ("September", "septembre"), ("October", "octobre"),
    ("November", "novembre"), ("December", "décembre"),
)  # fmt: skip
DAYS = 28  # that every month has
YEARS = (1900, 2020)
HOURS = 12
POSSESSED = ("family", "thing", "clothing", "vehicle", "animal")
# What an adjective before such nouns would say otherwise: un petit ami, une belle mère, un vieux garçon, un grand homme.
OTHERWISE_MEANT = {
    "small": ("family", "close"),
    "beautiful": ("family",),
    "old": ("young",),
    "tall": ("person",),
}
OPPOSITES = (
    {"good", "bad"}, {"hot", "cold"}, {"big", "small"}, {"tall", "small"}, {"new", "old"}, {"young", "old"}, {"clean", "dirty"},
    {"empty", "full"}, {"heavy", "light"}, {"rich", "poor"}, {"happy", "sad"}, {"beautiful", "pretty"},
    {"interesting", "boring"},
)  # fmt: skip
UNGRADED = words(
    "red black white blue green yellow grey brown orange French English Italian Spanish Japanese foreign wooden broken empty "
    "full square round secret public bad"
)


class Ranked(Generic[Item]):
    """Things that are drawn the more often the further in front they stand, nearly as words of a language are (Zipf 1935).

    Ranks are counted from 3, as Mandelbrot shifts them, so that no word stands for half of its class.
    """

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = tuple(items)
        self.cumulative = list(accumulate(1 / (rank + 3) for rank in range(len(self.items))))

    def draw(self, rng: random.Random) -> Item:
        """One of them."""
        return rng.choices(self.items, cum_weights=self.cumulative)[0]


@cache
def ranked_nouns(kinds: tuple[str, ...]) -> Ranked[Noun]:
    """Nouns of any of some kinds, the frequent ones of each first."""
    places: dict[str, int] = {}
    found: list[tuple[int, int, Noun]] = []
    for noun in nouns():
        for kind in kinds:
            if kind in noun.kinds:
                places[kind] = places.get(kind, 0) + 1
                found.append((places[kind], len(found), noun))
                break
    return Ranked([noun for _, _, noun in sorted(found, key=lambda entry: entry[:2])])


@cache
def _ranked_adjectives(kinds: frozenset[str], before: bool | None, graded: bool) -> Ranked[Adjective]:
    """What can be said of nouns of some kinds."""
    return Ranked([
        adjective
        for adjective in adjectives()
        if not adjective.kinds.isdisjoint(kinds)
        and (before is None or adjective.before == before)
        and not (graded and adjective.english in UNGRADED)
    ])  # fmt: skip


VERBS = Ranked(verbs())
ANIMALS_VERBS = Ranked([verb for verb in verbs() if verb.of_animals])
INTRANSITIVE = Ranked(intransitive_verbs())
ANIMALS_INTRANSITIVE = Ranked([verb for verb in intransitive_verbs() if verb.of_animals])
GIVING, CONTROL, NAMES = Ranked(giving_verbs()), Ranked(control_verbs()), Ranked(names())
COUNTRIES, TOWNS, MANNER = Ranked(countries()), Ranked(pairs(CITIES)), Ranked(pairs(MANNERS))
TIMES = {when: Ranked(entries) for when, entries in times().items()}
TIME_OF_TENSE = {
    "past": "past", "past_progressive": "past", "future": "future", "near_future": "future", "present": "habit",
    "progressive": "now", "can": "now", "must": "now", "could": "past",
}  # fmt: skip


def chance(rng: random.Random, probability: float) -> bool:
    """Whether it happens this time."""
    return rng.random() < probability


def weighted(rng: random.Random, weights: dict[str, float]) -> str:
    """One of the keys."""
    return rng.choices(list(weights), weights=list(weights.values()))[0]


def person_name(rng: random.Random) -> Phrase:
    """Somebody by name."""
    name, gender = NAMES.draw(rng)
    return Phrase(name, (name,), 2, gender)


def two_names(rng: random.Random) -> Phrase:
    """Two people by name: women only if both are."""
    first = person_name(rng)
    second = person_name(rng)
    while second == first:
        second = person_name(rng)
    gender = "f" if first.gender == second.gender == "f" else "m"
    return Phrase(f"{first.english} and {second.english}", (*first.french, "et", *second.french), 5, gender)


def some_adjectives(rng: random.Random, noun: Noun) -> tuple[Adjective, ...]:
    """None, one, or one that stands before the noun in French and one after it."""
    number = rng.choices((0, 1, 2), weights=(62, 32, 6))[0]
    if not number:
        return ()
    sides = [_ranked_adjectives(noun.kinds, before, False) for before in ((True, False) if number == 2 else (None,))]
    drawn = [side.draw(rng) for side in sides if side.items]
    return tuple(adjective for adjective in drawn if noun.kinds.isdisjoint(OTHERWISE_MEANT.get(adjective.english, ())))


def graded_adjective(rng: random.Random, kinds: frozenset[str]) -> Adjective:
    """One that there is more or less of."""
    return _ranked_adjectives(kinds, None, True).draw(rng)


def said_adjective(rng: random.Random, kinds: frozenset[str], who: Phrase, besides: str = "") -> Adjective:
    """Any that can be said of such nouns, and that who, and what else is said of it, neither repeat nor deny."""
    said = {*who.english.split(), besides}
    fitting = _ranked_adjectives(kinds, None, False)
    adjective = fitting.draw(rng)
    while adjective.english in said or any({adjective.english, word} in OPPOSITES for word in said):
        adjective = fitting.draw(rng)
    return adjective


def subject_noun_phrase(rng: random.Random, noun: Noun, negated: bool) -> Phrase:
    """A noun as a subject; `many do not` would have two meanings."""
    if chance(rng, 0.12) and not noun.kinds.isdisjoint(POSSESSED):
        owner = person_name(rng) if chance(rng, 0.6) else owner_noun_phrase(rng)
        return of_somebody(noun, not noun.mass and chance(rng, 0.2), owner)
    weights = {"the": 50.0, "possessive": 18, "this": 12}
    if not noun.mass and not negated:
        weights |= {"a": 10, "number": 7, "some": 3, "every": 3, "quantity": 5}
    return determined(rng, noun, weights)


def owner_noun_phrase(rng: random.Random) -> Phrase:
    """Somebody who owns something."""
    noun = ranked_nouns(("person",)).draw(rng)
    return determined(rng, noun, {"the": 3, "possessive": 2}, plural=0)


def determined(rng: random.Random, noun: Noun, weights: dict[str, float], plural: float = 0.3) -> Phrase:
    """A noun with one of some determiners; `bare` stands for a, an where there is one of it.

    Args:
        plural: how often there are several, where the determiner leaves it open.
    """
    determiner = weighted(rng, weights)
    if determiner == "possessive" and "nobodys" in noun.kinds:
        determiner = "the"
    elif determiner in ("a", "bare", "some") and "family" in noun.kinds:
        determiner = "possessive"
    several = not noun.mass and chance(rng, plural)
    count = 0
    if determiner == "possessive":
        determiner = rng.choice(list(POSSESSIVES))
    elif determiner == "quantity":
        determiner, several = rng.choice(("a few", "several", "many")), True
    elif determiner == "number":
        count = rng.randint(2, 12) if chance(rng, 0.85) else rng.randint(13, 99)
        several = True
    elif determiner in ("a", "every"):
        several = False
    elif determiner == "some":
        several = True
    elif determiner == "bare" and not noun.mass and not several:
        determiner = "a"
    return noun_phrase(noun, determiner, several, some_adjectives(rng, noun), count)


def subject(rng: random.Random, negated: bool = False, animals: bool = False) -> Phrase:
    """Somebody who does something."""
    kind = weighted(rng, {"pronoun": 32, "name": 18, "noun": 45, "names": 5})
    if kind == "pronoun":
        return SUBJECTS[rng.choice(list(SUBJECTS))]
    if kind != "noun":
        return person_name(rng) if kind == "name" else two_names(rng)
    is_animal = animals and chance(rng, 0.35)
    return subject_noun_phrase(rng, ranked_nouns(("animal",) if is_animal else ("person",)).draw(rng), negated)


def thing(rng: random.Random, verb: Verb, negated: bool = False, bare: bool = True) -> Phrase:
    """An object of a verb.

    Args:
        bare: whether it may stand without a determiner in English.
    """
    noun = ranked_nouns(verb.objects).draw(rng)
    generic = "generic" in verb.traits and not noun.kinds.isdisjoint(("food", "solid", "drink", "animal"))
    if generic and chance(rng, 0.6):
        return noun_phrase(noun, "generic", not noun.mass, some_adjectives(rng, noun))
    weights = {"the": 35.0, "possessive": 13, "this": 8}
    if bare and not generic:
        weights["bare"] = 34
    elif not noun.mass:
        weights["a"] = 20
    if not noun.mass and not negated:
        weights |= {"number": 8, "quantity": 5, "every": 2}
    return determined(rng, noun, weights)


def place(rng: random.Random) -> tuple[str, Tokens]:
    """Where something is or happens."""
    kind = weighted(rng, {"inside": 50, "surface": 8, "under": 5, "landmark": 22, "town": 10, "country": 5})
    if kind in ("town", "country"):
        return town(rng) if kind == "town" else place_name(COUNTRIES.draw(rng), "in")
    noun = ranked_nouns(("surface" if kind == "under" else kind,)).draw(rng)
    where = determined(rng, noun, {"the": 70, "possessive": 12, "this": 8, "a": 10}, plural=0.1)
    if kind == "inside":
        return f"in {where.english}", ("dans", *where.french)
    if kind == "surface":
        return f"on {where.english}", ("sur", *where.french)
    if kind == "under":
        return f"under {where.english}", ("sous", *where.french)
    preposition = rng.choice(("behind", "in front of", "near", "next to"))
    said = f"{preposition} {where.english}"
    if preposition in ("behind", "in front of"):
        return said, ("derrière" if preposition == "behind" else "devant", *where.french)
    return said, (*(("près",) if preposition == "near" else ("à", "côté")), *where.after_de())


def town(rng: random.Random, direction: str = "in") -> tuple[str, Tokens]:
    """In, to or from a town."""
    name, word = TOWNS.draw(rng)
    return f"{direction} {name}", ("de" if direction == "from" else "à", word)


def goal(rng: random.Random, direction: str) -> tuple[str, Tokens]:
    """To or from a place."""
    kind = weighted(rng, {"goal": 65, "town": 20, "country": 15})
    if kind == "town":
        return town(rng, direction)
    if kind == "country":
        return place_name(COUNTRIES.draw(rng), direction)
    where = determined(rng, ranked_nouns(("goal",)).draw(rng), {"the": 80, "possessive": 10, "this": 10}, plural=0.05)
    return f"{direction} {where.english}", where.after_de() if direction == "from" else ("à", *where.french)


def company(rng: random.Random, who: Phrase) -> tuple[str, Tokens]:
    """With, without or for somebody else: pronouns are stressed here."""
    said, word = rng.choice((("with", "avec"), ("with", "avec"), ("without", "sans"), ("for", "pour")))
    if chance(rng, 0.4):
        pronoun = object_pronoun(rng, who)
        return f"{said} {pronoun.english}", (word, pronoun.stressed)
    other = companion(rng)
    while other.english in who.english:
        other = companion(rng)
    return f"{said} {other.english}", (word, *other.french)


def companion(rng: random.Random) -> Phrase:
    """Somebody by name, or not."""
    if chance(rng, 0.4):
        return person_name(rng)
    return determined(rng, ranked_nouns(("person",)).draw(rng), {"the": 3, "possessive": 4, "this": 1})


def object_pronoun(rng: random.Random, who: Phrase) -> Pronoun:
    """Somebody else than the subject."""
    return OBJECTS[rng.choice([word for word in OBJECTS if word not in OWN.get(who.english, ())])]


def clock(rng: random.Random) -> tuple[str, Tokens]:
    """At some hour."""
    hour = rng.randint(1, HOURS)
    if hour == HOURS:
        return rng.choice((("at noon", ("à", "midi")), ("at midnight", ("à", "minuit"))))
    english_hour, french_hour = hours(hour)
    if chance(rng, 0.25):
        return f"at half past {english_hour}", ("à", *french_hour, "et", "demie")
    return f"at {english_hour} o'clock", ("à", *french_hour)


def hours(hour: int) -> tuple[str, Tokens]:
    """An hour from 1 to 11, in English without o'clock."""
    return english.number(hour), (french.number(hour, "f"), "heure" if hour == 1 else "heures")


def date(rng: random.Random, with_year: bool) -> tuple[str, Tokens]:
    """On a day of some month: le 3 mai, but le 1er mai."""
    day, (english_month, french_month) = rng.randint(1, DAYS), rng.choice(MONTHS)
    said, tokens = f"on {english_month} {day}", ("le", "1er" if day == 1 else str(day), french_month)
    if not with_year:
        return said, tokens
    year = rng.randint(*YEARS)
    return f"{said}, {year}", (*tokens, str(year))


def time(rng: random.Random, tense: str) -> tuple[str, Tokens] | None:
    """When, if the tense leaves anything to say."""
    when = TIME_OF_TENSE.get(tense)
    if when is None:
        return None
    if when != "now" and chance(rng, 0.25):
        return clock(rng)
    if when in ("past", "future") and chance(rng, 0.2):
        return date(rng, with_year=when == "past" and chance(rng, 0.3))
    said, tokens = TIMES[when].draw(rng)
    return said, (tokens,)
