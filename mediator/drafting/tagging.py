"""Part-of-speech tags for English words, by the lexicon and rules that TextBlob carries.

Only TextBlob's tagger is loaded, not its package: the package imports nltk, and with it scipy and scikit-learn where
they are installed, which takes two seconds and serves nothing here.
"""

import importlib.util
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from mediator.errors import MissingExtraError


@lru_cache(maxsize=1)
def _parser() -> Any:
    package = importlib.util.find_spec("textblob")
    if package is None or not package.submodule_search_locations:
        raise MissingExtraError("The drafter needs TextBlob's tagger.", "Install it: pip install textblob")
    folder = Path(package.submodule_search_locations[0])
    spec = importlib.util.spec_from_file_location("mediator.drafting._textblob_tagger", folder / "_text.py")
    if spec is None or spec.loader is None:
        raise MissingExtraError("TextBlob's tagger is not where it used to be.", "Install it: pip install textblob")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    english = folder / "en"
    lexicon = module.Lexicon(
        path=str(english / "en-lexicon.txt"),
        morphology=str(english / "en-morphology.txt"),
        context=str(english / "en-context.txt"),
        entities=str(english / "en-entities.txt"),
        language="en",
    )
    len(lexicon)  # read now: it would fill itself at the first look-up, in whichever threads come first
    return module.Parser(lexicon=lexicon, default=("NN", "NNP", "CD"), language="en")


# Second halves of compounds that the lexicon takes for verbs: "a trash can", "speed bumps".
_COMPOUNDS = frozenset(
    (first, second)
    for firsts, seconds in (
        ("trash garbage litter rubbish recycling waste", "can bin"),
        ("speed", "bump hump limit check"),
        ("stop crossing warning street", "sign light lamp"),
        ("bike bicycle", "rack lane path"),
        ("guard hand", "rail"),
    )
    for first in firsts.split()
    for second in seconds.split()
)


def tagged(sentence: str) -> list[tuple[str, str]]:
    """The words of a sentence with Penn Treebank tags."""
    parser = _parser()
    tokens = [text.split(" ") for text in parser.find_tokens(sentence)]
    found: list[tuple[str, str]] = []
    for words in tokens:
        pairs = parser.find_tags(words, map=lambda word, tag: (word, tag))
        found += [(str(pair[0]), str(pair[1])) for pair in pairs if pair[0]]
    return [
        (word, "NNS" if word.lower().endswith("s") else "NN")
        if position and (found[position - 1][0].lower(), word.lower().rstrip("s")) in _COMPOUNDS
        else (word, tag)
        for position, (word, tag) in enumerate(found)
    ]


def known(word: str) -> bool:
    """Whether the lexicon has the word, in lower case or with a capital: most misspelt words it has not."""
    lexicon = _parser().lexicon
    return word in lexicon or word.capitalize() in lexicon


_FOREIGN_TAGS = frozenset({"FW", "NNP", "NNPS", "SYM", "LS"})
# Endings, and what stood in their place: "lorries" is of "lorry", "smokin" of "smoking".
_ENDINGS = (
    *((ending, "") for ending in ("s", "es", "ed", "d", "ing", "ly", "er", "r", "y", "al")),
    ("ies", "y"),
    ("ied", "y"),
    ("ing", "e"),
    ("in", "ing"),
)
_AMERICAN = (
    (re.compile(r"is(?=(?:e[drs]?|ing|ations?)$)"), "iz"),
    (re.compile(r"our(?=$|s$|ed$|ing$|ful$|hood|ite)"), "or"),
    (re.compile(r"ll(?=(?:e[dr]|ers|ing)$)"), "l"),
)
# What the lexicon lacks or came after it.
_NEWER = frozenset(
    """airbnb app café cannabis cctv cheque covid defence download enrol facebook fulfil google halal hallway jewellery
    karaoke kebab kerb landlady lgbt lgbtq licence litre lorry offence offline online playgroup podcast programme
    scooter selfie skateboard skateboarding skatepark smartphone tyre vape vaping website wifi""".split()
)


@lru_cache(maxsize=20_000)
def known_english(word: str) -> bool:
    """Whether the lexicon has a word, in lower case, or its stem, as an English one: neither foreign nor a name.

    The American spelling is tried beside the word: the lexicon has "neighbour" as "neighbor", and "noise" as it is.
    """
    plain = word.removesuffix("'s").replace("'", "")
    american = plain
    for pattern, written in _AMERICAN:
        american = pattern.sub(written, american)
    english = _english_words()
    return any(form in english for spelling in {plain, american} for form in (spelling, *_stems(spelling)))


def _stems(word: str) -> Iterator[str]:
    for ending, written in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            yield word.removesuffix(ending) + written


@lru_cache(maxsize=1)
def _english_words() -> frozenset[str]:
    """Words in lower case that the lexicon has as English; of those with a capital only adjectives ("Italian")."""
    return _NEWER.union(
        word if tag != "JJ" else word.lower()
        for word, tag in dict.items(_parser().lexicon)
        if tag not in _FOREIGN_TAGS and (word.islower() or tag == "JJ")
    )
