"""The words the drafter knows: themes and places from assets/, and short lists that keep its English safe and sound."""

import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import snowballstemmer

from mediator.resources import asset, read_yaml

_stemmer = snowballstemmer.stemmer("english")
_stemmer_lock = threading.Lock()  # it keeps the word it works on in itself: two threads would mix theirs up
_WORD = re.compile(r"[a-z]+(?:['’][a-z]+)?|[0-9]+|[^\W\d_]+", re.IGNORECASE)


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """The stem of one English word, lower case."""
    lowered = word.lower().replace("’", "'")
    with _stemmer_lock:
        return str(_stemmer.stemWord(lowered.removesuffix("'s")))


def stems(text: str) -> list[str]:
    """The stems of all words of a text, in order."""
    return [stem(word) for word in _WORD.findall(text)]


STOP_WORDS = frozenset(
    stem(word)
    for word in """a about above after again against all almost also always am an and any anyone anything are as at
    away be because been before being below between both but by came can cannot come could day did do does doing
    done down during each either else enough especially even ever every everyone everything far feel feeling felt
    few for from further get gets getting give go goes going good got great had has have having he her here hers him
    his how however i if in instead into is it it's its itself just keep kind know lack last least less let like
    likely little long lot lots made make makes making many may maybe me might mine more most mostly much must my
    myself need needs never no nobody none nor not nothing now of off often on once one only or other others our
    ours out over own particular people per perhaps person photo picture place places possible probably put quite
    rather really said same say see seem seems several she should since so some somebody someone something sometimes
    still such sure take taken than that that's the their them themselves then there these they thing things think
    this those though through thus time times to together too took toward try two under until up upon us use used
    using usually very want wanted wants was way ways we well went were what when where whether which while who
    whole whom whose why will with within without would yes yet you your yours yourself is isn't don't doesn't
    didn't won't can't i'm i've i'd they're you're wasn't weren't shouldn't couldn't wouldn't""".split()
)


def content_stems(text: str) -> list[str]:
    """Stems of the words that carry meaning."""
    return [found for found in stems(text) if found not in STOP_WORDS and len(found) > 1]


class PhraseFinder:
    """Finds which labels' words or phrases occur in a text, comparing stems; ``=word`` stands for that very word."""

    def __init__(self, phrases: Mapping[str, Iterable[str]]) -> None:
        self._by_first: dict[str, list[tuple[tuple[str, ...], str, str]]] = {}
        self._exact: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        for label, texts in phrases.items():
            for text in texts:
                if text.startswith("="):
                    words = tuple(text[1:].split())
                    self._exact.setdefault(words[0], []).append((words, label))
                    continue
                key = tuple(stems(text))
                if key:
                    self._by_first.setdefault(key[0], []).append((key, label, text))

    def find(self, text: str) -> list[tuple[str, str]]:
        """Return ``(label, phrase)`` for every occurrence; of phrases at one spot, only the longest per label."""
        words = stems(text)
        exact = _WORD.findall(text.lower())
        found = [
            (label, " ".join(key))
            for position, word in enumerate(exact)
            for key, label in self._exact.get(word, ())
            if tuple(exact[position : position + len(key)]) == key
        ]
        for position, word in enumerate(words):
            best: dict[str, tuple[int, str]] = {}
            for key, label, phrase in self._by_first.get(word, ()):
                if tuple(words[position : position + len(key)]) == key and len(key) > best.get(label, (0, ""))[0]:
                    best[label] = (len(key), phrase)
            found.extend((label, phrase) for label, (_, phrase) in best.items())
        return found


@dataclass(frozen=True)
class Theme:
    """One thing that people value or fear, with noun phrases that name it.

    ``people``: it is a group of people, and both phrases speak for them.
    """

    name: str
    words: tuple[str, ...]
    wish: tuple[str, ...]
    worry: tuple[str, ...]
    people: bool = False


@dataclass(frozen=True)
class PlaceKind:
    """One kind of place with the words that point to it and fill the slots of measures."""

    name: str
    nouns: tuple[str, ...]
    hints: tuple[str, ...]
    operator: str
    users: str


@lru_cache(maxsize=1)
def themes() -> dict[str, Theme]:
    """All themes by name, from assets/themes.yaml."""
    entries = read_yaml(asset("themes.yaml"))
    return {
        name: Theme(name, tuple(map(str, e["words"])), tuple(e["wish"]), tuple(e["worry"]), bool(e.get("people")))
        for name, e in entries.items()
    }


@lru_cache(maxsize=1)
def place_kinds() -> dict[str, PlaceKind]:
    """All kinds of place by name, from assets/places.yaml."""
    entries = read_yaml(asset("places.yaml"))
    return {
        name: PlaceKind(name, tuple(e["nouns"]), tuple(e["hints"]), e["operator"], e["users"])
        for name, e in entries.items()
    }


@dataclass(frozen=True)
class _Subjects:
    """Finders of subjects by what measures, comments and views say of them, and by what may be said of another too.

    ``unless`` has, for each subject with vague words, the subject that claims those words where it is raised.
    """

    said: PhraseFinder
    named: PhraseFinder
    raised: PhraseFinder
    vague: PhraseFinder
    unless: Mapping[str, str]


@lru_cache(maxsize=1)
def _subjects() -> _Subjects:
    """The subjects of assets/subjects.yaml."""
    entries = read_yaml(asset("subjects.yaml"))

    def words(*fields: str, without: str = "") -> PhraseFinder:
        return PhraseFinder(
            {
                name: [
                    word
                    for field in fields
                    for word in map(str, entry.get(field, ()))
                    if word not in map(str, entry.get(without, ()))
                ]
                for name, entry in entries.items()
            }
        )

    return _Subjects(
        said=words("said"),
        named=words("said", "names"),
        raised=words("said", "names", "near", without="vague"),
        vague=words("vague"),
        unless={name: str(entry["unless"]) for name, entry in entries.items() if "unless" in entry},
    )


@lru_cache(maxsize=2000)
def subjects_of(measure_text: str) -> frozenset[str]:
    """The subjects a measure speaks of that nobody should be surprised with."""
    return frozenset(name for name, _ in _subjects().said.find(measure_text))


def subjects_named(comment: str) -> frozenset[str]:
    """The subjects that a comment calls by a name: "cigarettes", "the police"."""
    return frozenset(name for name, _ in _subjects().named.find(comment))


def subjects_at_end(words: str) -> frozenset[str]:
    """The subjects whose name ends these words: "no cigarettes", but not "cigarette butts"."""
    each = words.split()
    return frozenset(
        name
        for length in range(1, min(len(each), _LONGEST_NAME) + 1)
        for name, phrase in _subjects().named.find(" ".join(each[-length:]))
        if len(phrase.split()) == length
    )


_LONGEST_NAME = 4
"""Words that the name of a subject has at most."""


def subjects_raised(*texts: str) -> frozenset[str]:
    """The subjects that the views of a dispute bring up together.

    "The smoke" is that of cigarettes unless one of the texts speaks of a barbecue.
    """
    found = _subjects()
    raised = {name for text in texts for name, _ in found.raised.find(text)}
    vague = {name for text in texts for name, _ in found.vague.find(text)}
    return frozenset(raised | {name for name in vague if found.unless.get(name) not in raised})


@lru_cache(maxsize=1)
def theme_finder() -> PhraseFinder:
    """Finds themes in text."""
    return PhraseFinder({name: theme.words for name, theme in themes().items()})


@lru_cache(maxsize=1)
def noun_finder() -> PhraseFinder:
    """Finds nouns that name a kind of place."""
    return PhraseFinder({name: kind.nouns for name, kind in place_kinds().items()})


@lru_cache(maxsize=1)
def hint_finder() -> PhraseFinder:
    """Finds words that hint at a kind of place."""
    return PhraseFinder({name: kind.hints for name, kind in place_kinds().items()})


def _stem_set(text: str) -> frozenset[str]:
    return frozenset(stem(word) for word in text.split())


NEGATIVE = _stem_set(
    """unsafe danger dangerous afraid fear scared scary problem bad worse worst hate angry annoy annoying complain
    complaint dirty filthy broken ugly rude crime criminal drug drunk violence violent threat threaten steal theft
    rob attack hurt harm harmful injured injury lack missing uncomfortable unwelcome exclude excluded left-out
    nobody unfair wrong lose losing lost suffer risk risky avoid stop prevent ban banned remove reduce less fewer
    rid nuisance trouble trash litter noise noisy loud crowded overcrowded worry worried creepy sketchy dark
    abandoned neglected racist racism prejudice hostile judgmental judged cramped expensive costly destroy damage
    pollution unhealthy unjust immoral useless ineffective waste"""
)
"""Stems that make a clause about something unwanted."""

NEGATIVE_HEADS = _stem_set(
    """crime violence drug drugs noise litter trash garbage racism discrimination harassment danger fight fights
    fighting shooting shootings theft robbery vandalism graffiti smoke traffic accident accidents hate prejudice
    bullying pollution mess dirt crowd crowds gossip abuse risk risks threat threats problem problems weapon weapons
    gun guns rats smell injury injuries death deaths terrorism corruption poverty debt damage waste shouting barking
    speeding homelessness addiction attack attacks murder incident incidents fraud cheating spam insult insults fee
    fees fine fines tax taxes cost costs war harm suffering disease diseases exclusion isolation inequality burglary
    intruder trespassing hazard hazards discomfort fear ban bans restriction restrictions censorship queue queues
    delay delays overcrowding segregation stress conflict conflicts deficit deficits debts emissions unemployment
    torture extinction obesity"""
)
"""Heads of noun phrases that nobody wishes for: a concern named by them is always a worry."""

PERSON_HEADS = _stem_set(
    """people person man men woman women kid kids child children boy boys girl girls guy guys addict addicts
    homeless immigrant immigrants migrant migrants refugee refugees black blacks white whites gay gays lesbian
    lesbians muslim muslims christian christians catholic catholics jew jews hispanic hispanics mexican mexicans
    asian asians african indian indians foreigner foreigners minority minorities teenager teenagers teen teens youth
    elder elders senior seniors adult adults family families friend friends neighbor neighbors neighbour neighbours
    student students teacher teachers customer customers patron patrons patient patients citizen citizens resident
    residents member members mother father mom dad parent parents brother sister son daughter wife husband
    grandmother grandfather grandma grandpa uncle aunt cousin partner spouse boyfriend girlfriend boss coworker
    coworkers colleague colleagues everyone anyone someone somebody individual individuals human humans guest guests
    visitor visitors tourist tourists owner owners lady ladies folk folks baby babies toddler toddlers crowd group
    groups race races gender genders trump biden obama democrat democrats republican republicans criminal criminals
    thief thieves prostitute prostitutes prisoner prisoners terrorist terrorists employee employees worker workers
    pastor priest nurse nurses doctor doctors stranger strangers vagrant beggar gang gangs liberal liberals
    conservative conservatives transgender trans lgbt lgbtq victim victims pedestrian pedestrians driver drivers
    walker walkers smoker smokers dealer dealers drunk drunks junkie junkies skater skaters skateboarder
    skateboarders panhandler panhandlers loiterer loiterers hooligan hooligans pensioner pensioners retiree retirees
    commuter commuters shopper shoppers player players biker bikers local locals native natives outsider outsiders
    newcomer newcomers gypsy gypsies nazi nazis hippie hippies activist activists protester protesters politician
    politicians mayor landlord landlords tenant tenants renter renters hindu hindus buddhist buddhists atheist
    atheists poor cyclist cyclists officer's user users staff-member breakers offender offenders sexuality gender
    skin"""
)
"""Heads that name people: a proposal never says that somebody worries about, or wants, a group of people."""

EMPTY_HEADS = _stem_set(
    """thing things lot lots place places photo picture image way ways idea ideas time times fact one ones kind sort
    bit reason reasons example part parts area areas location spot spots feeling feelings number amount anything
    everything something nothing everyone year years day days week weeks month months hour hours minute minutes
    morning evening today name names case point sense person opinion view suggestion issue issues aspect matter
    situation question answer change world life somewhere anywhere town city country state county america usa street
    home house side front back end middle center top bottom inside outside past future moment second first last
    while mind eye eyes hand hands head face story memory memories experience experiences couple bunch ton tons
    variety type types pic snapshot rest people's need needs use word words someone's level stuff line goal effort
    efforts step lack addition manner form opportunity opportunities chance choice perspective perspectives regard
    respect presence room space order effect affect comment comments text use uses half pair plenty percent majority
    mile miles foot feet dollar dollars hundred thousand piece set let like look feel love visit walk run go work
    come get make help want get-together improvement improvements enhancement measure measures option options factor
    factors concern concerns benefit benefits condition conditions consideration practice practices answer trick job
    way-out mystery distance neighborhood neighbourhood community building facility society culture"""
)
"""Heads that say nothing by themselves."""
