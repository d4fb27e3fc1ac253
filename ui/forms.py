"""The fields of the Mediate page as a form, and the dispute and the options that a form stands for."""

from mediator.errors import InputError
from mediator.mediation import LONGEST_COMMENT, LONGEST_VIEW, MOST_AVOIDED, MediationOptions
from mediator.schema import Dispute, View
from mediator.session import Form, Round, SideForm
from ui.strings import say

PART_NAMES = ("place", "reason", "suggestion")


def dispute_of(form: Form, language: str, title: str = "") -> Dispute:
    """Return the dispute of what is typed in the forms that are shown.

    Raises:
        InputError: a side is empty; the sentence names it.
    """
    return Dispute(
        view_a=_view("A", form.side_a, language),
        view_b=_view("B", form.side_b, language),
        title=title,
        summary=form.summary,
    )


def view_text(side: SideForm) -> str:
    """Return what is typed in the form that is shown, as running text; may be empty."""
    return side.text if side.form == "text" else " ".join(filter(None, (getattr(side, name) for name in PART_NAMES)))


def form_of(dispute: Dispute, like: Form) -> Form:
    """Return the form that shows a dispute; what is chosen besides the views is taken from another form."""
    return like.model_copy(
        update={
            "side_a": side_of(dispute.view_a),
            "side_b": side_of(dispute.view_b),
            "summary": dispute.summary,
            "comment": "",
        }
    )


def side_of(view: View) -> SideForm:
    """Return the fields that show a view."""
    return SideForm(
        label=view.label,
        form="text" if view.text else "parts",
        text=view.text,
        place=view.place,
        reason=view.reason,
        suggestion=view.suggestion,
        demographics=view.demographics,
    )


def options_of(
    form: Form,
    before: tuple[Round, ...] = (),
    like: str | None = None,
    language: str = "en",
    aside: tuple[Round, ...] = (),
) -> MediationOptions:
    """Return what to ask for in the round that follows ``before`` (oldest first).

    The comments of those rounds still hold; their selected and kept proposals go to the writer, in the wording they
    have now; those that were dropped are not to come again, the last `MOST_AVOIDED` of them, nor is what was dropped in
    the rounds ``aside``. Scores of other views than the present ones are left out: the strategy measures anew. What
    earlier rounds left that is longer than a writer takes is cut: nobody could shorten it now. ``language`` is that of
    the page.

    Raises:
        InputError: a value is out of range.
    """
    earlier, avoid, liked = [], [], []
    left = {entry.id for entry in aside}
    for entry in sorted((*before, *aside), key=lambda entry: entry.number):
        same_views = bool(before) and entry.dispute == before[-1].dispute
        for proposal in entry.proposals:
            current = proposal.current
            if proposal.id == like:
                liked.append(current.text)
            if proposal.mark == "dropped":
                avoid.append(current.text)
            elif entry.id in left:
                continue
            elif proposal.rank is not None or proposal.mark == "kept":
                earlier.append(current if same_views else current.model_copy(update={"scores": None}))
    return MediationOptions(
        strategy=form.strategy,
        count=form.count,
        rounds=form.rounds,
        seed=form.seed,
        comments=(*(entry.comment[:LONGEST_COMMENT] for entry in before), form.comment),
        earlier=tuple(earlier),
        like=tuple(liked),
        avoid=tuple(dict.fromkeys(text[:LONGEST_VIEW] for text in reversed(avoid)))[:MOST_AVOIDED][::-1],
        language=language,
    )


def _view(side: str, fields: SideForm, language: str) -> View:
    """Make the view of the form that is shown; what was typed in the other form is left alone."""
    parts = {name: getattr(fields, name) for name in PART_NAMES}
    shown = {"text": fields.text} if fields.form == "text" else parts
    if not any(value.strip() for value in shown.values()):
        other = parts if fields.form == "text" else {"text": fields.text}
        name = say(language, "mediate.form_parts" if fields.form == "text" else "mediate.form_text")
        if any(value.strip() for value in other.values()):
            raise InputError(
                say(language, "mediate.view_empty_here", side=side),
                say(language, "mediate.view_in_other_form", form=name),
            )
        raise InputError(say(language, "mediate.view_empty", side=side), say(language, "mediate.write_it", side=side))
    return View(label=fields.label, demographics=fields.demographics, **shown)
