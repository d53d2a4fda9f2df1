"""Sentences of every kind that the grammar knows, drawn at random."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from qatlab.data.grammar import choice, english, french
from qatlab.data.grammar.clauses import (
    BE,
    BE_HAVING,
    Action,
    Clause,
    clitics,
    english_clause,
    english_complements,
    english_verb,
    french_clause,
    french_complements,
    french_predicate,
    infinitive,
)
from qatlab.data.grammar.lexicon import PROFESSIONS, Adjective, Noun, Verb, pairs
from qatlab.data.grammar.phrases import (
    OBJECTS,
    SUBJECTS,
    Phrase,
    Tokens,
    noun_phrase,
    object_of,
    subject_of,
)

GO, COME, RETURN = (
    Verb("go", "aller", traits=frozenset("e")),
    Verb("come", "venir", traits=frozenset("e")),
    Verb("return", "retourner", traits=frozenset("e")),
)
LIVE = Verb("live", "habiter", traits=frozenset("s"))
BE_BORN = {"m": "né", "f": "née"}
BETTER = Adjective("better", "meilleur", "meilleure", True, frozenset())
SENSATIONS = (("hungry", "faim"), ("thirsty", "soif"), ("cold", "froid"), ("hot", "chaud"), ("afraid", "peur"),
              ("right", "raison"), ("wrong", "tort"), ("sleepy", "sommeil"))  # fmt: skip
NOT_OF_DEGREE = ("right", "wrong")
REPORTS = (("say", "dire"), ("think", "penser"), ("know", "savoir"), ("hope", "espérer"))
ASKED = {"where": "où", "when": "quand", "why": "pourquoi"}
OFTEN = (
    ("often", "souvent"),
    ("always", "toujours"),
    ("sometimes", "parfois"),
    ("rarely", "rarement"),
    ("also", "aussi"),
)
UNDER_NOT = (("often", "souvent"), ("always", "toujours"))
WEATHER = (("be cold", "faire froid"), ("be hot", "faire chaud"), ("rain", "pleuvoir"), ("snow", "neiger"),
           ("be windy", "faire du vent"), ("be sunny", "faire du soleil"))  # fmt: skip
# French by tense; of what it is (cold, windy), and of what it does (rain, snow).
IT_IS = {"present": ("is", "fait"), "past": ("was", "faisait"), "future": ("will be", "fera"),
         "near_future": ("is going to be", "va faire")}  # fmt: skip
IT_RAINS = {"progressive": ("is {}ing", "{}"), "past_progressive": ("was {}ing", "{}ait"), "future": ("will {}", "{}a"),
            "near_future": ("is going to {}", "va {}")}  # fmt: skip
RAINS = {"rain": {"progressive": "pleut", "past_progressive": "pleuvait", "future": "pleuvra", "near_future": "va pleuvoir"},
         "snow": {"progressive": "neige", "past_progressive": "neigeait", "future": "neigera",
                  "near_future": "va neiger"}}  # fmt: skip
PRESENT_AND_PAST = {"present": 5.0, "past": 5.0, "future": 3.0, "near_future": 3.0}
COPULA_TENSES = {"present": 6.0, "past": 3.0, "future": 2.0, "near_future": 1.0}
THINGS = ("thing", "clothing", "vehicle", "food", "text", "place", "solid", "drink")


@dataclass(frozen=True)
class Sentence:
    """Words of a sentence without its end, in both languages; `end` is . or ? or !."""

    english: str
    french: Tokens
    end: str = "."

    def as_texts(self) -> tuple[str, str]:
        """Capital first letters, and a space before ? and ! in French."""
        target = french.join(self.french)
        french_end = self.end if self.end == "." else f" {self.end}"
        return _capital(self.english) + self.end, _capital(target) + french_end


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def tenses(verb: Verb) -> dict[str, float]:
    """How often a verb stands in each of the tenses that it has."""
    weights = dict(PRESENT_AND_PAST)
    if not verb.state:
        weights |= {"perfect": 2, "can": 1.5, "must": 1.5, "could": 0.7}
    if verb.progressive:
        weights |= {"progressive": 3, "past_progressive": 2}
    if english.past(verb.english) == verb.english:  # they read: now or then?
        del weights["past"]
    return weights


def negation(rng: random.Random, tense: str) -> str:
    """Nothing, mostly."""
    weights = {"": 72.0, "not": 20}
    if tense in ("present", "past", "future", "perfect", "near_future"):
        weights["never"] = 5
    if tense == "present":
        weights["no longer"] = 3
    return choice.weighted(rng, weights)


def adverb(rng: random.Random, verb: Verb, tense: str, negated: str) -> tuple[str, str]:
    """Often, already … where the tense allows it."""
    if tense == "perfect" and not negated and choice.chance(rng, 0.4):
        return "already", "déjà"
    lasting = tense in ("present", "future") or (tense == "past" and verb.state)
    if not lasting or negated not in ("", "not") or not choice.chance(rng, 0.15):
        return "", ""
    return rng.choice(UNDER_NOT if negated else OFTEN)


def action(rng: random.Random, who: Phrase, animal: bool, negated: bool) -> Action:
    """What somebody does."""
    kind = choice.weighted(rng, {"thing": 55, "nothing": 18, "pronoun": 10, "giving": 7, "control": 6, "motion": 9})
    if animal and kind in ("giving", "control", "motion"):
        kind = "thing"
    if kind == "giving":
        return giving(rng, who, negated)
    if kind == "motion":
        return motion(rng)
    if kind == "control":
        verb = choice.CONTROL.draw(rng)
        return Action(verb, then=simple_action(rng, who, False, negated=False, kind="thing", plain=True))
    return simple_action(rng, who, animal, negated, kind)


def simple_action(
    rng: random.Random, who: Phrase, animal: bool, negated: bool, kind: str, plain: bool = False
) -> Action:
    """A verb with a thing, a pronoun or nothing after it.

    Args:
        plain: whether it must be something that one does, not a state.
    """
    if kind == "nothing":
        verb = (choice.ANIMALS_INTRANSITIVE if animal else choice.INTRANSITIVE).draw(rng)
        return Action(verb, more=manner(rng, verb))
    verbs = choice.ANIMALS_VERBS if animal else choice.VERBS
    verb = verbs.draw(rng)
    while (plain and verb.state) or (kind == "pronoun" and not takes_pronoun(verb)):
        verb = verbs.draw(rng)
    if kind == "pronoun":
        return Action(verb, pronoun=choice.object_pronoun(rng, who), more=manner(rng, verb))
    return Action(verb, choice.thing(rng, verb, negated), more=manner(rng, verb))


def takes_pronoun(verb: Verb) -> bool:
    """Whether somebody can be its object."""
    return "person" in verb.objects and verb.before_object != "de"


def giving(rng: random.Random, who: Phrase, negated: bool) -> Action:
    """Giving something to somebody: a noun after it, a pronoun before it."""
    verb = choice.GIVING.draw(rng)
    if choice.chance(rng, 0.5):  # her cakes are not what is given to her
        return Action(verb, choice.thing(rng, verb, negated, bare=False), choice.object_pronoun(rng, who))
    noun = choice.ranked_nouns(("person",)).draw(rng)
    receiver = choice.person_name(rng) if choice.chance(rng, 0.3) else choice.determined(
        rng, noun, {"the": 5, "possessive": 3, "a": 1}
    )  # fmt: skip
    return Action(verb, choice.thing(rng, verb, negated), receiver=receiver)


def motion(rng: random.Random) -> Action:
    """To or from somewhere, or living there."""
    kind = choice.weighted(rng, {"go": 5, "return": 1, "come": 2, "live": 2})
    if kind == "live":
        return Action(LIVE, more=(choice.town(rng) if choice.chance(rng, 0.6) else country(rng),))
    if kind == "come":
        return Action(COME, more=(choice.goal(rng, "from"),))
    return Action(GO if kind == "go" else RETURN, more=(choice.goal(rng, "to"),))


def country(rng: random.Random) -> tuple[str, Tokens]:
    """In a country."""
    return choice.place_name(choice.COUNTRIES.draw(rng), "in")


def manner(rng: random.Random, verb: Verb) -> tuple[tuple[str, Tokens], ...]:
    """How it is done, seldom."""
    if not verb.mannered or not choice.chance(rng, 0.1):
        return ()
    said, word = choice.MANNER.draw(rng)
    return ((said, (word,)),)


def clause(rng: random.Random, surroundings: bool = True) -> Clause:
    """Somebody does something, with company, place and time if `surroundings`."""
    animals = choice.chance(rng, 0.2)
    negated = choice.chance(rng, 0.28)
    who = choice.subject(rng, negated, animals)
    animal = animals and who.english not in SUBJECTS and who.french[0][0].islower()
    doing = action(rng, who, animal, negated)
    tense = choice.weighted(rng, tenses(doing.verb))
    denial = negation(rng, tense) if negated else ""
    while negated and not denial:
        denial = negation(rng, tense)
    beside = adverb(rng, doing.verb, tense, denial)
    contracted = denial == "not" and choice.chance(rng, 0.5)
    if surroundings:
        doing = replace(doing, more=(*doing.more, *surrounded(rng, who, doing, tense)))
    return Clause(who, tense, doing, denial, beside, contracted)


def surrounded(rng: random.Random, who: Phrase, doing: Action, tense: str) -> list[tuple[str, Tokens]]:
    """Company, place and time, each of them sometimes."""
    found: list[tuple[str, Tokens] | None] = []
    if not doing.verb.state and doing.then is None:
        moves = doing.verb in (GO, COME, RETURN)
        if doing.verb.progressive and choice.chance(rng, 0.08):
            found.append(choice.company(rng, who))
        if not moves and choice.chance(rng, 0.15):
            found.append(choice.place(rng))
    if (not doing.verb.state or tense != "present") and choice.chance(rng, 0.2):
        found.append(choice.time(rng, tense))
    return [entry for entry in found if entry is not None]


def statement(rng: random.Random) -> Sentence:
    """Somebody does something; when may come first."""
    first = choice.chance(rng, 0.06)
    made = clause(rng, surroundings=not first)
    if not first:
        return Sentence(english_clause(made), french_clause(made))
    while made.tense not in ("past", "future", "near_future"):
        made = clause(rng, surroundings=False)
    when = choice.TIMES[choice.TIME_OF_TENSE[made.tense]].draw(rng)
    return Sentence(f"{when[0]}, {english_clause(made)}", (f"{when[1]},", *french_clause(made)))


def copula(rng: random.Random) -> Sentence:
    """Somebody or something is such."""
    tense = choice.weighted(rng, COPULA_TENSES)
    denial = negation(rng, tense)
    if choice.chance(rng, 0.5):
        who, kinds = choice.subject(rng, bool(denial)), frozenset({"person"})
    else:
        noun = choice.ranked_nouns((*THINGS, "animal")).draw(rng)
        who, kinds = choice.subject_noun_phrase(rng, noun, bool(denial)), noun.kinds
    adjective = choice.said_adjective(rng, kinds, who)
    degree = rng.choice((("very", "très"), ("too", "trop"))) if choice.chance(rng, 0.2) else ("", "")
    if adjective.english in choice.UNGRADED:
        degree, denial = ("", ""), "not" if denial else ""
    said = (f"{degree[0]} {adjective.english}".strip(), tuple(w for w in (degree[1], agreeing(adjective, who)) if w))
    return being(rng, who, tense, denial, BE, said)


def being(rng: random.Random, who: Phrase, tense: str, denial: str, verb: Verb, said: tuple[str, Tokens]) -> Sentence:
    """A sentence with to be."""
    made = Clause(
        who, tense, Action(verb, more=(said,)), denial, adverb(rng, verb, tense, denial), choice.chance(rng, 0.5)
    )
    return Sentence(english_clause(made), french_clause(made))


def agreeing(adjective: Adjective, who: Phrase) -> str:
    """An adjective after être."""
    return french.adjective_form(adjective, who.gender, who.plural)


def sensation(rng: random.Random) -> Sentence:
    """To be hungry is avoir faim."""
    tense = choice.weighted(rng, COPULA_TENSES)
    denial = negation(rng, tense)
    said, word = rng.choice(SENSATIONS)
    words: Tokens = (word,)
    if said not in NOT_OF_DEGREE and choice.chance(rng, 0.2):
        said, words = f"very {said}", ("très", word)
    return being(rng, choice.subject(rng, bool(denial)), tense, denial, BE_HAVING, (said, words))


def age(rng: random.Random) -> Sentence:
    """To be twelve years old is avoir douze ans."""
    years = rng.randint(2, 99)
    said = (f"{english.number(years)} years old", (french.number(years), "ans"))
    made = Clause(
        choice.subject(rng),
        choice.weighted(rng, {"present": 7, "past": 2, "future": 1}),
        Action(BE_HAVING, more=(said,)),
    )
    return Sentence(english_clause(made), french_clause(made))


def profession(rng: random.Random) -> Sentence:
    """To be a doctor is être médecin."""
    said, words = PROFESSION.draw(rng)
    tense = choice.weighted(rng, COPULA_TENSES)
    denial = negation(rng, tense)
    while denial == "never":
        denial = negation(rng, tense)
    who = choice.subject(rng, True) if choice.chance(rng, 0.5) else choice.person_name(rng)
    masculine, feminine = words.split("/")
    word = feminine if who.gender == "f" else masculine
    predicate: tuple[str, Tokens] = english.with_article(said), (word,)
    if who.plural and who.english != "you":  # you are one person here: a doctor
        predicate = english.noun_plural(said), (french.noun_plural(word),)
    made = Clause(who, tense, Action(BE, more=(predicate,)), denial, contracted=choice.chance(rng, 0.5))
    return Sentence(english_clause(made), french_clause(made))


def comparison(rng: random.Random) -> Sentence:
    """Bigger than, as big as, less interesting than."""
    if choice.chance(rng, 0.5):
        kinds, who, other = frozenset({"person"}), choice.subject(rng, True), comparable_person(rng)
    else:
        noun = choice.ranked_nouns((*THINGS, "animal")).draw(rng)
        kinds, who = noun.kinds, choice.subject_noun_phrase(rng, noun, True)
        kind = next(kind for kind in (*THINGS, "animal") if kind in kinds)
        kinds = frozenset({kind})
        than = choice.determined(rng, choice.ranked_nouns((kind,)).draw(rng), {"the": 3, "possessive": 2, "this": 1})
        other = than.english, than.french
    adjective = choice.graded_adjective(rng, kinds)
    word = agreeing(adjective, who)
    degree = choice.weighted(rng, {"more": 5, "as": 2, "less": 2})
    words: Tokens
    if degree == "more":
        said = f"{english.comparative(adjective.english)} than"
        words = (agreeing(BETTER, who),) if adjective.english == "good" else ("plus", word)
    elif degree == "as":
        said, words = f"as {adjective.english} as", ("aussi", word)
    else:
        said, words = f"less {adjective.english} than", ("moins", word)
    predicate = f"{said} {other[0]}", (*words, "que", *other[1])
    made = Clause(who, choice.weighted(rng, {"present": 7, "past": 3}), Action(BE, more=(predicate,)))
    return Sentence(english_clause(made), french_clause(made))


def comparable_person(rng: random.Random) -> tuple[str, Tokens]:
    """Somebody after than: a pronoun is stressed."""
    if choice.chance(rng, 0.3):
        pronoun = OBJECTS[rng.choice(list(OBJECTS))]
        return pronoun.english, (pronoun.stressed,)
    other = choice.person_name(rng) if choice.chance(rng, 0.5) else choice.owner_noun_phrase(rng)
    return other.english, other.french


def existence(rng: random.Random) -> Sentence:
    """There is: il y a, whatever the number."""
    kinds = ("thing", "animal", "food", "person", "solid", "drink", "vehicle", "clothing", "landmark")
    noun = choice.ranked_nouns(kinds).draw(rng)
    while "family" in noun.kinds:  # there is somebody, not somebody's uncle
        noun = choice.ranked_nouns(kinds).draw(rng)
    past, negated = choice.chance(rng, 0.3), choice.chance(rng, 0.2)
    weights = {"bare": 60.0} if noun.mass else {"bare": 55.0, "number": 30, "quantity": 15}
    what = choice.determined(rng, noun, {"bare": 1.0} if negated else weights)
    where = choice.place(rng)
    verb = ("were" if past else "are") if what.plural else ("was" if past else "is")
    said = what.english
    if negated:
        said = "no " + (said.partition(" ")[2] if what.indefinite == "one" else said)
    has = "avait" if past else "a"
    words = ("il", "ne", "y", has, "pas", *what.under_negation()) if negated else ("il", "y", has, *what.french)
    return Sentence(f"there {verb} {said} {where[0]}", (*words, *where[1]))


def question(rng: random.Random) -> Sentence:
    """With est-ce que after the question word, if there is one."""
    kind = choice.weighted(
        rng,
        {
            "yes": 30,
            "where is": 8,
            "where": 12,
            "when": 8,
            "why": 10,
            "who": 12,
            "what": 10,
            "how many": 10,
            "how old": 3,
        },
    )
    if kind == "where is":
        return where_is(rng)
    if kind == "how old":
        return how_old(rng)
    if kind == "who":
        return who_does(rng)
    if kind in ("what", "how many"):
        return asked_thing(rng, kind)
    made = clause(rng, surroundings=kind == "yes") if kind in ("yes", "why") else happening(rng, kind)
    return asked(kind, made)


def how_old(rng: random.Random) -> Sentence:
    """Quel âge a Paul ? Quel âge a-t-elle ?"""
    who = choice.subject(rng, True)
    said = english_clause(Clause(who, "present", Action(BE_HAVING)), question=True)
    has = french.present("avoir", who.person)
    words = (has, *who.french)
    if who in SUBJECTS.values():
        words = (f"{has}-{'t-' if who.person == 2 else ''}{who.french[0]}",)
    return Sentence(f"how old {said}", ("quel", "âge", *words), "?")


def happening(rng: random.Random, kind: str) -> Clause:
    """What one asks where and when of: nothing denies it."""
    who = choice.subject(rng, True)
    if kind == "where" and choice.chance(rng, 0.4):
        doing = Action(rng.choice((LIVE, GO)))
    else:
        doing = simple_action(rng, who, False, negated=False, kind=rng.choice(("thing", "nothing")), plain=True)
    weights = tenses(doing.verb)
    if kind == "when":
        weights = {tense: weight for tense, weight in weights.items() if tense in PRESENT_AND_PAST}
    return Clause(who, choice.weighted(rng, weights), doing)


def asked(kind: str, made: Clause) -> Sentence:
    """A clause as a question for where, when, why, or for yes and no."""
    said, words = english_clause(made, question=True), ("est-ce", "que", *french_clause(made))
    if kind == "yes":
        return Sentence(said, words, "?")
    return Sentence(f"{kind} {said}", (ASKED[kind], *words), "?")


def where_is(rng: random.Random) -> Sentence:
    """Où est la clé ? without est-ce que."""
    noun = choice.ranked_nouns(("thing", "clothing", "person", "animal", "place", "text", "vehicle")).draw(rng)
    what = choice.person_name(rng) if choice.chance(rng, 0.15) else choice.subject_noun_phrase(rng, noun, True)
    past = choice.chance(rng, 0.3)
    form = french.imperfect if past else french.present
    verb = ("were" if past else "are") if what.plural else ("was" if past else "is")
    return Sentence(f"where {verb} {what.english}", ("où", form("être", what.person), *what.french), "?")


def who_does(rng: random.Random) -> Sentence:
    """Qui mange la pomme ?"""
    who = Phrase("who", ("qui",), 2, "m")
    doing = simple_action(rng, who, False, negated=False, kind=rng.choice(("thing", "thing", "nothing", "pronoun")))
    made = Clause(who, choice.weighted(rng, tenses(doing.verb)), doing)
    return Sentence(english_clause(made), french_clause(made), "?")


@cache
def _askable() -> choice.Ranked[Verb]:
    """Verbs with a direct object that is a thing."""
    return choice.Ranked([
        verb for verb in choice.VERBS.items
        if not verb.before_object and not {"thing", "food", "text", "drink", "clothing", "openable"}.isdisjoint(verb.objects)
    ])  # fmt: skip


def countable(rng: random.Random, verb: Verb) -> Noun:
    """Something that a verb takes and that is neither measured nor somebody."""
    noun = choice.ranked_nouns(verb.objects).draw(rng)
    while noun.mass or noun.animate:
        noun = choice.ranked_nouns(verb.objects).draw(rng)
    return noun


def asked_thing(rng: random.Random, kind: str) -> Sentence:
    """What does he eat; how many apples does he eat: a participle agrees with apples."""
    who, verb = choice.subject(rng, True), _askable().draw(rng)
    while kind == "how many" and set(verb.objects) <= {"drink"}:
        verb = _askable().draw(rng)
    weights = tenses(verb)
    if kind == "what":
        made = Clause(who, choice.weighted(rng, weights), Action(verb))
        return Sentence(f"what {english_clause(made, question=True)}", ("qu'est-ce", "que", *french_clause(made)), "?")
    noun = countable(rng, verb)
    things = noun_phrase(noun, "bare", plural=True)
    made = Clause(who, choice.weighted(rng, weights), Action(verb, agreement=(noun.gender, True)))
    said = f"how many {things.english} {english_clause(made, question=True)}"
    return Sentence(said, ("combien", "de", *things.bare, "est-ce", "que", *french_clause(made)), "?")


def relative(rng: random.Random) -> Sentence:
    """The letter that she wrote is long; the boy who sleeps is tired."""
    if choice.chance(rng, 0.5):
        noun = choice.ranked_nouns(("person",)).draw(rng)
        head = noun_phrase(noun, "the", choice.chance(rng, 0.3))
        doing = simple_action(rng, head, False, negated=False, kind=rng.choice(("thing", "nothing")))
        made = Clause(replace(head, english="who", french=("qui",)), choice.weighted(rng, tenses(doing.verb)), doing)
        inner, words = english_clause(made), french_clause(made)
    else:
        verb = _askable().draw(rng)
        while set(verb.objects) <= {"drink"}:
            verb = _askable().draw(rng)
        noun = countable(rng, verb)
        head = noun_phrase(noun, "the", choice.chance(rng, 0.3))
        who = choice.subject(rng, True)
        made = Clause(who, choice.weighted(rng, tenses(verb)), Action(verb, agreement=(noun.gender, head.plural)))
        inner, words = f"that {english_clause(made)}", ("que", *french_clause(made))
    whole = Phrase(f"{head.english} {inner}", (*head.french, *words), head.person, head.gender)
    adjective = choice.said_adjective(rng, noun.kinds, whole)
    said = (adjective.english, (agreeing(adjective, whole),))
    return being(rng, whole, choice.weighted(rng, {"present": 6, "past": 3}), "", BE, said)


def two_actions(rng: random.Random) -> Sentence:
    """She buys an apple and eats it: et la mange."""
    first = _askable().draw(rng)
    noun = choice.ranked_nouns(first.objects).draw(rng)
    fitting = [v for v in _askable().items if not noun.kinds.isdisjoint(v.objects) and v != first and not v.state]
    while first.state or noun.kinds & {"person"} or not fitting:
        first = _askable().draw(rng)
        noun = choice.ranked_nouns(first.objects).draw(rng)
        fitting = [v for v in _askable().items if not noun.kinds.isdisjoint(v.objects) and v != first and not v.state]
    second = rng.choice(fitting)
    weights = {"bare": 5.0, "the": 4.0, "possessive": 2.0} | ({} if noun.mass else {"number": 1.0})
    what = choice.determined(rng, noun, weights)
    who = choice.subject(rng)
    tense = choice.weighted(rng, {t: w for t, w in tenses(first).items() if t in tenses(second)})
    doing, then = Action(first, what), Action(second, pronoun=object_of(noun, what.plural))
    made, following = Clause(who, tense, doing), Clause(who, tense, then)
    verb = english_verb(second, tense, who.person).removeprefix("going to ")
    said = " ".join(word for word in [english_clause(made), "and", verb, *english_complements(then)] if word)
    rest = infinitive(then, who) if tense in ("near_future", "can", "could", "must") else french_predicate(following)
    return Sentence(said, (*french_clause(made), "et", *rest))


def named_before(rng: random.Random) -> Sentence:
    """The soup is cold, but it is good: elle est bonne."""
    noun = choice.ranked_nouns((*THINGS, "animal")).draw(rng)
    what = choice.subject_noun_phrase(rng, noun, True)
    first = choice.said_adjective(rng, noun.kinds, what)
    second = choice.said_adjective(rng, noun.kinds, what, first.english)
    tense = choice.weighted(rng, COPULA_TENSES)
    denied = choice.chance(rng, 0.3)
    one = Clause(what, tense, Action(BE, more=((first.english, (agreeing(first, what),)),)))
    again = subject_of(what)
    other = Clause(
        again, tense, Action(BE, more=((second.english, (agreeing(second, again),)),)), "not" if denied else ""
    )
    return Sentence(
        f"{english_clause(one)}, but {english_clause(other)}",
        (*_with_comma(french_clause(one)), "mais", *french_clause(other)),
    )


def _with_comma(tokens: Tokens) -> Tokens:
    return (*tokens[:-1], f"{tokens[-1]},")


def command(rng: random.Random) -> Sentence:
    """Close the door, let's close it, do not close it."""
    person = 3 if choice.chance(rng, 0.3) else 4
    negated = choice.chance(rng, 0.3)
    pronoun = choice.chance(rng, 0.3)
    who = SUBJECTS["we" if person == 3 else "you"]
    doing = simple_action(rng, who, False, negated, "pronoun" if pronoun else "thing", plain=True)
    while not doing.verb.progressive or (person == 3 and doing.pronoun == OBJECTS["you"]):
        doing = simple_action(rng, who, False, negated, "pronoun" if pronoun else "thing", plain=True)
    verb = french.present(doing.verb.french, person)
    rest = french_complements(doing, who, negated)
    if negated:
        words: Tokens = ("ne", *clitics(doing, who), verb, "pas", *rest)
    elif doing.pronoun is not None:
        clitic = clitics(doing, who)[0]
        words = (f"{verb}-{'moi' if clitic == 'me' else clitic}", *rest)
    else:
        words = (verb, *rest)
    start = ("let's not" if negated else "let's") if person == 3 else ("do not" if negated else "")
    said = " ".join(word for word in [start, doing.verb.english, *english_complements(doing)] if word)
    if person == 4 and choice.chance(rng, 0.3):
        return Sentence(f"please {said}", (*_with_comma(words), "s'il vous plaît"))
    return Sentence(said, words, "!")


def report(rng: random.Random) -> Sentence:
    """He says that she works: que, qu' before a vowel."""
    said, word = rng.choice(REPORTS)
    who = choice.subject(rng, True)
    verb = english_verb(Verb(said, word), "present", who.person)
    inner = clause(rng, surroundings=False)
    while said == "hope" and inner.tense not in ("future", "near_future", "present"):
        inner = clause(rng, surroundings=False)
    words = (*who.french, french.present(word, who.person), "que", *french_clause(inner))
    return Sentence(f"{who.english} {verb} that {english_clause(inner)}", words)


def two_clauses(rng: random.Random) -> Sentence:
    """And, but, because: parce qu' before a vowel."""
    one, other = clause(rng, surroundings=False), clause(rng, surroundings=False)
    while one.tense != other.tense or one.subject == other.subject:
        other = clause(rng, surroundings=False)
    word = choice.weighted(rng, {"and": 3, "but": 3, "because": 4})
    first, second = french_clause(one), french_clause(other)
    if word == "because":
        return Sentence(f"{english_clause(one)} because {english_clause(other)}", (*first, "parce", "que", *second))
    if word == "but":
        return Sentence(f"{english_clause(one)}, but {english_clause(other)}", (*_with_comma(first), "mais", *second))
    return Sentence(f"{english_clause(one)} and {english_clause(other)}", (*first, "et", *second))


def birth(rng: random.Random) -> Sentence:
    """Elle est née le 3 mai 1987."""
    who = choice.subject(rng, True)
    words = (*who.french, french.present("être", who.person), BE_BORN[who.gender] + ("s" if who.plural else ""))
    said = f"{who.english} {'was' if who.person in (0, 2) else 'were'} born"
    if choice.chance(rng, 0.5):
        when = choice.date(rng, with_year=True)
        return Sentence(f"{said} {when[0]}", (*words, *when[1]))
    where, year = choice.town(rng) if choice.chance(rng, 0.6) else country(rng), str(rng.randint(*choice.YEARS))
    return Sentence(f"{said} {where[0]} in {year}", (*words, *where[1], "en", year))


def weather(rng: random.Random) -> Sentence:
    """Il fait froid, il pleut."""
    said, words = rng.choice(WEATHER)
    kind, _, rest = said.partition(" ")
    table = IT_IS if kind == "be" else IT_RAINS
    tense = rng.choice(list(table))
    if kind == "be":
        is_so, makes = IT_IS[tense]
        said, words = f"it {is_so} {rest}", f"{makes} {words.partition(' ')[2]}"
    else:
        said, words = f"it {IT_RAINS[tense][0].format(kind)}", RAINS[kind][tense]
    where = choice.town(rng) if choice.chance(rng, 0.6) else country(rng)
    when = choice.TIMES[choice.TIME_OF_TENSE[tense] if tense not in ("present", "progressive") else "now"].draw(rng)
    return Sentence(f"{said} {where[0]} {when[0]}", ("il", words, *where[1], when[1]))


PROFESSION = choice.Ranked(pairs(PROFESSIONS))
KINDS: dict[Callable[[random.Random], Sentence], float] = {
    statement: 44, copula: 9, sensation: 3, age: 2, profession: 3, comparison: 5, existence: 5, question: 11, relative: 3,
    two_actions: 4, named_before: 3, command: 4, report: 3, two_clauses: 3, birth: 2, weather: 1,
}  # fmt: skip


def draw(rng: random.Random) -> Sentence:
    """A sentence of any kind."""
    (kind,) = rng.choices(list(KINDS), weights=list(KINDS.values()))
    return kind(rng)
