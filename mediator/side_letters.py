"""The letters A and B as names of the sides, in what people write about them; and their exchange."""

import re

# The letter A is a common word of English: it counts as a name only where no noun can follow it.
_LETTER = re.compile(
    r"""(?<![\w'’.-])(?:
        (?P<named>(?i:sides?|views?|party|parties|persons?|people|seiten?|parteien?|partei|sicht)\s+)(?P<after>[AB])
        | (?P<b>B)
        | (?P<a>A)(?=\s*(?:$|[.,;:!?)/&]|['’]s\b|(?:
            and|or|than|but|the|an?|no|und|oder|als|der|die|das|den|ein|eine|einen|kein|keine
            |gets?|has|is|should|must|needs?|wants?|will|would|may|might|can|cannot|could|does|pays?|keeps?|takes?|gives?
            |waits?|asks?|agrees?|accepts?|offers?|goes|comes|makes|says|stops?|starts?|helps?|promises|likes?
            |bekommt|hat|ist|soll|sollte|muss|will|darf|kann|wird|zahlt|gibt|wartet|bittet|hält|möchte|braucht)\b))
    )(?!\w|['’-]\w(?<!['’]s)|\.\w)""",
    re.VERBOSE,
)


def exchanged_letters(text: str) -> str:
    """Exchange the names A and B of the sides in a text: "more for side B, less for A".

    The article stays: "A fence" names no side. Exchanging twice gives the text again, but for a side A that is followed
    by a word that could be a noun.
    """

    def other(match: re.Match[str]) -> str:
        if match["named"]:
            return f"{match['named']}{'B' if match['after'] == 'A' else 'A'}"
        return "A" if match["b"] else "B"

    return _LETTER.sub(other, text)
