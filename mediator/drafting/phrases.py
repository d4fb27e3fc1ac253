"""Noun phrases fit to be repeated in the third person: what a proposal may name a concern with."""

from mediator.drafting.lexicon import EMPTY_HEADS, PERSON_HEADS, STOP_WORDS, stem, theme_finder
from mediator.drafting.tagging import known as known_word
from mediator.drafting.tagging import tagged as tags_of

_ADJECTIVES = frozenset({"JJ", "JJR", "JJS"})
_NOUNS = frozenset({"NN", "NNS"})
_UNCOUNTABLE_END = (
    "tion",
    "sion",
    "ment",
    "ness",
    "ity",
    "ship",
    "ism",
    "ance",
    "ence",
    "cy",
    "ing",
    "dom",
    "ure",
    "age",
    "th",
)
_UNCOUNTABLE = frozenset(
    """poverty speed debris
    lighting light security safety noise privacy music traffic litter access parking signage seating shade quiet
    peace silence nature space room food water heat air help respect kindness freedom choice trust care history art
    education information research technology equipment furniture maintenance money funding pay rent housing
    transport staff wifi internet crime violence theft graffiti racism hate drug use alcohol smoke smoking garbage
    trash rubbish dirt mess speeding shouting barking gossip pollution vandalism harassment supervision enforcement
    communication support training attention patience honesty fairness work homework sport exercise sleep rest
    company culture faith prayer worship religion beauty cleanliness hygiene energy power oil gas coal evidence
    science speech testing meat fuel police""".split()
)
_NEGATIVE_ADJECTIVES = frozenset(
    "bad poor awful terrible horrible stupid crazy gross evil nasty fat ugly dumb mean weird sketchy creepy sure "
    "able due "
    "less such same other own many few several certain various whole entire real main right wrong least most new low "
    "civil "
    "absence lack".split()
)
TAIL_WORDS = frozenset(
    {
        "for",
        "of",
        "with",
        "near",
        "at",
        "around",
        "along",
        "between",
        "on",
        "after",
        "during",
        "in",
        "to",
        "from",
        "about",
    }
)


def head_of(words: list[str]) -> str:
    """The head noun of a noun phrase: the last word before a preposition."""
    for position, word in enumerate(words):
        if position and word.lower() in TAIL_WORDS:
            return words[position - 1]
    return words[-1]


def noun_phrases(sentence: str) -> list[tuple[str, str, str]]:
    """Noun phrases fit to be repeated in the third person, each with the text before and after it.

    People, empty words ("thing", "place"), proper names, misspelt words and first-person phrases are left out: a
    phrase that is not certain to read well is no loss, since the theme's own phrase takes its place.
    """
    tagged = tags_of(sentence)
    phrases: list[tuple[str, str, str]] = []
    position = 0
    while position < len(tagged):
        end = _core_end(tagged, position)
        if end is None:
            position += 1
            continue
        start = position
        tail = _tail_end(tagged, end)
        words = [word for word, _ in tagged[start : tail or end]]
        position = tail or end
        previous = tagged[start - 1] if start else ("", "")
        if previous[1] in {"TO", "MD", "PRP", "PRP$", "NNP", "POS", "CD"} or (previous[1] == "JJ" and start):
            continue
        if position < len(tagged) and tagged[position][1] in {"NN", "NNS", "NNP", "POS", "VBG"}:
            continue
        if previous[0].lower() == "not" and end - start == 1 and tagged[start][1] == "NN":
            continue  # "do not judge": a verb taken for a noun
        phrase = _polished(words, tagged[start:end], previous[0].lower())
        if phrase:
            before = " ".join(word for word, _ in tagged[max(0, start - 6) : start]) + " "
            phrases.append((phrase, before, " ".join(word for word, _ in tagged[position : position + 5])))
    return phrases


def _core_end(tagged: list[tuple[str, str]], start: int) -> int | None:
    """End of ``(article)? (adjective | noun)* noun`` at ``start``, or None."""
    position = start
    if tagged[position][0].lower() in {"a", "an", "the", "more", "better", "stricter", "fewer"}:
        position += 1
    first = position
    last_noun = None
    while position < len(tagged) and position - first < 4:
        word, tag = tagged[position]
        if tag in _NOUNS:
            last_noun = position
        elif tag not in _ADJECTIVES:
            break
        if not word.replace("-", "").isalpha() or not word.isascii():
            break
        position += 1
    return None if last_noun is None else last_noun + 1


def _tail_end(tagged: list[tuple[str, str]], end: int) -> int | None:
    """End of a short prepositional tail after the core ("cameras near the entrance"), or None."""
    if end + 1 >= len(tagged) or tagged[end][0].lower() not in TAIL_WORDS or tagged[end][1] not in {"IN", "TO"}:
        return None
    tail = _core_end(tagged, end + 1)
    if tail is None or tail - end > 4:
        return None
    if stem(tagged[tail - 1][0]) in EMPTY_HEADS:
        return None
    if tail < len(tagged) and tagged[tail][1] in {"NN", "NNS", "NNP", "POS", "VBG", "IN"}:
        return None
    return tail


def _polished(words: list[str], core: list[tuple[str, str]], previous: str) -> str:
    """The phrase in the form in which a proposal can use it, or "" when it cannot be sure to read well."""
    lowered = [word.lower() for word in words]
    head, head_tag = core[-1][0].lower(), core[-1][1]
    if stem(head) in EMPTY_HEADS or stem(head) in PERSON_HEADS or stem(head) in STOP_WORDS or len(head) < 3:
        return ""
    if any(stem(word) in PERSON_HEADS and word not in {"visitor", "student"} for word in lowered[len(core) :]):
        return ""
    if any(word in _NEGATIVE_ADJECTIVES for word in lowered):
        return ""
    if any(stem(word) in PERSON_HEADS for word, tag in core if tag in _NOUNS):
        return ""  # "a people speed" is a tagger's slip, "the gay bar" a way of naming people after all
    if not all(known_word(word) for word in lowered if word not in _UNCOUNTABLE):
        return ""
    article = lowered[0] if lowered[0] in {"a", "an", "the", "more", "better", "stricter", "fewer"} else ""
    content = [word for word in lowered if word not in {"a", "an", "the"} and stem(word) not in STOP_WORDS]
    if len(content) == 1 and not theme_finder().find(head):
        return ""
    if article in {"a", "an"} and len(content) == 1 and head in _UNCOUNTABLE:
        return ""  # "a trash": the half of a compound
    if lowered in (["drug"], ["the", "drug"]):
        return ""
    singular = head_tag == "NN" and not head.endswith("s")
    if singular and article in {"", "more", "better"}:
        if head not in _UNCOUNTABLE and not head.endswith(_UNCOUNTABLE_END):
            if article or previous in {
                "this",
                "that",
                "our",
                "my",
                "their",
                "your",
                "his",
                "her",
                "no",
                "any",
                "every",
                "each",
            }:
                return ""
            lowered = ["an" if lowered[0][0] in "aeiou" else "a", *lowered]
    elif head_tag == "NNS" and article in {"a", "an"}:
        return ""
    if article == "the" and len(content) == 1 and len(words) == 2 and singular and not theme_finder().find(head):
        return ""
    return " ".join(lowered)
