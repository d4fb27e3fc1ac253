"""The exported page as HTML and Markdown: what is on it, in which order, and that nobody's words become markup."""

from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from support.sessions import EVERYTHING, TEXTS, a_session, an_audit, sessions

from mediator.report import Parts, as_html, as_json, as_markdown, from_json
from mediator.report_content import LANGUAGES, _words
from mediator.report_markdown import escaped
from mediator.session import Form, Session

HOSTILE = (
    '<script>hurt=1</script><img src="https://example.org/x" onerror=hurt=2> [link](https://example.org) ![i](x)\n'
    "# heading\n    code\n- item\n1. one\n> quote\n***\n"
    "```\nfence\n| a | b |\n| - | - |\n&lt; &amp; `x` *b* _i_ ~~s~~\n"
    "===\n<https://example.org> www.example.org somebody@example.org\n\n[x]: https://example.org 'y' \\"
)
WORDS = st.text(alphabet=st.sampled_from(list("ab c\n\t\\`*_{}[]()<>#+-.!|~&$^=:/'\"19")), max_size=40) | st.text(
    max_size=20
)
PAGES = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Page(HTMLParser):
    """The elements, attributes and text of a page; fails on tags that do not match."""

    VOID = frozenset(("meta", "rect", "circle", "br"))

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "style" not in self._open:
            self.text += data


def hostile(session: Session) -> Session:
    """Put hostile text wherever a person or a model can put text."""
    content = session.model_dump(round_trip=True)

    def spoil(value, field=""):
        if isinstance(value, dict):
            return {name: spoil(entry, name) for name, entry in value.items()}
        if isinstance(value, list | tuple):
            return [spoil(entry, field) for entry in value]
        free = ("text", "place", "reason", "suggestion", "summary", "comment", "problem", "note")
        if field in free and value:
            return f"{value} {HOSTILE}"
        if field in ("label", "title") and value:
            return '<b onclick="x">"& # *'
        return value

    return Session.model_validate(spoil(content))


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_says_everything_in_order(language):
    text = Page(as_html(a_session(), language, parts=EVERYTHING)).text
    markdown = as_markdown(a_session(), language, parts=EVERYTHING)
    say = _words(language)
    edited = TEXTS[0].replace("ten", "eleven")
    order = [
        "The shared kitchen in Carver House", say["draft_note"], "2026", "Anna Berger", "bakery", "The evening cooks",
        "trust people", say["summary"], "Nine people", TEXTS[1], edited, "If it is kept up.", "Ms Caretaker", "Simple.",
        say["meaning_is"], say["meaning_is_not"], "No fines. Ask Anna first.", say["others"], TEXTS[2], TEXTS[0],
        "We like long evenings.", "models.example.org", say["draft_note"],
    ]  # fmt: skip
    for page in (text, "".join(token.content + " " for token in shown(markdown))):
        at = 0
        for words in order:
            assert words in page[at:], (words, page[at:][:200])
            at = page.index(words, at) + 1
        assert TEXTS[3] not in page  # dropped
        assert "Nobody cooks" not in page  # neither selected, edited nor rated
        for value in ("82", "79", "74", "71"):
            assert value in page


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_says_how_sure_the_bars_are_where_that_is_known(language):
    known = {"score_error_a": 0.1, "score_error_b": 0.12, "tilt_low": -0.2, "tilt_high": 0.3}
    plain, say = a_session(), _words(language)

    def marked(proposal):
        scores = proposal.candidate.scores.model_copy(update=known)
        return proposal.model_copy(update={"candidate": proposal.candidate.model_copy(update={"scores": scores})})

    rounds = [entry.model_copy(update={"proposals": tuple(map(marked, entry.proposals))}) for entry in plain.rounds]
    unsure = plain.model_copy(update={"rounds": tuple(rounds)})
    html, markdown = as_html(unsure, language), as_markdown(unsure, language)
    for page in (Page(html).text, "".join(token.content + " " for token in shown(markdown))):
        assert say["tilt_unclear"] in page
        assert say["meaning_unsure"] in page
    assert say["bar_unsure"].format(side="Anna Berger", value=74, error=10) in html
    assert "| 74 ± 10 / 100 | 71 ± 12 / 100 |" in markdown
    assert '<rect class="whisker" x="64%" y="6.25" width="20%" height="1.5"/>' in html
    for page in (as_html(plain, language).partition("</style>")[2], as_markdown(plain, language)):
        assert not any(words in page for words in (say["tilt_unclear"], "±", "whisker"))
    assert from_json(as_json(unsure), "a file") == unsure


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_was_not_measured_for_its_language_has_no_bars(language):
    plain, say = a_session(), _words(language)

    def foreign(proposal):
        scores = proposal.candidate.scores.unmeasured()
        return proposal.model_copy(update={"candidate": proposal.candidate.model_copy(update={"scores": scores})})

    rounds = [
        entry.model_copy(
            update={"proposals": tuple(foreign(one).model_copy(update={"edits": ()}) for one in entry.proposals)}
        )
        for entry in plain.rounds
    ]
    session = plain.model_copy(update={"rounds": tuple(rounds)})
    assert say["only_english"] in Page(as_html(session, language)).text
    assert 'class="bar"' not in as_html(session, language)
    assert "/ 100" not in as_markdown(session, language)
    assert from_json(as_json(session), "a file") == session


def test_both_sides_are_shown_alike():
    html = as_html(a_session(), parts=EVERYTHING)
    assert html.count('class="side"') == 4  # now, and as they were in round 1
    assert html.count('class="fill-a"') == html.count('class="fill-b"') == 5
    assert "About equal, close to both" in html
    assert "Closer to Anna Berger, fairly close to both" in html


ASKED_FOR = {
    "ratings": ("If it is kept up.", "Simple.", "Ms Caretaker", " of 5"),
    "history": ("Ask Anna first", TEXTS[0], "We like long evenings.", "stopped by somebody", "From round 2, no. 1"),
    "audit": ("Round 1: Whoever was placed first, as A, was served more: on average by 0.20",),
    "others": (TEXTS[2],),
}


@pytest.mark.parametrize("asked", [(), ("ratings",), ("history",), ("audit",), ("others",), tuple(ASKED_FOR)])
def test_what_may_be_confidential_is_on_the_page_only_where_it_is_asked_for(asked):
    parts = Parts(**{name: name in asked for name in ASKED_FOR})
    session = a_session()
    session = session.model_copy(update={"audits": (an_audit(session),)})
    html, markdown = as_html(session, parts=parts), as_markdown(session, parts=parts)
    for page in (Page(html).text, "".join(token.content + " " for token in shown(markdown))):
        for name, texts in ASKED_FOR.items():
            assert [words in page for words in texts] == [name in asked] * len(texts), name
        assert TEXTS[0].replace("ten", "eleven") in page
        assert "edited by the mediator" in page
        assert "models.example.org" in page
    if not asked:
        assert (html, markdown) == (as_html(session), as_markdown(session))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"verdict": "identical"}, "identical"),
        ({"verdict": "same_scores"}, "same_scores"),
        ({"scores_exchange": False}, "scores_differ"),
        ({"position_bias": -0.2}, "favours_second"),
    ],
)
def test_the_page_says_what_the_latest_audit_of_each_round_found(language, changes, key):
    session = a_session()
    audits = (an_audit(session), an_audit(session, round_id=None, verdict="identical"), an_audit(session, **changes))
    say = _words(language)
    html = Page(as_html(session.model_copy(update={"audits": audits}), language, parts=Parts(audit=True))).text
    number = "0,20" if language == "de" else "0.20"
    found = f"{say['round'].format(number=1)}: {say[f'audit_{key}'].format(number=number)}"
    assert say["audit_note"] + say["audit_identical"] + found in html


def test_a_proposal_that_was_rated_only_does_not_betray_that_it_was():
    content = a_session().model_dump(round_trip=True)
    rated = {"rater": "a", "value": 1, "note": "", "made_at": a_session().created_at}
    content["rounds"][0]["proposals"][2]["ratings"] = [rated]
    session = Session.model_validate(content)
    assert "Nobody cooks" in as_html(session, parts=EVERYTHING)
    assert "Nobody cooks" not in as_html(session, parts=Parts(others=True))


def test_where_none_was_kept_the_others_are_there_unless_they_are_left_out():
    session = a_session(keep=False)
    assert as_html(session) == as_html(session, parts=Parts(others=True))
    html = as_html(session, parts=Parts(others=False))
    assert "No proposal was kept so far." in html
    assert not any(text[:40] in html for text in (*TEXTS, TEXTS[0].replace("ten", "eleven")))


def test_earlier_views_are_shown_once_for_all_the_rounds_they_were_those_of():
    session = a_session()
    first, last = session.rounds
    other = last.dispute.model_copy(update={"view_b": last.dispute.view_b.model_copy(update={"text": "No rota."})})
    disputes = [first.dispute, first.dispute, first.dispute, other, first.dispute, other, last.dispute]

    def rounds(numbers):
        return tuple(
            first.model_copy(update={"id": f"{number:032x}", "number": number, "dispute": disputes[number - 1]})
            for number in numbers
        )

    def headings(numbers):
        html = as_html(session.model_copy(update={"rounds": rounds(numbers)}), parts=EVERYTHING)
        return [part.partition("</h3>")[0] for part in html.split("<h3>") if part.startswith("The views as they were")]

    start = "The views as they were in "
    assert headings([1, 2, 3, 4, 7]) == [f"{start}rounds 1 to 3", f"{start}round 4"]
    assert headings(range(1, 8)) == [f"{start}rounds 1, 2, 3 and 5", f"{start}rounds 4 and 6"]
    assert headings([7]) == []
    for page in (Page(as_html(session)).text, as_markdown(session)):  # without the views, it names no round of theirs
        assert "measured against the views as they were when it was first written" in page
        assert "views as they were in round" not in page


def test_without_a_kept_one_the_selected_ones_of_the_last_round_are_shown_first():
    session = a_session(keep=False)
    html = as_html(session)
    assert "None was kept so far: these are the ones selected in round 2." in html
    others = html.index('class="others"')
    assert html.index(TEXTS[0].replace("ten", "eleven")) < html.index(TEXTS[2]) < others < html.index(TEXTS[1])
    dropped = session.model_dump(round_trip=True)
    for proposal in dropped["rounds"][1]["proposals"]:
        proposal["mark"] = "dropped"
    html = as_html(Session.model_validate(dropped))
    assert "selected in round 1" in html
    assert TEXTS[2] not in html


def test_a_session_without_anything_is_a_page_too():
    session = Session(id="0" * 32, form=Form(), created_at=a_session().created_at, updated_at=a_session().updated_at)
    for page in (Page(as_html(session)).text, as_markdown(session)):
        assert "Untitled dispute" in page
        assert "No proposal was written so far." in page
        assert page.count("Nothing was written here.") == 2


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("drafter", "Evenhand’s drafter, which searches hand-written measures and is no language model, on this "
         "computer. Nothing was sent anywhere."),
        ("claude:claude-x", "the language model Claude (claude-x). Both views, the summary, the comments and earlier "
         "proposals were sent to api.anthropic.com."),
        ("gguf:/home/anna/secret/little.gguf", "the language model little.gguf, on this computer."),
        ("gguf:C:\\Users\\anna\\little.gguf", "the language model little.gguf, on this computer."),
        ("openai:m@http://127.0.0.1:8080/v1", "the language model m, on this computer."),
        ("something else", "a writer that is not known here (something else). Where the text went is not known."),
    ],
)  # fmt: skip
def test_who_wrote_and_where_the_text_went(model, said, monkeypatch):
    monkeypatch.delenv("ANTHROPIC_BASE_URL", raising=False)
    session = a_session()
    rounds = tuple(entry.model_copy(update={"model": model}) for entry in session.rounds)
    text = Page(as_html(session.model_copy(update={"rounds": rounds}))).text
    assert f"Rounds 1, 2: {said}" in text
    assert "secret" not in text
    assert "Users" not in text


def test_the_html_page_needs_nothing_and_runs_nothing():
    html = as_html(hostile(a_session()), parts=EVERYTHING)
    page = Page(html)
    allowed = {
        "html", "head", "meta", "title", "style", "body", "svg", "defs", "pattern", "rect", "circle", "table", "tbody",
        "tfoot", "tr", "td", "main", "header", "section", "article", "div", "h1", "h2", "h3", "h4", "p", "span", "bdi",
        "strong", "ul", "ol", "li", "dl", "dt", "dd",
    }  # fmt: skip
    assert set(page.tags) <= allowed
    for name, value in page.attributes:
        assert name not in ("src", "href", "action", "data", "poster", "srcset", "xlink:href", "style")
        assert not name.startswith("on"), (name, value)
        assert "http" not in (value or "") or name == "http-equiv" or value == "no-referrer", (name, value)
    style = html.partition("<style>")[2].partition("</style>")[0]
    assert "http" not in style
    assert "@import" not in style
    assert "url(" not in style
    assert {value for name, value in page.attributes if value and "url(" in value} == {"url(#bar-a)", "url(#bar-b)"}
    for line in HOSTILE.splitlines():
        assert line.strip() in page.text  # and all of it is there to be read


def shown(markdown):
    """The text of a Markdown page, as a reader's program shows it."""
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    for token in parser.parse(markdown):
        yield from (token, *(token.children or ()))


def test_nobodys_words_become_markup_in_markdown():
    tokens = list(shown(as_markdown(hostile(a_session()), parts=EVERYTHING)))
    plain = list(shown(as_markdown(a_session(), parts=EVERYTHING)))
    for kind in ("heading_open", "table_open", "hr", "bullet_list_open", "list_item_open", "strong_open", "em_open"):
        assert [token.type for token in tokens].count(kind) == [token.type for token in plain].count(kind), kind
    kinds = {token.type for token in tokens}
    assert not kinds & {
        "html_block",
        "html_inline",
        "link_open",
        "image",
        "code_block",
        "fence",
        "code_inline",
        "s_open",
    }
    assert not kinds & {"ordered_list_open", "reference"}
    text = "\n".join(token.content for token in tokens if token.type == "text")
    for part in (
        "<script>hurt=1</script>",
        "[link](https://example.org)",
        "# heading",
        "1. one",
        "> quote",
        "www.example",
    ):
        assert part in text


@given(WORDS)
@settings(max_examples=400, deadline=None)
def test_escaped_text_is_shown_as_it_is(text):
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(f"> {escaped(text)}\n")
    flat = [child for token in tokens for child in (token, *(token.children or ()))]
    assert {token.type for token in flat} <= {
        "blockquote_open", "blockquote_close", "paragraph_open", "paragraph_close", "inline", "text", "text_special",
    }  # fmt: skip
    read = "".join(token.content for token in flat if token.type == "text")
    assert read == " ".join("".join(" " if mark < " " or mark == "\x7f" else mark for mark in text).split())


@given(sessions(WORDS))
@PAGES
def test_any_session_makes_a_page_in_each_language(session):
    for language in (*LANGUAGES, "fr"):
        Page(as_html(session, language, parts=EVERYTHING))
        list(shown(as_markdown(session, language, parts=EVERYTHING)))


def test_both_languages_have_the_same_words():
    assert _words("en").keys() == _words("de").keys()
    for key, text in _words("en").items():
        if isinstance(text, str):
            fields = [part.partition("}")[0] for part in text.split("{")[1:]]
            assert sorted(fields) == sorted(part.partition("}")[0] for part in _words("de")[key].split("{")[1:]), key
