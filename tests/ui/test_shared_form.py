"""ui/shared_form.py: what several windows typed into one form, put together."""

from mediator.session import Form, SideForm
from ui.shared_form import differences, merged

SHOWN = Form(side_a=SideForm(text="Quiet.", label="Readers"), side_b=SideForm(text="Play."), count=4)


def changed(form, side_b=None, **changes):
    return form.model_copy(
        update=changes | ({"side_b": form.side_b.model_copy(update=side_b)} if side_b is not None else {})
    )


def test_what_each_window_changed_is_kept():
    mine = changed(SHOWN, comment="cheap")
    stored = changed(SHOWN, side_b={"text": "Let them play."}, count=6)
    assert merged(mine, SHOWN, stored) == changed(SHOWN, side_b={"text": "Let them play."}, count=6, comment="cheap")


def test_two_fields_of_one_side_are_put_together_as_well():
    mine, stored = changed(SHOWN, side_b={"label": "Parents"}), changed(SHOWN, side_b={"text": "Let them play."})
    assert merged(mine, SHOWN, stored).side_b == SideForm(text="Let them play.", label="Parents")


def test_the_window_that_saves_last_holds_where_both_changed_the_same():
    mine, stored = changed(SHOWN, comment="cheap"), changed(SHOWN, comment="quick")
    assert merged(mine, SHOWN, stored).comment == "cheap"


def test_differences_name_the_field_and_its_side():
    other = changed(SHOWN, side_b={"text": "Let them play."}, seed=3)
    assert differences(SHOWN, other) == {("side_b", "text"), ("", "seed")}
    assert differences(SHOWN, SHOWN) == set()
