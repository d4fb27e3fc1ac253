"""Whether a text is in English: what the scores were measured on.

The encoder, the reference proposals that every scale rests on, and the texts that say how sure a bar is are English all
of them. Texts of another language are hardly read by the encoder but recognised as foreign: all German texts lie close
to each other, and a bar of 0.95 between them means no more than that.
"""

import re
import unicodedata

from mediator.drafting.tagging import known_english

NO_NAME = 0.5
"""How much an unknown word with a capital counts: it may be the name of a person or a place."""

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
# What the lexicon lacks or came after it.
_NEWER = frozenset(
    """airbnb app café cctv covid download downloaded facebook google kerb landlady lgbt lgbtq offline online podcast
    programme selfie skateboard skateboarding skatepark smartphone vape vaping website wifi""".split()
)


def is_english(text: str) -> bool:
    """Whether a text is English, as far as its words tell; True also where they tell nothing (a name, one word).

    A text is taken for another language where most of its letters are not Latin, or where fewer of its words are
    English than not: by the lexicon of the drafter's tagger, without the words that it marks as foreign and those that
    are common in several languages. Unknown words with a capital count half, and only beside one without.

    On 1,252 real views from the United States, misspelt as they are, nothing is taken for another language, and the
    one nearest to it has 85 % known words; of 3,005 single sentences for and against some claim nothing is either.
    tests/mediator/test_language.py has sentences of ten other languages.
    """
    letters = [character for character in text if character.isalpha()]
    if sum(not _is_latin(letter) for letter in letters) > len(letters) / 2:
        return False
    all_capitals = not any(letter.islower() for letter in letters)
    english = foreign = 0.0
    plain = False
    for found in _WORD.findall(text):
        word = found.lower().replace("’", "'")
        if len(word) == 1 or word in _IN_SEVERAL:
            continue
        if word in _SHORT_FORMS or word.removesuffix("s") in _NEWER or known_english(word):
            english += 1.0
        elif found[0].islower() or all_capitals:
            foreign, plain = foreign + 1.0, True
        else:
            foreign += NO_NAME
    return not (plain and english < foreign and english + foreign > 1.0)


def _is_latin(letter: str) -> bool:
    return letter < "\u0250" or unicodedata.name(letter, "").startswith("LATIN")
