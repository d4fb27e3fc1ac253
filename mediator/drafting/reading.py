"""Reading a view: its place, its themes, and the concerns its author voices, as phrases that fit into a proposal."""

import re
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from mediator.drafting.lexicon import (
    NEGATIVE,
    NEGATIVE_HEADS,
    content_stems,
    hint_finder,
    noun_finder,
    place_kinds,
    stem,
    stems,
    theme_finder,
    themes,
)
from mediator.drafting.phrases import TAIL_WORDS, head_of, noun_phrases
from mediator.schema import View


class ConcernKind(StrEnum):
    """What the author does with the thing named; a claim is quoted whole."""

    WISH = "wish"
    WORRY = "worry"
    VALUE = "value"
    CLAIM = "claim"


@dataclass(frozen=True)
class Concern:
    """Something one side cares about, as a noun phrase in the third person.

    Attributes:
        kind: asked for, worried about, or valued.
        phrase: a noun phrase that completes "wants ...", "worries about ..." or "values ...", or a claim in quotation
            marks that completes "says ...".
        weight: how prominent it is in the view, > 0.
        own: whether the phrase is the author's own words (else the theme's).
        theme: the theme it belongs to, or "" for a phrase outside the themes.
    """

    kind: ConcernKind
    phrase: str
    weight: float
    own: bool
    theme: str = ""


@dataclass(frozen=True)
class Reading:
    """What the drafter understood of one view.

    Attributes:
        text: the whole view.
        themes: weight of each theme that occurs, summing to 1 (empty when none does).
        concerns: the concerns, most prominent first; may be empty.
        place: the kind of place, or "" when the view names none.
        place_noun: the noun that names it, e.g. "diner"; "" when unknown.
        ask: what the author asks for, in the author's own words, short enough to be quoted.
        stems: the stems of the content words with their counts.
        suggestion_stems: those of the suggestion (of the whole text when there is no such field).
    """

    text: str
    themes: dict[str, float]
    concerns: tuple[Concern, ...]
    place: str
    place_noun: str
    ask: str
    stems: Counter[str]
    suggestion_stems: Counter[str]


_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)]*\s+|[\n\r]+|;\s+")
_CLAUSE_END = re.compile(r",\s+(?:but|because|since|so|although|while|which|who)\b|\s+(?:but|because|although)\s+|:\s+")
_ASK = re.compile(
    r"\b(?:should|must|would (?:like|love|be|add|make|put|have|want|change|modify|improve|help|feel)|need(?:s|ed)?"
    r"|could (?:be|use|have|add|improve|also|make|put)|ought|please|want(?:s|ed)?|wish|let's|suggest|recommend"
    r"|had better|i'd|adding|hiring|putting|having|making|providing|more|better|improve[ds]?|add|provide|hire|install"
    r"|allow|require|ban|forbid|stop|keep|make|let|create|build|offer|limit|increase|reduce|remove|replace|enforce)\b",
    re.IGNORECASE,
)
_LACK = re.compile(
    r"\b(?:no|not enough|lack(?:s|ing)? (?:of )?|too few|there (?:is|are)n['’]t(?: any| enough)?|missing|"
    r"does ?n['’]t have|do ?n['’]t have)\s+(?:any |enough )?$",
    re.IGNORECASE,
)
_AGAINST = re.compile(
    r"\b(?:stop|prevent|avoid|ban|banning|banned|remove|removing|reduce|reducing|less|fewer|against|end|no more|"
    r"eliminate|"
    r"abolish|abolishing|outlaw|forbid|deter|discourage|minimi[sz]e|get(?:ting)? rid of|worr(?:y|ied) about|"
    r"afraid of|fear of|scared of|tired of|"
    r"sick of|complain(?:s|ed)? (?:of|about)|problems? with|because of|too (?:much|many)|due to)\s+(?:the |any |"
    r"all |this |that )?$",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"(?:^|\b(?:should|must|shall) (?:be|have) |\bwants? |,|\b(?:and|or|with|please) )\s*no\s+(?:more |new )?$",
    re.IGNORECASE,
)
# "Talk to people instead of putting up rules": what follows is what the author does not want.
_RATHER = re.compile(r"\b(?:instead of|rather than)\b", re.IGNORECASE)
_NEGATED = re.compile(r"\b(?:not|never|n['’]t|no longer|nobody|none|cannot)\b", re.IGNORECASE)

_LONGEST_QUOTATION = 140
"""Characters of a view that a proposal quotes at most in one piece."""


def sentences(text: str) -> list[str]:
    """Split running text into sentences."""
    return [part.strip() for part in _SENTENCE_END.split(text) if part and part.strip()]


_FORBIDDEN_AFTER = re.compile(
    r"^\s*(?:should|must|needs? to|ought to|has to|have to)(?: not be (?:allowed|legal|permitted|used|funded)|"
    r" be (?:banned|abolished|"
    r"stopped|ended|outlawed|prohibited|forbidden|illegal|restricted|limited|removed|reduced|criminali[sz]ed|scrapped|cut))\b",
    re.IGNORECASE,
)
_CONTRACTIONS = (
    (re.compile(r"n['’]t\b", re.IGNORECASE), " not"),
    (re.compile(r"['’](?:m|re|ve|ll|d)\b", re.IGNORECASE), ""),
)
_SPECIFIC = re.compile(
    r"(?:\b(?:the|this|that|our|my|their|his|her|your|at|local|shared|same|a|an|its)\s+(?:[\w'’-]+\s+){0,2})$",
    re.IGNORECASE,
)
# "We should" speaks for everybody in a debate.
_FIRST_PERSON = re.compile(r"\b(?:I|my|me|our|us|mine|[Ww]e(?! (?:should|must|need|ought|cannot|can)))\b")
_PUBLIC = frozenset(
    stem(word)
    for word in """government state nation national country countries society public citizen law legal legalise
    legalize illegal ban abolish policy tax taxpayer welfare rights democracy constitution parliament congress court
    prison penalty war military nuclear religion science market trade economy immigration abortion euthanasia
    marriage drug prostitution gun animal climate energy education healthcare voters voting election federal
    international global world industry company corporations workers women men children humans people religion
    church media internet music sport god poor poverty president candidate nation union eu power""".split()
)
_PUBLIC_THEMES = frozenset("environment punishment taxes war sport evidence health gender religion jobs".split())
# Words that a public question shares with any talk; one of them alone makes none.
_HALF_PUBLIC = frozenset(
    stem(word)
    for word in """animal gun drug church religion science trade market industry company corporation corporations
    workers women men children humans people media internet music sport god education energy marriage power union
    global world international society court immigration legal""".split()
)


@lru_cache(maxsize=64)  # the views of some thirty disputes at work: what people wrote is not kept for long
def _read(text: str, place: str, reason: str, suggestion: str) -> Reading:
    weights, kinds = _themes_of(place, reason, suggestion)
    kind, noun = _place_of(place, f"{reason} {suggestion}")
    if not kind and not place and _PUBLIC_THEMES & set(weights) and not _FIRST_PERSON.search(text):
        kind = "policy"
    if kind == "policy":
        # On a public question the same noun stands in the demand and in the objection, and a wrong guess puts words
        # into somebody's mouth: there the claims themselves are quoted.
        return _reading(text, kind, noun, weights, _claims(text), suggestion)
    concerns = _own_concerns(reason, suggestion)
    # Who worries about "rules" in so many words does not want clear rules.
    feared = {concern.theme for concern in concerns if concern.kind is ConcernKind.WORRY} & {"rules"}
    for theme, weight in sorted(weights.items(), key=lambda item: (-item[1], item[0]))[:5]:
        concerns.extend(
            Concern(kinds[theme], phrase, 0.6 * weight + 0.05, own=False, theme=theme)
            for phrase in (themes()[theme].worry if kinds[theme] is ConcernKind.WORRY else themes()[theme].wish)
            if theme not in feared
        )
    concerns.sort(key=lambda concern: -concern.weight)
    asking = " ".join(f"{part.rstrip('.')}." for part in sentences(suggestion or text) if _ASK.search(part))
    return _reading(text, kind, noun, weights, concerns or ([] if place else _claims(asking)), suggestion)


def _reading(
    text: str, kind: str, noun: str, weights: dict[str, float], concerns: list[Concern], suggestion: str
) -> Reading:
    return Reading(
        text=text,
        themes=weights,
        concerns=tuple(concerns),
        place=kind,
        place_noun=noun,
        ask=_ask(suggestion or text),
        stems=Counter(content_stems(text)),
        suggestion_stems=Counter(content_stems(suggestion or text)),
    )


def read(view: View) -> Reading:
    """Read a view. Never fails: a text in another language simply yields few themes and concerns."""
    if view.text:
        # Free text: what asks is the suggestion, the rest is the reason.
        asking = [part for part in sentences(view.text) if _ASK.search(part)]
        telling = [part for part in sentences(view.text) if not _ASK.search(part)]
        return _read(view.text, "", " ".join(telling), " ".join(asking))
    return _read(view.as_text(), view.place, view.reason, view.suggestion)


_BANNED = "ban|banned|forbid|forbidden|prohibit|prohibited|outlaw|outlawed"

# What a suggestion names is wished for ("a camera to catch suspicious activity"), unless all it asks for is less.
_ONLY_AGAINST = re.compile(
    r"^(?!.*\b(?:add|install|hire|more|improve|better|provide|include|put|build|offer|keep|have)\b)"
    rf".*\b(?:no|stop|{_BANNED}|remove|less|fewer|without|get rid|too many|too much|avoid|not allow|not be allowed|"
    r"(?:do not|don['’]t) (?:want|need|like))\b",
    re.IGNORECASE,
)

_BAN = re.compile(rf"\b(?:{_BANNED}|not be allowed)\b", re.IGNORECASE)
# "Never be banned", "against a ban", "lift the ban on": who says so speaks up for what others want gone.
NO_BAN = re.compile(
    r"(?:\b(?:no|not|never|cannot|nobody|without|against)|n['’]t)\s+"
    rf"(?:(?!(?:only|just|and|or|but|so|then|allowed|unless)\b)\w+\s+){{0,3}}?(?:{_BANNED}|bans|banning|forbidding)\b"
    r"|\b(?:lift|end|repeal|overturn|scrap|drop|remove|stop)(?:s|ed|ped|ping|ing)?\s+(?:(?:the|this|that|all|any|every|a)\s+)?"
    r"(?:\w+\s+)?bans?\b",
    re.IGNORECASE,
)


def _polarity(sentence: str) -> int:
    """-1 for a sentence about something unwanted, 1 otherwise; a negation turns a negative word round."""
    found = sum(1 for word in stems(sentence) if word in NEGATIVE)
    if not found:
        return 1
    return 1 if len(_NEGATED.findall(sentence)) >= found else -1


def _sign(asked: str) -> int:
    """-1 for a demand that asks only for less of something, 1 otherwise."""
    return -1 if _ONLY_AGAINST.search(asked) else 1


def _themes_of(place: str, reason: str, suggestion: str) -> tuple[dict[str, float], dict[str, ConcernKind]]:
    """Weight of each theme (summing to 1) and whether the author wishes for it or worries about it."""
    hits: Counter[str] = Counter()
    negative: Counter[str] = Counter()
    seen: Counter[tuple[str, str]] = Counter()
    for field, weight in ((place, 0.4), (reason, 1.0), (suggestion, 2.2)):
        for sentence in sentences(field):
            allowing = NO_BAN.sub(" ", sentence)
            is_ban = bool(_BAN.search(allowing))
            # Who wants no ban on prayer wishes for prayer, and still not for rules.
            signs = {asked: _sign(asked) for asked in {sentence, allowing}} if field is suggestion else {}
            polarity = _polarity(sentence)
            for theme, phrase in theme_finder().find(sentence):
                if field is suggestion and themes()[theme].people and is_ban:
                    continue  # who wants them gone neither wishes anything for them nor worries about them
                sign = polarity if field is not suggestion else signs[sentence if theme == "rules" else allowing]
                seen[theme, phrase] += 1
                amount = weight / seen[theme, phrase]  # the tenth "dog" says less than the first
                hits[theme] += amount  # type: ignore[assignment]
                if sign < 0:
                    negative[theme] += amount  # type: ignore[assignment]
    total = sum(hits.values())
    weights = {theme: value / total for theme, value in hits.items()} if total else {}
    kinds = {theme: ConcernKind.WORRY if negative[theme] > hits[theme] / 2 else ConcernKind.WISH for theme in weights}
    return weights, kinds


def _place_of(place: str, rest: str) -> tuple[str, str]:
    """The kind of place and the noun that names it; ("policy", "") for a public question, ("", "") when unknown."""
    votes: Counter[str] = Counter()
    nouns: dict[str, Counter[str]] = {}
    seen: Counter[tuple[str, str]] = Counter()
    one_place = lru_cache(maxsize=None)(lambda noun: bool(place) or _names_one_place(rest, noun))
    for field, noun_weight, hint_weight in ((place, 4.0, 1.5), (rest, 1.0, 0.7)):
        for order, (kind, noun, aside) in enumerate(_nouns_in_order(field)):
            seen[field, noun] += 1
            weight = noun_weight * (1.0 if one_place(noun) else 0.25) / seen[field, noun]
            if field is place and (order or aside):
                weight *= 0.05 if aside else 0.6  # "a park with a running path" is a park, "near my house" no house
            if kind in _VAGUE:
                # "house" or "road" is named in passing more often than meant; a park or a library is what it is about.
                weight *= 0.6 if field is place or not place else 0.25
            votes[kind] += weight * (1 + 0.2 * noun.count(" "))  # type: ignore[assignment]
            nouns.setdefault(kind, Counter())[noun] += weight  # type: ignore[assignment]
        for kind, _ in hint_finder().find(field):
            vague = 0.6 if field is place or not place else 0.25
            votes[kind] += hint_weight * (vague if kind in _VAGUE else 1.0)  # type: ignore[assignment]
    best, score = max(votes.items(), key=lambda item: (item[1], item[0]), default=("", 0.0))
    if not place:
        words = set(stems(rest))
        public = len(words & _PUBLIC) if words & _PUBLIC - _HALF_PUBLIC or len(words & _HALF_PUBLIC) > 1 else 0
        personal = len(_FIRST_PERSON.findall(rest))
        if public and public > 2 * personal and score < 1.0:
            return "policy", ""
        if score < 0.6:
            return ("policy", "") if public and not personal else ("", "")
    if score < 0.3:
        return "", ""  # one word in passing
    found = nouns.get(best)
    if not found:
        return best, ""
    noun = max(found.items(), key=lambda item: (item[1], item[0]))[0]
    return best, noun


_VAGUE = frozenset({"neighbourhood", "home", "street"})


_ASIDE = re.compile(
    r"\b(?:near|nearby|by|outside|behind|beside|close to|next to|across from|away from|front of|walking to)"
    r"(?: (?:my|our|the|a|an|your|where|his|her|their))?\s*$",
    re.IGNORECASE,
)


def _nouns_in_order(text: str) -> list[tuple[str, str, bool]]:
    """The place nouns of a text with their kinds, in the order of the text, and whether only something near is meant.

    Of nouns inside one another or in a compound ("meadows park") only the longest, or the last, counts.
    """
    found = sorted(
        (match.start(), -match.end(), kind, noun)
        for kind, noun in dict.fromkeys(noun_finder().find(text))
        for match in _noun_pattern(noun).finditer(text)
    )
    kept: list[tuple[int, int, str, str]] = []
    for start, end, kind, noun in found:
        if kept and start < kept[-1][1]:
            continue
        if kept and noun != "home" and not text[kept[-1][1] : start].strip(" "):
            kept[-1] = (kept[-1][0], -end, kind, noun)
        else:
            kept.append((start, -end, kind, noun))
    return [(kind, noun, bool(_ASIDE.search(text[max(0, start - 30) : start]))) for start, _, kind, noun in kept]


@lru_cache(maxsize=1000)
def _noun_pattern(noun: str) -> re.Pattern[str]:
    """A place noun in its plural and with apostrophes ("farmers market" for "farmer's market")."""
    words = []
    for word in noun.split():
        base = re.escape(word.replace("'", "").removesuffix("s"))
        words.append(rf"(?:{re.escape(word)}(?:['’]?e?s)?|{base}['’]?s?)")
    return re.compile(r"(?<!\w)" + r"\s+".join(words) + r"(?!\w)", re.IGNORECASE)


def _names_one_place(text: str, noun: str) -> bool:
    """Whether "the park", "our park" or "a dog park" occurs rather than "parks" in general."""
    pattern = re.compile(rf"\b{re.escape(noun)}(?:['’]s)?\b(?!s)", re.IGNORECASE)
    return any(_SPECIFIC.search(text[max(0, match.start() - 40) : match.start()]) for match in pattern.finditer(text))


def _own_concerns(reason: str, suggestion: str) -> list[Concern]:
    """Concerns named in the author's own words."""
    found: dict[str, Concern] = {}
    for field, asking, base in ((suggestion, True, 1.0), (reason, False, 0.7)):
        for order, sentence in enumerate(sentences(field)[:12]):
            for concern in _concerns_in(sentence, asking, base / (1 + 0.15 * order)):
                key = concern.phrase.lower()
                if key not in found or found[key].weight < concern.weight:
                    found[key] = concern
    return sorted(found.values(), key=lambda concern: -concern.weight)[:8]


def _concerns_in(sentence: str, asking: bool, base: float) -> list[Concern]:
    plain = sentence
    for pattern, replacement in _CONTRACTIONS:
        plain = pattern.sub(replacement, plain)
    if plain.isupper():
        plain = plain.lower()
    negated = bool(_NEGATED.search(plain))
    asking = asking or bool(_ASK.search(plain))
    concerns: list[Concern] = []
    theme_of: dict[str, str] = {}
    wishing = False
    for phrase, before, after in noun_phrases(plain):
        words = phrase.split()
        head = stem(head_of(words))
        if phrase not in theme_of:
            theme_of[phrase] = next((name for name, _ in theme_finder().find(phrase)), "")
        theme = theme_of[phrase]
        lacking = bool(_LACK.search(before))
        if lacking and _REFUSED.search(before):
            # "No cameras." refuses what "there are no cameras" misses; at the start of a reason it may mean either.
            if not asking:
                continue
            lacking, refused = False, True
        else:
            refused = bool(_RATHER.search(before))
        # A phrase at the start is asked for when it stands alone ("Fines for littering."), not when it has a verb.
        alone = not before.strip() and not re.match(r"\s*[A-Za-z]", after)
        governed = bool(_ASKED_FOR.search(before)) or alone
        wishing = governed or (wishing and bool(_CONTINUES.search(before)))
        if head in _SANCTIONS and (asking and not refused and not _AGAINST.search(before)):
            continue  # one side may well ask for a fine or a ban: no worry, and nothing to put in its mouth
        if head == stem("law"):
            continue  # "what is against the law"
        if head in NEGATIVE_HEADS:
            if lacking:
                continue  # "there is no crime": neither a wish nor a worry
            kind = ConcernKind.WORRY
        elif _FORBIDDEN_AFTER.search(after) and set(before.lower().split()[-1:]) & TAIL_WORDS:
            continue  # "skating in the courtyard should be forbidden" is not about the courtyard
        elif (
            refused
            or _AGAINST.search(before)
            or _FORBIDDEN_AFTER.search(after)
            or (head not in _REMEDIES and any(stem(word) in NEGATIVE for word in words))
        ):
            kind = ConcernKind.WORRY
        elif words[0] == "the":
            continue  # something that is there already: not what is asked for
        elif (lacking and theme) or (
            asking and not negated and (words[0] in _MORE or (wishing and (theme or len(words) > 2)))
        ):
            kind = ConcernKind.WISH
        elif not negated and len(words) in {2, 3} and words[-2] in _QUALITIES:
            kind = ConcernKind.VALUE
        else:
            continue
        if kind is ConcernKind.WORRY and words[0] in _MORE:
            continue
        weight = base * (1.0 + 0.35 * bool(theme) + 0.15 * min(len(words) - 1, 3))
        weight *= 0.75 if kind is ConcernKind.VALUE else 1.0
        concerns.append(Concern(kind, phrase, weight, own=True, theme=theme))
    return concerns


# "Crime prevention" and "a noise rule" are not what is feared, though the word for it is in them.
_REMEDIES = frozenset(
    stem(word)
    for word in """prevention protection control reduction check checks detector detectors alarm alarms sign signs
    rule rules hotline watch training barrier barriers fence fences safety bin bins can cans cleaner removal""".split()
)
_SANCTIONS = frozenset(stem(word) for word in "fee fine ban restriction tax cost penalty law rule".split())
_MORE = frozenset({"more", "better", "stricter", "fewer"})
_ASKED_FOR = re.compile(
    r"\b(?:add|adding|install|installing|provide|providing|hire|hiring|put|putting|need|needs|needed|want|wants|include|"
    r"including|build|building|create|creating|offer|offering|set up|bring in|post|posting|like to see|require|employ|"
    r"invest in|allow for|(?:should|could|would|must|to|will|might|also|I) have|having|would be|could use|would like|"
    r"there (?:should|must|could) be)\s+"
    r"(?:some |in |a few |extra |additional |up |also )?$",
    re.IGNORECASE,
)
_CONTINUES = re.compile(r"(?:,|\band|\bor|as well as|,\s*and|&|/)\s*(?:some |also |maybe )?$", re.IGNORECASE)
_QUALITIES = frozenset(
    """quiet peaceful friendly warm cozy cosy beautiful safe open clean welcoming green historic free diverse calm
    fresh lovely natural wide affordable local helpful honest comfortable inclusive relaxing supportive spacious
    bright kind polite caring gentle strong""".split()
)


def _claims(text: str) -> list[Concern]:
    """The author's first sentences as quotations, the short ones first."""
    found = []
    for order, sentence in enumerate(sentences(text)[:4]):
        quoted = _quotation(sentence, longest=14)
        if len(quoted.split()) < 3:
            continue
        theme = next((name for name, _ in theme_finder().find(sentence)), "")
        cut = 0.3 if quoted.endswith("…") else 0.0
        found.append(Concern(ConcernKind.CLAIM, f"“{quoted}”", 1.0 - 0.1 * order - cut, own=True, theme=theme))
    return sorted(found, key=lambda concern: -concern.weight)


_INSIDE_QUOTATION = str.maketrans('“”"{}', "‘’'()")


def _quotation(sentence: str, longest: int) -> str:
    """A sentence without its final stop, its own quotation marks made single, cut at ``longest`` words."""
    plain = sentence.strip(' .,;:!?…"“”').translate(_INSIDE_QUOTATION)
    return _shortened(plain, longest)


def _ask(text: str) -> str:
    """What the author asks for, in at most 16 of the author's own words, for quotation."""
    candidates = [part for part in sentences(text) if _ASK.search(part)] or sentences(text)
    if not candidates:
        return _shortened(text, 16)
    sentence = min(candidates[:3], key=lambda part: abs(len(part.split()) - 10))
    clause = _CLAUSE_END.split(sentence)[0].strip(' .,!?…"“”')
    return _shortened(clause or text, 16)


def _shortened(text: str, longest: int) -> str:
    """A text cut at ``longest`` words, and at `_LONGEST_QUOTATION` characters where no spaces set words apart."""
    words = text.split()
    short = " ".join(words if len(words) <= longest else words[: longest - 1])
    if len(short) > _LONGEST_QUOTATION:
        return short[: _LONGEST_QUOTATION - 2].rstrip(" ,;:") + " …"
    return short if len(words) <= longest else short.rstrip(" ,;:") + " …"


def shared_place(first: Reading, second: Reading) -> tuple[str, str]:
    """The kind of place two views have in common and its noun; ("", "") when they speak of different places."""
    if first.place == second.place:
        noun = first.place_noun if first.place_noun == second.place_noun else ""
        noun = noun or (first.place_noun or second.place_noun if not (first.place_noun and second.place_noun) else "")
        kinds = place_kinds()
        return first.place, noun or (kinds[first.place].nouns[0] if first.place in kinds else "")
    if not first.place or not second.place:
        known = first if first.place else second
        return known.place, known.place_noun
    return "", ""
