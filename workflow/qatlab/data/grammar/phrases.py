"""Noun phrases, pronouns and places in both languages."""

from collections.abc import Sequence
from dataclasses import dataclass

from qatlab.data.grammar import english, french
from qatlab.data.grammar.lexicon import Adjective, Noun

Tokens = tuple[str, ...]

# By English word: singular masculine, singular feminine, plural. My becomes mon before a vowel, this becomes cet.
POSSESSIVES = {
    "my": ("mon", "ma", "mes"),
    "your": ("votre", "votre", "vos"),
    "his": ("son", "sa", "ses"),
    "her": ("son", "sa", "ses"),
    "our": ("notre", "notre", "nos"),
    "their": ("leur", "leur", "leurs"),
}
QUANTITIES: dict[str, Tokens] = {
    "a few": ("quelques",),
    "several": ("plusieurs",),
    "many": ("beaucoup", "de"),
}


@dataclass(frozen=True)
class Phrase:
    """Something or somebody.

    Attributes:
        person: je, tu, il, nous, vous, ils: 0 to 5.
        indefinite: "one" for un, une; "some" for des, du, de la. A negated verb has `de` instead.
        bare: what follows the article of an indefinite one.
    """

    english: str
    french: Tokens
    person: int
    gender: str
    indefinite: str = ""
    bare: Tokens = ()

    @property
    def plural(self) -> bool:
        """Whether it is more than one (you are)."""
        return self.person > 2

    def under_negation(self) -> Tokens:
        """As the object of a negated verb: pas de pain."""
        return ("de", *self.bare) if self.indefinite else self.french

    def after_de(self) -> Tokens:
        """With de before it: d'une pomme, but de pommes, d'eau."""
        return ("de", *(self.bare if self.indefinite == "some" else self.french))


@dataclass(frozen=True)
class Pronoun:
    """A pronoun as an object: him; le, lui, and lui after a preposition or than."""

    english: str
    direct: str
    indirect: str
    stressed: str
    gender: str
    plural: bool


# I, you, we and they are taken for men, or men among others; you for several people, or one who is not a friend.
SUBJECTS = {
    "I": Phrase("I", ("je",), 0, "m"),
    "he": Phrase("he", ("il",), 2, "m"),
    "she": Phrase("she", ("elle",), 2, "f"),
    "we": Phrase("we", ("nous",), 3, "m"),
    "you": Phrase("you", ("vous",), 4, "m"),
    "they": Phrase("they", ("ils",), 5, "m"),
}
OBJECTS = {
    "me": Pronoun("me", "me", "me", "moi", "m", False),
    "him": Pronoun("him", "le", "lui", "lui", "m", False),
    "her": Pronoun("her", "la", "lui", "elle", "f", False),
    "us": Pronoun("us", "nous", "nous", "nous", "m", True),
    "you": Pronoun("you", "vous", "vous", "vous", "m", True),
    "them": Pronoun("them", "les", "leur", "eux", "m", True),
}
# A subject and the objects that would be itself.
OWN = {"I": ("me", "us"), "we": ("us", "me"), "you": ("you",)}


def object_of(noun: Noun, plural: bool) -> Pronoun:
    """It or them, for something that was named before."""
    if plural:
        return Pronoun("them", "les", "leur", "", noun.gender, True)
    return Pronoun("it", "le" if noun.gender == "m" else "la", "lui", "", noun.gender, False)


def subject_of(phrase: Phrase) -> Phrase:
    """It or they, for something that was named before."""
    word = "il" if phrase.gender == "m" else "elle"
    if phrase.plural:
        return Phrase("they", (f"{word}s",), 5, phrase.gender)
    return Phrase("it", (word,), 2, phrase.gender)


def noun_phrase(
    noun: Noun, determiner: str, plural: bool = False, adjectives: Sequence[Adjective] = (), count: int = 0
) -> Phrase:
    """A noun with what stands around it.

    Args:
        determiner: the, a, some, bare, this, every, number; a word of POSSESSIVES or QUANTITIES; "generic" for all there are
            (he loves cats: les chats).
        adjectives: in English order: those that stand before the noun in French come first.
        count: with "number".
    """
    words = [adjective.english for adjective in adjectives]
    words.append(english.noun_plural(noun.english) if plural else noun.english)
    bare = _french_noun(noun, plural, adjectives)
    described = any(adjective.before for adjective in adjectives)
    determined = _determined(determiner, noun, plural, bare, described, count)
    indefinite = "one" if determiner == "a" else "some" if determiner in ("some", "bare") else ""
    return Phrase(
        _english_determined(determiner, plural, " ".join(words), count),
        (*determined, *bare),
        5 if plural else 2,
        noun.gender,
        indefinite,
        bare if indefinite else (),
    )


def _french_noun(noun: Noun, plural: bool, adjectives: Sequence[Adjective]) -> Tokens:
    word = french.noun_plural(noun.french) if plural else noun.french
    tokens = [word]
    for adjective in reversed([a for a in adjectives if a.before]):
        tokens.insert(0, french.adjective_form(adjective, noun.gender, plural, tokens[0]))
    after = [french.adjective_form(a, noun.gender, plural) for a in adjectives if not a.before]
    return (*tokens, *after)


def _determined(determiner: str, noun: Noun, plural: bool, bare: Tokens, described: bool, count: int) -> Tokens:
    """What stands before the French noun and its adjectives."""
    feminine = noun.gender == "f"
    vowel = french.starts_with_vowel(bare[0])
    article = "LES" if plural else "LA" if feminine else "LE"
    if determiner in ("the", "generic"):
        return (article,)
    if determiner == "number":
        return (french.number(count, noun.gender),)
    if determiner in POSSESSIVES:
        masculine_form, feminine_form, plural_form = POSSESSIVES[determiner]
        return (plural_form if plural else feminine_form if feminine and not vowel else masculine_form,)
    if determiner in QUANTITIES:
        return QUANTITIES[determiner]
    if determiner == "this":
        return ("ces" if plural else "cette" if feminine else "cet" if vowel else "ce",)
    if determiner == "every":
        return ("chaque",)
    if determiner == "a":
        return ("une" if feminine else "un",)
    if noun.mass:
        return ("de", article)
    return ("de" if described else "des",)


def _english_determined(determiner: str, plural: bool, words: str, count: int) -> str:
    if determiner == "a":
        return english.with_article(words)
    if determiner in ("bare", "generic"):
        return words
    if determiner == "number":
        return f"{english.number(count)} {words}"
    return f"{'these' if determiner == 'this' and plural else determiner} {words}"


def of_somebody(noun: Noun, plural: bool, owner: Phrase, adjectives: Sequence[Adjective] = ()) -> Phrase:
    """`Paul's sister`: la sœur de Paul. The owner is one."""
    owned = noun_phrase(noun, "the", plural, adjectives)
    words = owned.english.removeprefix("the ")
    return Phrase(f"{owner.english}'s {words}", (*owned.french, *owner.after_de()), 5 if plural else 2, noun.gender)


def place_name(country: tuple[str, str, str], direction: str) -> tuple[str, Tokens]:
    """In, to or from a country: en France, au Japon, aux États-Unis; de France, du Japon, des États-Unis."""
    name, word, gender = country
    said = f"{direction} {name}"
    if gender == "p":
        return said, ("de" if direction == "from" else "à", "LES", word)
    if direction == "from":
        return said, ("de", word) if gender == "f" or french.starts_with_vowel(word) else ("de", "LE", word)
    return said, ("en", word) if gender == "f" or french.starts_with_vowel(word) else ("à", "LE", word)
