"""Clauses: who does what to whom, when, in both languages. Tenses and negation are where the two differ most.

Tenses are called as English makes them: present, progressive, past, past_progressive, perfect, future, near_future, can, could, must.
"""

from dataclasses import dataclass

from qatlab.data.grammar import english, french
from qatlab.data.grammar.lexicon import Verb
from qatlab.data.grammar.phrases import Phrase, Pronoun, Tokens

BE = Verb("be", "être", traits=frozenset("s"))
# What French has and English is: hungry, twelve years old.
BE_HAVING = Verb("be", "avoir", traits=frozenset("s"))

# English auxiliary; French verb before an infinitive and its tense.
BEFORE_INFINITIVE = {
    "near_future": ("aller", french.present),
    "can": ("pouvoir", french.present),
    "could": ("pouvoir", french.imperfect),
    "must": ("devoir", french.present),
}
NEGATIONS = {"not": "pas", "never": "jamais", "no longer": "plus"}


@dataclass(frozen=True)
class Action:
    """A verb and all that it takes.

    Attributes:
        pronoun: an object instead of `thing`; of giving, who gets it.
        receiver: who gets it.
        then: the verb that this one takes.
        more: predicates, manner, place and time, in both languages.
        agreement: gender and number of a direct object that stands before the verb for another reason than being a pronoun.
    """

    verb: Verb
    thing: Phrase | None = None
    pronoun: Pronoun | None = None
    receiver: Phrase | None = None
    then: "Action | None" = None
    more: tuple[tuple[str, Tokens], ...] = ()
    agreement: tuple[str, bool] | None = None

    @property
    def pronoun_receives(self) -> bool:
        """Whether the pronoun is à somebody."""
        return self.thing is not None or self.verb.before_object == "à"


@dataclass(frozen=True)
class Clause:
    """Somebody's action at some time.

    Attributes:
        negation: one of NEGATIONS, or nothing.
        adverb: English and French, beside the verb: often.
        contracted: doesn't rather than does not.
    """

    subject: Phrase
    tense: str
    action: Action
    negation: str = ""
    adverb: tuple[str, str] = ("", "")
    contracted: bool = False


# English


def _be(person: int, past: bool) -> str:
    if past:
        return "was" if person in (0, 2) else "were"
    return {0: "am", 2: "is"}.get(person, "are")


def _auxiliary(verb: Verb, tense: str, person: int, supported: bool) -> str:
    """The word that `not` follows; do where there is no other, if it is needed."""
    if tense in ("future", "can", "could", "must"):
        return "will" if tense == "future" else tense
    if tense == "perfect":
        return "has" if person == 2 else "have"
    if tense in ("progressive", "near_future"):
        return _be(person, past=False)
    if tense == "past_progressive":
        return _be(person, past=True)
    if verb.english == "be":
        return _be(person, tense == "past")
    if not supported:
        return ""
    return "did" if tense == "past" else "does" if person == 2 else "do"


def english_verb(verb: Verb, tense: str, person: int, supported: bool = False) -> str:
    """The verb's own form; with `supported`, do says who and when."""
    if tense in ("progressive", "past_progressive"):
        return english.gerund(verb.english)
    if tense == "perfect":
        return english.past_participle(verb.english)
    if tense == "near_future":
        return f"going to {verb.english}"
    if tense in ("present", "past") and verb.english == "be":
        return ""
    if tense == "past" and not supported:
        return english.past(verb.english)
    if tense == "present" and person == 2 and not supported:
        return english.third_person(verb.english)
    return verb.english


def english_complements(action: Action) -> list[str]:
    """What follows an English verb."""
    if action.then is not None:
        return [action.then.verb.english, *english_complements(action.then), *(words for words, _ in action.more)]
    parts = [action.pronoun.english if action.pronoun else "", action.thing.english if action.thing else ""]
    if action.receiver is not None:
        parts.append(f"to {action.receiver.english}")
    return [*parts, *(words for words, _ in action.more)]


def english_clause(clause: Clause, question: bool = False) -> str:
    """A clause in English; as a question, with the auxiliary before the subject."""
    verb, subject, adverb = clause.action.verb, clause.subject, clause.adverb[0]
    supported = question or clause.negation == "not"
    auxiliary = _auxiliary(verb, clause.tense, subject.person, supported)
    main = english_verb(verb, clause.tense, subject.person, supported)
    if clause.negation == "not" and question and auxiliary not in english.CONTRACTIONS:
        adverb = f"not {adverb}".strip()  # am I not
    elif clause.negation == "not":
        auxiliary = _negated(auxiliary, clause.contracted or question)  # doesn't he
    elif clause.negation:
        adverb = f"{clause.negation} {adverb}".strip()
    start = [auxiliary, subject.english] if question else [subject.english, auxiliary]
    return " ".join(part for part in [*start, adverb, main, *english_complements(clause.action)] if part)


def _negated(auxiliary: str, contracted: bool) -> str:
    if contracted and auxiliary in english.CONTRACTIONS:
        return english.CONTRACTIONS[auxiliary]
    return "cannot" if auxiliary == "can" else f"{auxiliary} not"


# French


def french_clause(clause: Clause) -> Tokens:
    """A clause in French, from its subject on."""
    return (*clause.subject.french, *french_predicate(clause))


def french_predicate(clause: Clause) -> Tokens:
    """A clause in French without its subject."""
    action, subject = clause.action, clause.subject
    negated = bool(clause.negation)
    beside = [word for word in (NEGATIONS.get(clause.negation), clause.adverb[1]) if word]
    before = ["ne"] if negated else []
    if clause.tense in BEFORE_INFINITIVE:
        auxiliary, form = BEFORE_INFINITIVE[clause.tense]
        return (*before, form(auxiliary, subject.person), *beside, *infinitive(action, subject, negated))
    before += clitics(action, subject)
    if is_compound(action.verb, clause.tense):
        past = compound_past(action, subject)
        verb = [past[0], *beside, past[1]]
    else:
        verb = [simple(action.verb, clause.tense, subject.person), *beside]
    return (*before, *verb, *french_complements(action, subject, negated))


def is_compound(verb: Verb, tense: str) -> bool:
    """Whether it is said in the passé composé: what happened, not what was."""
    return tense == "perfect" or (tense == "past" and not verb.state)


def simple(verb: Verb, tense: str, person: int) -> str:
    """Present, imparfait or future."""
    if tense in ("past", "past_progressive"):
        return french.imperfect(verb.french, person)
    return french.future(verb.french, person) if tense == "future" else french.present(verb.french, person)


def compound_past(action: Action, subject: Phrase) -> tuple[str, str]:
    """Auxiliary and participle, which agrees with the subject after être, and after avoir with a direct object before it."""
    verb = action.verb
    if verb.reflexive or "e" in verb.traits:
        return french.present("être", subject.person), french.participle(verb.french, subject.gender, subject.plural)
    gender, plural = action.agreement or ("m", False)
    if action.pronoun is not None and not action.pronoun_receives:
        gender, plural = action.pronoun.gender, action.pronoun.plural
    return french.present("avoir", subject.person), french.participle(verb.french, gender, plural)


def clitics(action: Action, subject: Phrase) -> list[str]:
    """What stands before the verb: se, and pronouns that are objects."""
    found = [french.REFLEXIVE[subject.person]] if action.verb.reflexive else []
    if action.pronoun is not None:
        found.append(action.pronoun.indirect if action.pronoun_receives else action.pronoun.direct)
    return found


def infinitive(action: Action, subject: Phrase, negated: bool = False) -> Tokens:
    """An action in the infinitive."""
    return (*clitics(action, subject), action.verb.french, *french_complements(action, subject, negated))


def french_complements(action: Action, subject: Phrase, negated: bool) -> Tokens:
    """What follows a French verb."""
    verb = action.verb
    tokens = [verb.tail] if verb.tail else []
    if action.then is not None:
        tokens += [verb.before_object] if verb.before_object else []
        # Il ne veut pas acheter de pain; but: il ne refuse pas d'acheter du pain.
        tokens += infinitive(action.then, subject, negated and not verb.before_object)
    elif action.thing is not None:
        tokens += french_object(verb, action.thing, negated)
    if action.receiver is not None:
        tokens += ("à", *action.receiver.french)
    for _, words in action.more:
        tokens += words
    return tuple(tokens)


def french_object(verb: Verb, thing: Phrase, negated: bool) -> Tokens:
    """An object with its preposition."""
    if verb.before_object == "de":
        return thing.after_de()
    if verb.before_object:
        return (verb.before_object, *thing.french)
    return thing.under_negation() if negated else thing.french
