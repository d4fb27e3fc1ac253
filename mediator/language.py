"""Whether a text is in English: what the scores were measured on.

The encoder, the reference proposals that every scale rests on, and the texts that say how sure a bar is are English all
of them. Texts of another language are hardly read by the encoder but recognised as foreign: all German texts lie close
to each other, and a bar of 0.95 between them means no more than that.
"""

import re
import unicodedata
from collections import OrderedDict
from hashlib import blake2b
from threading import Lock

from mediator.drafting.tagging import known_english

NO_NAME = 0.5
"""How much an unknown word with a capital counts: it may be the name of a person or a place."""

FEWEST_UNKNOWN = 3
"""How many unknown words without a capital a text has at least that is taken for another language; one with a letter
that English does not write counts twice here. One or two are no more than a trade, a dish or a slip: "rowdy boules"."""

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")

# English words that are as common, or more so, in other languages of the Latin alphabet: they speak for none.
_IN_SEVERAL = frozenset(
    """a an am are art as at bad bald band be com come con dank das de den des die do du el en es et fast fine gift had
    hat he i if im in is kind la las le les lo los man me men mi no non nos o of on or pan par pas per plus pour pro
    que se si sin so son sur to un us van war was we also""".split()
)
_SHORT_FORMS = frozenset(
    """i'm i've i'd i'll you're you've you'd you'll he's she's it's we're we've we'd we'll they're they've they'd
    they'll that's there's here's what's who's let's isn't aren't wasn't weren't don't doesn't didn't won't wouldn't
    can't couldn't shouldn't haven't hasn't hadn't mustn't needn't ain't""".split()
)
_ADDRESS = re.compile(r"\S*(?:://|www\.|@)\S*")

_MOST_REMEMBERED = 50_000
"""Texts whose language is known from an earlier reading: some 5 MB of digests, no text."""

_known: OrderedDict[bytes, bool] = OrderedDict()
_lock = Lock()


def reads_as_english(text: str) -> bool:
    """Whether a text `is_english`; the answer is remembered, under a digest. Thread-safe."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    with _lock:
        if (known := _known.get(digest)) is not None:
            _known.move_to_end(digest)
            return known
    found = is_english(text)
    with _lock:
        _known[digest] = found
        while len(_known) > _MOST_REMEMBERED:
            _known.popitem(last=False)
    return found


def is_english(text: str) -> bool:
    """Whether a text is English, as far as its words tell; True also where they tell nothing (a name, two words).

    A text is taken for another language where most of its letters are not Latin, or where at least `FEWEST_UNKNOWN` of
    its words are not English and fewer are: by the lexicon of the drafter's tagger, without the words that it marks as
    foreign and those that are common in several languages. Unknown words with a capital count half, and only beside
    those without. Addresses of pages and of letter-boxes are no words.

    On 1,252 real views from the United States, misspelt as they are, nothing is taken for another language, nor are the
    first two, three or four words of any; the view nearest to it has 85 % known words. Of 3,586 claims and sentences
    for and against them nothing is either, nor are their first words. tests/mediator/test_language.py has 40 sentences
    of ten other languages, which are all known; by their first four words alone, 11 of the 40 would not be.
    """
    letters = [character for character in text if character.isalpha()]
    if sum(not _is_latin(letter) for letter in letters) > len(letters) / 2:
        return False
    all_capitals = not any(letter.islower() for letter in letters)
    english = plain = names = marked = 0
    for found in _WORD.findall(_ADDRESS.sub(" ", text)):
        word = found.lower().replace("’", "'")
        if len(word) == 1 or word in _IN_SEVERAL:
            continue
        if word in _SHORT_FORMS or known_english(word):
            english += 1
        elif found[0].islower() or all_capitals:
            plain += 1
            marked += not word.isascii()
        else:
            names += 1
    return plain + marked < FEWEST_UNKNOWN or english >= plain + NO_NAME * names


def _is_latin(letter: str) -> bool:
    return letter < "\u0250" or unicodedata.name(letter, "").startswith("LATIN")
