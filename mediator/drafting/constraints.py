"""What a mediator's comment means for the search: "no cameras", "cheaper", "more for the dog owners", "shorter"."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from mediator.drafting.lexicon import content_stems, stem, subjects_at_end, subjects_named, subjects_of, theme_finder
from mediator.drafting.measures import Measure, Mechanism
from mediator.drafting.reading import NO_BAN, Reading

_PARTS = re.compile(r"[.;,!?\n]+|\b(?:and|but|then|also|or|with(?= no\b))\b|(?=\bwithout\b)", re.IGNORECASE)
_SENTENCE = re.compile(r"[.!?]+(?=\s|$)")
# "No cameras. Or guards.": one sentence, whatever the stops say.
_GOES_ON = re.compile(r"^\W*(?:or|nor|neither|either|and)\b", re.IGNORECASE)
_LEFT_OPEN = re.compile(r"\b(?:or|nor|neither|either|and)\W*$", re.IGNORECASE)
_TOPIC = re.compile(
    r"^\s*(?:it|this|that|they|we|the\s+\w+)(?:\s+(?:is|are|was)|['’](?:s|re))\s+(?:really\s+|only\s+|all\s+)?about\b",
    re.IGNORECASE,
)
# "No barbecue after ten" and "no cigarette butts on the ground" leave room for barbecues and cigarettes.
_CIRCUMSTANCE = re.compile(
    r"\d|\b(?:after|before|at|on|off|in|inside|indoors|outside|without|near|during|by|until|till|between|from|past|when|"
    r"while|if|where|unless|except|within|under|with|for|next to|close to|one|two|three)\b",
    re.IGNORECASE,
)
_AFTER_HOURS = re.compile(
    r"\b(?:after|past|before|until|till|later than)\s+(?:\d|noon|midnight|dark|dusk|sunset|six|seven|eight|nine|ten|"
    r"eleven|twelve)",
    re.IGNORECASE,
)
_TIMES = frozenset(
    stem(word) for word in "six seven eight nine ten eleven twelve noon midnight hour evening night sunset dark".split()
)
_ABOUT = re.compile(r"^\s*(?:about|on|of|for|against)\b", re.IGNORECASE)
_FILLERS = re.compile(
    r"(?:[\s,:]+(?:please|thanks|thank you|at all|any ?more|any longer|again|ever|either|whatsoever|anywhere|"
    r"everywhere|here|measures?|proposals?|ideas?|things?|stuff))+\W*$",
    re.IGNORECASE,
)
_BAN = re.compile(
    r"\b(?:ban(?:s|ned|ning)?|forbid(?:s|den|ding)?|prohibit(?:s|ed|ing)?|outlaw(?:s|ed|ing)?)\b", re.IGNORECASE
)
_UNSAID = re.compile(
    rf"{_BAN.pattern}|\b(?:lift|end|repeal|overturn|scrap|drop|remove|stop|welcome|acceptable|option)\w*", re.IGNORECASE
)
_MARKUP = re.compile(r"<[^<>]{0,200}>|&\w{1,8};")
_REMEMBER = re.compile(
    r"\b(?:do not|don['’]t|never) (?:forget|ignore|neglect|overlook|leave out|drop)\b", re.IGNORECASE
)
_UNWANTED = re.compile(
    r"^(?P<what>.+?)\s+(?:(?:is|are|would be)\s+(?:not|no)|(?:is|are)n['’]t|not)\s+(?:wanted|acceptable|ok(?:ay)?|"
    r"welcome|needed|necessary|possible|(?:an )?option)\b",
    re.IGNORECASE,
)
# A wish in a whole sentence ("we do not want cameras") has its direction in the middle; what stands before is a part.
_DIRECTIONS = {
    name: re.compile(rf"^(?P<lead>.*?)\b(?:{words})\s+(?P<what>.+)$", re.IGNORECASE)
    for name, words in {
        "less": "less|fewer|lower|reduce|softer on|not (?:so|too) (?:much|many)|too much|too many",
        "more": "more|add|stronger|increase|focus on|emphasi[sz]e|include|use|prefer|not enough|too little|too few",
        "without": "no(?: more)?|not(?! (?:enough|so|too)\\b)|without|avoid|drop|leave out|skip|exclude|remove|do "
        "not|don['’]t|never|"
        "stop|nothing (?:with|about)|ban|neither|nor",
    }.items()
}
_FOR_SIDE = re.compile(
    r"\b(?:for|towards?|to|favou?r(?:ing|s)?|help(?:ing|s)?|serv(?:e|es|ing))\s+(?P<who>.+)$", re.IGNORECASE
)
_SIDE_LABEL = re.compile(
    r"^\s*(?:the\s+)?(?:side|view|party)?\s*(?P<label>[ab])\s*(?:['’]s side|side)?\s*$", re.IGNORECASE
)
_CHEAP = re.compile(
    r"\b(?:cheap(?:er|ly)?|low[- ]cost|costs? less|less (?:money|expensive|costly)|inexpensive|affordable|"
    r"free of (?:charge|cost)|"
    r"no (?:money|budget|cost)|(?:small|tight|low) budget|(?:too|so|very|not) (?:expensive|costly)|costs? too much)\b",
    re.IGNORECASE,
)
# "Shorter" asks for a short text, "shorter opening hours" for something else.
_SHORT = re.compile(
    r"\b(?:(?:short(?:er)?|brief(?:er)?|simpler|simple)\b(?!\s+(?!(?:please|texts?|sentences?|proposals?|and|"
    r"but)\b)\w)|fewer words|concise)",
    re.IGNORECASE,
)
_LONG = re.compile(r"\b(?:longer|more detail(?:ed|s)?|more concrete|more steps)\b", re.IGNORECASE)
_ONLY_COST = re.compile(
    r"^\s*(?:please\s+)?(?:keep it|make it|something|it should be|must be)?\s*(?:cheap(?:er)?|low[- ]cost|"
    r"inexpensive|affordable|short(?:er)?|simple|simpler|brief(?:er)?|longer)\s*$",
    re.IGNORECASE,
)

_ENFORCEMENT = "enforcement enforce police patrol guard fine fines penalty sanction punish ban warning rules control"
_SYNONYMS = (
    "camera cameras cctv surveillance filming recording recordings recorded footage video",
    "police officer officers patrol patrols guard guards security warden wardens ranger marshal",
    "fee fees charge charges pay paid payment price deposit fine fines cost costs euro euros pound pounds dollar "
    "dollars subscription levy",
    "sign signs signage notice notices poster posters board boards",
    "meeting meetings meet assembly committee panel evening circle",
    "volunteer volunteers rota",
    "light lights lighting lamp lamps lantern",
    "dog dogs lead leash",
    "apology apologise apologises sorry acknowledge acknowledgement",
    "law laws legislation ban bans prohibition forbidden",
    "tax taxes levy taxation",
    "app apps website phone phones online digital screen screens",
    "fence fences wall walls hedge barrier gate gates",
    "training trained course workshop workshops lesson",
)
_GROUPS = tuple(frozenset(stem(word) for word in group.split()) for group in _SYNONYMS)
# "No enforcement" is about police and fines too, "no police" is not about house rules.
_GENERAL_WORDS = frozenset(stem(word) for word in "enforcement enforce penalty sanction punish control".split())
_ENFORCING = frozenset(stem(word) for word in _ENFORCEMENT.split())
_EMPTY = frozenset(
    stem(word)
    for word in """please measure proposal propose suggest recommend compromise idea thing stuff solution option
    kind want need""".split()
)


def _widened(words: Sequence[str]) -> frozenset[str]:
    """Stems plus their close synonyms."""
    wide = set(words)
    for word in words:
        for group in _GROUPS:
            if word in group:
                wide |= group
    return frozenset(wide | _ENFORCING) if wide & _GENERAL_WORDS else frozenset(wide)


@dataclass
class Constraints:
    """What the comments ask for.

    Attributes:
        excluded: sets of stems; a text with any of these stems is ruled out.
        excluded_after_hours: the same, unless the text sets a time ("no drums after ten").
        excluded_subjects, liked_subjects: what a measure may not, or should, be about (`lexicon.subjects_of`).
        liked, disliked: sets of stems that add to or take from a measure's weight.
        cheap: 0..1, how much low cost matters.
        lean: -1 the first view, 1 the second view, 0 neither: which side should get more.
        most_steps: how many measures a proposal may have.
    """

    excluded: set[str] = field(default_factory=set)
    excluded_after_hours: set[str] = field(default_factory=set)
    excluded_subjects: set[str] = field(default_factory=set)
    liked_subjects: set[str] = field(default_factory=set)
    liked: set[str] = field(default_factory=set)
    disliked: set[str] = field(default_factory=set)
    cheap: float = 0.0
    lean: float = 0.0
    most_steps: int = 3
    fewest_steps: int = 1

    @property
    def excludes_words(self) -> bool:
        """Whether there is any text that `allows` rules out."""
        return bool(self.excluded or self.excluded_after_hours)

    def allows(self, text_stems: set[str]) -> bool:
        """Whether a text with these stems may be used at all."""
        return not (self.excluded & text_stems or (self.excluded_after_hours & text_stems and not _TIMES & text_stems))

    def allows_measure(self, measure: Measure) -> bool:
        """Whether a measure may be used at all."""
        if self.excludes_words and not self.allows(set(measure.stems)):
            return False
        if self.excluded_subjects and self.excluded_subjects & subjects_of(measure.text):
            return False
        if self.excluded & _ENFORCING and measure.mechanism is Mechanism.CONDITIONAL and "enforc" in self.excluded:
            return False
        return not (self.cheap >= 1.0 and measure.cost >= 1.0)

    def weight(self, measure: Measure) -> float:
        """Added to the relevance of a measure."""
        words = set(measure.stems)
        liked = bool(self.liked & words or self.liked_subjects & subjects_of(measure.text))
        value = 0.35 * liked - 0.35 * bool(self.disliked & words)
        if self.disliked & _ENFORCING and (measure.mechanism is Mechanism.CONDITIONAL or "policing" in measure.themes):
            value -= 0.3
        return value - 0.5 * self.cheap * measure.cost


def understand(comments: Sequence[str], first: Reading, second: Reading, a_is_first: bool) -> Constraints:
    """Turn comments into constraints. Later comments add to earlier ones.

    ``first`` and ``second`` are the readings in the drafter's own order; ``a_is_first`` says whether view A is the
    first.
    """
    constraints = Constraints()
    for remark in comments:
        comment = _REMEMBER.sub("more", _MARKUP.sub(" ", remark))
        if _CHEAP.search(comment):
            constraints.cheap = 1.0
        if _SHORT.search(comment):
            constraints.most_steps = 1
        if _LONG.search(comment):
            constraints.fewest_steps = 3
        direction, before = "", ""
        for sentence in _SENTENCE.split(comment):
            if not (_GOES_ON.match(sentence) or _LEFT_OPEN.search(before[-20:])):
                direction = ""
            before = sentence
            for part in _PARTS.split(sentence):
                if not part or not part.strip() or _ONLY_COST.match(part):
                    continue
                if _TOPIC.match(part):
                    direction = ""  # "not about dogs, it is about noise": whole, whatever the part before was
                direction = _apply(part, direction, constraints, first, second, a_is_first)
    return constraints


def _apply(
    part: str, direction: str, constraints: Constraints, first: Reading, second: Reading, a_is_first: bool
) -> str:
    """Apply one part of a comment; return its direction, which an elliptic next part ("no lamps, dogs") takes over."""
    found = [
        (match.end("lead"), name, match) for name, pattern in _DIRECTIONS.items() if (match := pattern.match(part))
    ]
    unwanted = _UNWANTED.match(part)
    if NO_BAN.search(part) or (unwanted and _BAN.search(unwanted["what"])):
        return _spare(part, constraints)
    if unwanted:
        direction, what = "without", unwanted["what"]
    elif found:
        _, name, match = min(found, key=lambda item: item[0])
        if match["lead"].strip():
            _apply(match["lead"], direction, constraints, first, second, a_is_first)
        direction, what = name, match["what"]
    else:
        what = part
    who = _FOR_SIDE.search(what) or _FOR_SIDE.search(part)
    if who and direction in {"more", "less", ""}:
        lean = _side(who.group("who"), first, second, a_is_first)
        if lean:
            constraints.lean += -lean if direction == "less" else lean
            return direction
    hours = _AFTER_HOURS.search(what) if direction == "without" else None
    words = [word for word in content_stems(what[: hours.start()] if hours else what) if word not in _EMPTY]
    if not words or _CHEAP.search(part):
        return direction
    wide = _widened(words)
    if hours:
        constraints.excluded_after_hours |= wide
    elif direction == "without":
        constraints.excluded |= wide
        constraints.excluded_subjects |= _subjects_refused(what)
        if "enforc" in wide:
            constraints.excluded.add("enforc")
    elif direction == "less":
        constraints.disliked |= wide
    else:
        lean = _side(what, first, second, a_is_first) if direction == "more" and not theme_finder().find(what) else 0.0
        if lean:
            constraints.lean += lean
        else:
            constraints.liked |= wide
            constraints.liked_subjects |= subjects_named(what)
    return direction


def _spare(part: str, constraints: Constraints) -> str:
    """Apply "no ban on dogs" or "do not ban dogs": bans are ruled out, dogs are not. Return the direction after it."""
    constraints.excluded |= _widened([stem("ban"), *map(stem, _BAN.findall(part))])
    spared = _UNSAID.sub(" ", part)
    constraints.liked |= _widened([word for word in content_stems(spared) if word not in _EMPTY])
    constraints.liked_subjects |= subjects_named(spared)
    # "No barbecue ban, guards" refuses guards; "do not ban barbecues, drums" spares drums.
    return "without" if re.match(r"\W*no\b.*\bbans?\W*$", part, re.IGNORECASE | re.DOTALL) else ""


def _subjects_refused(what: str) -> frozenset[str]:
    """The subjects that "no ..." rules out whole: those named, unless only under some circumstance ("after ten")."""
    plain = _FILLERS.sub("", _ABOUT.sub("", what)).strip(" '\"’”)")
    return frozenset() if _CIRCUMSTANCE.search(plain) else subjects_at_end(plain)


def _side(who: str, first: Reading, second: Reading, a_is_first: bool) -> float:
    """Which side "A", "the dog owners" or "the readers" means: -1 the first, 1 the second, 0 not clear."""
    label = _SIDE_LABEL.match(who.strip(" ."))
    if label:
        is_a = label.group("label").lower() == "a"
        return -1.0 if is_a == a_is_first else 1.0
    words = content_stems(who)
    here = sum(first.stems[word] for word in words) / max(1, sum(first.stems.values()))
    there = sum(second.stems[word] for word in words) / max(1, sum(second.stems.values()))
    if here > 1.5 * there:
        return -1.0
    return 1.0 if there > 1.5 * here else 0.0
