"""Finding sessions: by words, folded before they are compared, or by the beginning of an id; and the list's lines."""

import sqlite3
import textwrap
import unicodedata
from collections.abc import Iterable

from mediator.schema import Dispute, View
from mediator.session import Form, SideForm
from mediator.store_schema import rows

LONGEST_SEARCH = 1_000
"""Characters of a search; the rest is not looked at."""

_LONGEST_OPENING_OF_A_SIDE = 78  # two of them and what joins them: 160 at most, see `SessionSummary.opening`


# A scan: an index of words (FTS5) would not find a part of a word, which German compounds need, and would be one more
# place to delete from. What it takes over thousands of sessions is measured in benchmarks/session_store.py.
_WITH_WORD = """
SELECT id FROM session WHERE instr(folded, ?1)
UNION SELECT session_id FROM round WHERE instr(folded, ?1)
UNION SELECT session_id FROM proposal JOIN round ON round.id = round_id WHERE instr(proposal.folded, ?1)
UNION SELECT session_id FROM edit JOIN proposal ON proposal.id = proposal_id JOIN round ON round.id = round_id
    WHERE instr(edit.folded, ?1)
"""

_SUMMARIES = """
SELECT session.id, title, opening, created_at, updated_at,
    (SELECT count(*) FROM round WHERE session_id = session.id) AS rounds,
    (SELECT count(*) FROM proposal JOIN round ON round.id = round_id WHERE session_id = session.id) AS proposals,
    (SELECT count(*) FROM proposal JOIN round ON round.id = round_id WHERE session_id = session.id AND mark = 'kept')
        AS kept
FROM session ORDER BY version DESC
"""


# Letters with a stroke, or without their dot, which Unicode does not take apart.
_PLAIN = str.maketrans({"ı": "i", "ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe"})


def summary_rows(connection: sqlite3.Connection, search: str) -> list[sqlite3.Row]:
    """Return the lines of the list, the session changed last first; with ``search``, those that have all its words."""
    found: set[str] | None = None
    for word in folded_words(search):
        of_word = {row[0] for row in rows(connection, _WITH_WORD, (word,))}
        found = of_word if found is None else found & of_word
        if not found:
            return []
    return [row for row in rows(connection, _SUMMARIES) if found is None or row["id"] in found]


def ids_beginning(connection: sqlite3.Connection, beginning: str) -> list[str]:
    """Return the ids of at most two sessions that begin so."""
    statement = "SELECT id FROM session WHERE substr(id, 1, ?) = ? LIMIT 2"
    return [str(row[0]) for row in rows(connection, statement, (len(beginning), beginning))]


def fold(text: str) -> str:
    """Return a text without case, accents and compatibility forms: "Straße", "STRASSE" and "strasse" fold to one."""
    if text.isascii():
        return text.casefold()
    apart = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(character for character in apart if not unicodedata.combining(character))
    return unicodedata.normalize("NFKC", plain.casefold()).translate(_PLAIN)


def folded_words(search: str) -> list[str]:
    """Return the different words of a search, folded, in its order. No words: everything is found."""
    return list(dict.fromkeys(fold(search[:LONGEST_SEARCH]).split()))


def folded_form(title: str, form: Form) -> str:
    """Return what of a session's own row is searched: title, both sides, summary and comment."""
    return _folded((title, *_side(form.side_a), *_side(form.side_b), form.summary, form.comment))


def folded_round(dispute: Dispute, comment: str) -> str:
    """Return what of a round's own row is searched: the views as they were then, and the comment."""
    return _folded((dispute.title, *_view(dispute.view_a), *_view(dispute.view_b), dispute.summary, comment))


def opening(form: Form) -> str:
    """Return the first words of both sides, at most 160 characters; empty if nothing was typed."""
    sides = [_shown(side) for side in (form.side_a, form.side_b)]
    starts = [_shortened(text) for text in sides if text]
    return " / ".join(starts)


def _shortened(text: str) -> str:
    most = _LONGEST_OPENING_OF_A_SIDE
    start = textwrap.shorten(text[: 4 * most], most, placeholder="…")
    if start in ("", "…"):  # one word that is longer than there is room for, or a script without spaces
        return text[: most - 1] + "…"
    if len(text) > 4 * most and not start.endswith("…"):
        start = start[: most - 1] + "…"
    return start


def _shown(side: SideForm) -> str:
    parts = (side.text,) if side.form == "text" else (side.place, side.reason, side.suggestion)
    return " ".join(" ".join(parts).split())


def _folded(texts: Iterable[str]) -> str:
    return "\n".join(fold(text) for text in texts if text)


def _side(side: SideForm) -> tuple[str, ...]:
    return (side.label, side.text, side.place, side.reason, side.suggestion)


def _view(view: View) -> tuple[str, ...]:
    return (view.label, view.text, view.place, view.reason, view.suggestion)
