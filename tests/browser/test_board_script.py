"""assets/board.js in Chromium: each button does what it says by keyboard; nothing typed, opened or focused is lost.

A small page of its own holds the real pieces and the real script; only the measuring is scripted, so that an answer can
come late, fail, or be counted.
"""

import threading
from dataclasses import dataclass, field

import pytest

from mediator.resources import asset
from mediator.schema import Candidate, Scores, Strategy
from mediator.sentences import SentenceInfluence
from mediator.session import Edit, Proposal, Rating, now
from tests.support.patience import PATIENCE, until
from ui.cards import proposal_cards, sentence_view
from ui.components import consent, describe_scores, names_of
from ui.plane import PlanePoint, plane

pytestmark = pytest.mark.browser

HOSTILE = '<img src=x onerror="window.hurt=1"><script>window.hurt=2</script>${window.hurt=3}{{value}}</p></article>'
TEXTS = {
    "one": "Share the hall. Children play until six.",
    "two": f"Build a wall. {HOSTILE}",
    "three": "Meet again in May. Then decide.",
}
NAMES = names_of("Ann", "", "en")


def scores(a, b):
    return Scores(score_a=a, score_b=b, raw_a=a, raw_b=b)


@dataclass
class Desk:
    """A page with three cards: two in round 1, one in round 2."""

    url: str = ""
    proposals: dict = field(default_factory=dict)
    acts: list = field(default_factory=list)
    scored: list = field(default_factory=list)
    asked: list = field(default_factory=list)
    late: threading.Event = field(default_factory=threading.Event)

    def reset(self):
        made = {"one": (0.8, 0.8), "two": (0.9, 0.6), "three": (0.5, 0.9)}
        self.proposals = {
            name: Proposal(
                id=name,
                candidate=Candidate(text=TEXTS[name], strategy=Strategy.COT, scores=scores(*made[name])),
                rank=1,
            )
            for name in TEXTS
        }
        self.acts, self.scored, self.asked = [], [], []
        self.late.clear()

    def cards(self, shown):
        wanted = [self.proposals[name] for name in (("one", "two") if shown == 1 else ("three",))]
        return proposal_cards(
            wanted, NAMES, "en", title_key="cards.option", session_id="s1", shown_round=shown, busy=False
        )

    def points(self):
        return plane(
            [
                PlanePoint(each.id, 2 if name == "three" else 1, name, each.current.text, each.current.scores)
                for name, each in self.proposals.items()
            ],
            NAMES,
            "en",
        )

    def score_text(self, call):
        session, _, text, language = call
        self.scored.append((session, text))
        if "LATE" in text and "SOON" not in text:
            assert self.late.wait(PATIENCE)
            return {"score_a": 0.1, "score_b": 0.1, "words": "too late"}
        if "BROKEN" in text:
            return {"error": "The model is gone."}
        measured = scores(0.95, 0.25)
        return {"score_a": 0.95, "score_b": 0.25, "words": describe_scores(measured, NAMES, language)}

    def sentences(self, call):
        _, name, language = call
        self.asked.append(name)
        text = self.proposals[name].current.text
        parts = [
            SentenceInfluence(text[:15], 0, 15, 0.2, 0.0, tilts=True),
            SentenceInfluence(text[15:], 15, 20, -0.1, 0),
        ]
        return sentence_view(parts, NAMES, language)

    def act(self, data):
        """Do what a button asks, as the app would; ``REFUSE`` in a text stands for a save that fails."""
        self.acts.append(data)
        action, name = data["action"], data.get("id")
        if action == "edit" and "REFUSE" in data["text"]:
            return
        if action in ("keep", "drop", "undecided"):
            self._change(name, mark={"keep": "kept", "drop": "dropped", "undecided": ""}[action])
        elif action == "edit":
            edit = Edit(text=data["text"], scores=scores(0.95, 0.25), made_at=now())
            self._change(name, edits=(*self.proposals[name].edits, edit))
        elif action == "rate":
            rating = Rating(rater=data["rater"], value=data["value"], note=data["note"], made_at=now())
            others = [each for each in self.proposals[name].ratings if each.rater != rating.rater]
            self._change(name, ratings=(*others, rating))

    def _change(self, name, **update):
        self.proposals[name] = self.proposals[name].model_copy(update=update)


@pytest.fixture(scope="module")
def running_desk():
    from ui.gradio_loading import load_gradio

    load_gradio()
    import gradio as gr

    desk, script = Desk(), asset("board.js").read_text(encoding="utf-8")
    desk.reset()
    server_functions = [lambda call: desk.score_text(call), lambda call: desk.sentences(call)]
    for function, name in zip(server_functions, ("score_text", "sentences"), strict=True):
        function.__name__ = name
    with gr.Blocks(analytics_enabled=False) as blocks:
        shown = gr.State(1)
        elsewhere = gr.Textbox(label="elsewhere", elem_id="elsewhere")
        cards = gr.HTML(elem_id="cards", apply_default_css=False, js_on_load=script, server_functions=server_functions)
        points = gr.HTML(elem_id="points", apply_default_css=False, js_on_load=script)
        question = gr.HTML(elem_id="question", apply_default_css=False, js_on_load=script)

        def on_act(round_number, event: gr.EventData):
            data = event._data
            desk.act(data)
            if data["action"] == "show":
                round_number = data["round"]
            elif data["action"] in ("consent", "decline"):
                return round_number, gr.skip(), gr.skip(), ""
            return round_number, desk.cards(round_number), desk.points(), gr.skip()

        def on_typed(text):
            return consent("models.example.org", "en") if text == "ask" else gr.skip()

        quick = {"queue": False, "show_progress": "hidden"}
        for component in (cards, points, question):
            component.act(on_act, inputs=[shown], outputs=[shown, cards, points, question], **quick)
        elsewhere.submit(on_typed, inputs=[elsewhere], outputs=[question], **quick)
        blocks.load(lambda: (desk.cards(1), desk.points()), outputs=[cards, points], show_progress="hidden")
    css = asset("app.css").read_text(encoding="utf-8")
    _, desk.url, _ = blocks.launch(prevent_thread_lock=True, quiet=True, css=css, run_history=False, ssr_mode=False)
    yield desk
    blocks.close(verbose=False)


@pytest.fixture
def desk(running_desk):
    running_desk.reset()
    return running_desk


@pytest.fixture
def page(browser, desk):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(desk.url)
    page.wait_for_selector("[data-card]")
    yield page
    hurt = page.evaluate("window.hurt")
    context.close()
    assert (faults, hurt) == ([], None)


def card(page, name):
    return page.locator(f"[data-card][data-id={name}]")


def press(page, focus, key="Enter"):
    """Press a button as somebody without a mouse does."""
    page.locator(f"[data-focus='{focus}']").focus()
    page.keyboard.press(key)


def focused(page):
    return page.evaluate("document.activeElement.dataset.focus ?? document.activeElement.tagName")


def settled(page, acts, desk):
    """Wait until the page was drawn anew after so many acts."""
    until(lambda: len(desk.acts) >= acts)
    page.wait_for_timeout(250)


def bars(page, name):
    return [bar.get_attribute("aria-valuenow") for bar in card(page, name).locator("[role=meter]").all()]


def test_keep_drop_and_undo_by_keyboard_leave_the_focus_in_the_card(page, desk):
    press(page, "keep-one")
    page.wait_for_selector("[data-focus='keep-one'][aria-pressed=true]")
    assert focused(page) == "keep-one"
    press(page, "keep-one", " ")
    page.wait_for_selector("[data-focus='keep-one'][aria-pressed=false]")
    press(page, "drop-one")
    page.wait_for_selector("[data-id=one][data-mark=dropped]")
    page.wait_for_function("document.activeElement.dataset.focus === 'undecided-one'")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-id=one][data-mark='']")
    page.wait_for_function("document.activeElement.dataset.focus === 'keep-one'")
    assert [(act["action"], act["id"], act["round"]) for act in desk.acts] == [
        (action, "one", 1) for action in ("keep", "undecided", "drop", "undecided")
    ]


def test_the_bars_follow_the_typing_and_a_late_answer_does_not_count(page, desk):
    assert bars(page, "one") == ["80", "80"]
    press(page, "edit-one")
    assert focused(page) == "text-one"
    field = page.locator("[data-focus='text-one']")
    assert field.input_value() == TEXTS["one"]
    assert not card(page, "one").locator(".eh-text").is_visible()
    page.keyboard.press("Control+End")
    page.keyboard.type(" LATE")
    until(lambda: len(desk.scored) == 1)
    page.keyboard.type(" SOON")
    page.wait_for_function("document.querySelector('[data-id=one] [role=meter]').ariaValueNow === '95'")
    with page.expect_response(lambda answer: "too late" in answer.text()):
        desk.late.set()
    page.wait_for_timeout(250)
    assert [text.removeprefix(TEXTS["one"]) for _, text in desk.scored] == [" LATE", " LATE SOON"]
    assert bars(page, "one") == ["95", "25"]
    assert "much closer to A (Ann), far from B" in card(page, "one").locator(".eh-words").inner_text()
    assert card(page, "one").locator("[data-side=a]").get_attribute("aria-valuetext") == "95 of 100"
    assert desk.acts == []


def test_what_cannot_be_measured_is_said_and_the_text_stays(page):
    press(page, "edit-one")
    page.keyboard.type("BROKEN ")
    page.wait_for_selector(".eh-editor-state:text('The model is gone.')")
    assert "BROKEN" in page.locator("[data-focus='text-one']").input_value()


def test_escape_puts_text_bars_and_words_back(page, desk):
    words = card(page, "one").locator(".eh-words").inner_text()
    press(page, "edit-one")
    page.keyboard.type("Nothing is left. ")
    page.wait_for_function("document.querySelector('[data-id=one] [role=meter]').ariaValueNow === '95'")
    page.keyboard.press("Escape")
    assert page.locator(".eh-editor").count() == 0
    assert bars(page, "one") == ["80", "80"]
    assert card(page, "one").locator(".eh-words").inner_text() == words
    assert card(page, "one").locator(".eh-text").inner_text() == TEXTS["one"]
    assert focused(page) == "edit-one"
    assert desk.acts == []


def test_unsaved_text_survives_when_the_page_is_drawn_anew(page, desk):
    press(page, "edit-one")
    page.keyboard.press("Control+End")
    page.keyboard.type(" And tea.")
    page.wait_for_function("document.querySelector('[data-id=one] [role=meter]').ariaValueNow === '95'")
    page.keyboard.press("Control+Home")
    page.evaluate("document.querySelector(\"[data-focus='keep-two']\").click()")  # somebody else's press, no focus
    page.wait_for_selector("[data-focus='keep-two'][aria-pressed=true]")
    page.wait_for_timeout(250)
    assert page.locator("[data-focus='text-one']").input_value().endswith(" And tea.")
    assert focused(page) == "text-one"
    assert bars(page, "one") == ["95", "25"]
    page.keyboard.type("Now: ")  # where the caret was
    assert page.locator("[data-focus='text-one']").input_value().startswith("Now: Share")
    # Another round and back.
    press(page, "point-three")
    page.wait_for_selector("[data-card][data-id=three]")
    press(page, "point-one")
    page.wait_for_selector("[data-card][data-id=one]")
    assert page.locator("[data-focus='text-one']").input_value().startswith("Now: Share")


def test_control_enter_saves_and_the_old_wording_can_be_used_again(page, desk):
    press(page, "edit-one")
    page.keyboard.press("Control+A")
    page.keyboard.type(f"A new wording. {HOSTILE}")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("[data-id=one] .eh-history")
    page.wait_for_timeout(250)
    assert page.locator(".eh-editor").count() == 0
    assert card(page, "one").locator(".eh-text").inner_text() == f"A new wording. {HOSTILE}"
    assert focused(page) == "edit-one"
    page.locator("[data-id=one] .eh-history summary").focus()
    page.keyboard.press("Enter")
    press(page, "use-0-one")
    settled(page, 2, desk)
    assert desk.acts[1]["action"] == "edit"
    assert card(page, "one").locator(".eh-text").inner_text() == TEXTS["one"]
    assert page.locator("[data-id=one] .eh-history").get_attribute("open") is not None


def test_a_save_that_fails_loses_nothing(page, desk):
    press(page, "edit-one")
    page.keyboard.type("REFUSE ")
    page.locator("[data-focus='save-one']").click()
    settled(page, 1, desk)
    assert page.locator("[data-focus='text-one']").input_value().endswith("REFUSE ")
    page.locator("[data-focus='text-one']").fill("Accepted.")
    page.locator("[data-focus='save-one']").click()
    page.wait_for_selector("[data-id=one] .eh-history")
    page.wait_for_timeout(250)
    assert page.locator(".eh-editor").count() == 0


def test_the_sentences_are_asked_for_once_per_wording_and_stay_open(page, desk):
    summary = card(page, "two").locator(".eh-tilting summary")
    summary.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-id=two] mark")
    press(page, "keep-two")
    settled(page, 1, desk)
    summary.click()
    summary.click()
    assert card(page, "two").locator("mark").count() == 1
    assert desk.asked == ["two"]
    assert card(page, "two").locator(".eh-sentences img").count() == 0
    press(page, "edit-two")
    page.keyboard.press("Control+A")
    page.keyboard.type("One sentence here. And another one.")
    page.keyboard.press("Control+Enter")
    until(lambda: desk.asked == ["two", "two"])
    page.wait_for_selector("[data-id=two] .eh-sentences:has-text('And another one.')")


def test_copying_takes_the_text_as_it_is_and_says_so(page):
    press(page, "copy-two")
    page.wait_for_selector("[data-id=two] .eh-said:text('Copied.')")
    assert page.evaluate("navigator.clipboard.readText()") == TEXTS["two"]
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); }")
    press(page, "edit-one")
    page.keyboard.press("Control+A")
    page.keyboard.type("Not saved yet.")
    press(page, "copy-one")
    page.wait_for_selector("[data-id=one] .eh-said:text('Copied.')")
    assert page.evaluate("navigator.clipboard.readText()") == "Not saved yet."


def asked_before_leaving(page):
    """Whether the browser asks before the page goes; it stays."""
    asked = []
    page.once("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    page.evaluate("() => window.location.reload()")
    page.wait_for_timeout(300)
    return asked == ["beforeunload"]


def test_a_note_without_a_number_says_what_it_waits_for_and_is_not_left_behind_unasked(page, desk):
    card(page, "one").locator(".eh-ratings summary").click()
    page.locator("[data-focus='note-b-one']").fill("Too loud")
    page.keyboard.press("Tab")
    assert "Choose a number" in page.locator("[data-card][data-id=one] [data-rater=b] .eh-rating-word").text_content()
    assert desk.acts == []
    assert asked_before_leaving(page)
    press(page, "rate-b-1-one")
    settled(page, 1, desk)
    assert not asked_before_leaving(page)


def test_a_text_that_is_being_edited_is_not_left_behind_unasked(page):
    press(page, "edit-one")
    page.keyboard.type("More. ")
    assert asked_before_leaving(page)


def test_rating_by_keyboard_and_its_note(page, desk):
    card(page, "one").locator(".eh-ratings summary").click()
    page.locator("[data-focus='note-b-one']").fill("Too loud")
    press(page, "rate-a-1-one", "ArrowRight")
    assert focused(page) == "rate-a-2-one"
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")  # round to the first
    page.keyboard.press("ArrowLeft")
    assert desk.acts == []
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-focus='rate-a-5-one'][aria-checked=true]")
    assert focused(page) == "rate-a-5-one"
    # The other side's note was not saved yet, and is still there.
    assert page.locator("[data-focus='note-b-one']").input_value() == "Too loud"
    press(page, "rate-b-1-one")
    settled(page, 2, desk)
    page.locator("[data-focus='note-b-one']").fill("Far too loud")
    page.keyboard.press("Enter")
    settled(page, 3, desk)
    assert [(act["rater"], act["value"], act["note"]) for act in desk.acts] == [
        ("a", 5, ""),
        ("b", 1, "Too loud"),
        ("b", 1, "Far too loud"),
    ]


def test_the_arrow_keys_lead_through_the_plane_and_enter_to_the_card(page, desk):
    stops = page.locator("#points svg[data-action][tabindex='0']")
    assert stops.count() == 1
    stops.focus()
    assert focused(page) == "point-one"
    page.keyboard.press("ArrowRight")
    first = focused(page)
    page.keyboard.press("ArrowRight")
    assert {first, focused(page)} == {"point-two", "point-three"}
    page.keyboard.press("Home")
    page.keyboard.press("ArrowLeft")
    assert focused(page) == "point-one"
    page.locator("[data-focus='point-two']").focus()
    tip = page.locator(".eh-tip")
    assert TEXTS["two"] in tip.inner_text()
    panel, around = tip.bounding_box(), page.locator(".eh-plane").bounding_box()
    assert around["x"] <= panel["x"]
    assert panel["x"] + panel["width"] <= around["x"] + around["width"] + 1
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.matches('[data-card][data-id=two]')")
    assert desk.acts == []  # it was on the page already
    press(page, "point-three")
    page.wait_for_function("document.activeElement.matches('[data-card][data-id=three]')")
    assert [(act["action"], act["id"], act["round"]) for act in desk.acts] == [("show", "three", 2)]


def test_pointing_shows_the_text_and_a_press_shows_the_card(page):
    page.locator("[data-focus='point-two'] .eh-shape").hover()
    assert TEXTS["two"] in page.locator(".eh-tip").inner_text()
    page.locator("h2", has_text="Gap and warmth").hover()
    page.wait_for_selector(".eh-tip", state="hidden")
    page.locator("[data-focus='point-two'] .eh-shape").click()
    page.wait_for_function("document.activeElement.matches('[data-card][data-id=two]')")


def test_the_focus_is_not_taken_from_elsewhere(page, desk):
    page.locator("#elsewhere input, #elsewhere textarea").focus()
    page.evaluate("document.querySelector(\"[data-focus='keep-two']\").click()")
    page.wait_for_selector("[data-focus='keep-two'][aria-pressed=true]")
    page.wait_for_timeout(250)
    assert page.evaluate("document.activeElement.closest('#elsewhere') !== null")


def test_a_question_takes_the_focus_and_is_answered_by_keyboard(page, desk):
    page.locator("#elsewhere input, #elsewhere textarea").fill("ask")
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.matches('.eh-consent')")
    page.keyboard.press("Tab")
    assert focused(page) == "consent"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector(".eh-consent", state="detached")
    assert desk.acts == [{"action": "decline", "value": "models.example.org"}]


def test_the_page_is_drawn_anew_while_somebody_types(page, desk):
    """Twelve times a second, as while another window writes: not a letter is lost."""
    press(page, "edit-one")
    page.keyboard.press("Control+A")
    typed = "The quick brown fox jumps over the lazy dog, twice a day and never on a Sunday."
    page.evaluate(
        "() => { window.again = setInterval(() => document.querySelector(\"[data-focus='keep-two']\")?.click(), 80); }"
    )
    page.keyboard.type(typed, delay=25)
    page.evaluate("() => clearInterval(window.again)")
    assert len(desk.acts) > 8
    assert page.locator("[data-focus='text-one']").input_value() == typed
