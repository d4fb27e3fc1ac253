"""The template that a writer is trained on, and that a trained one is asked by: an instruction and the two views.

It is the same at training and when the trained model writes; a model's chat template plays no part. The paper
("Generating Compromises Between Two Points of View") puts an instruction and the two views into an Alpaca-like template
and trains on what follows ``### Response:``. The text is in assets/prompts/training.txt.
"""

from functools import cache
from string import Template

from mediator.prompts import quote
from mediator.resources import asset
from mediator.schema import Dispute, View

PROMPT_NAME = "alignment"
"""What a trained model's files call this template. Another text of it would need another name."""


def prompt_of(dispute: Dispute, demographics: bool = True) -> str:
    """Lay a dispute out by the template, up to where the response begins.

    Args:
        dispute: a dispute, or an example of a data set; its candidates and its title are left out.
        demographics: whether what is known about the authors of the views is shown.
    """
    return _template().substitute(
        view_a=_view_text(dispute.view_a, demographics), view_b=_view_text(dispute.view_b, demographics)
    )


def material(text: str) -> str:
    """Break what a tokenizer or the template would read as a mark (``</s>``, ``### Response:``), as `quote` does."""
    fenced = quote(text, "0")
    return fenced.partition("\n")[2].rpartition("\n")[0]


def _view_text(view: View, demographics: bool) -> str:
    parts = [view.as_text()]
    if demographics and view.demographics:
        parts.append("About the author: " + ", ".join(f"{key}: {value}" for key, value in view.demographics.items()))
    return "\n".join(material(" ".join(part.split())) for part in parts)


@cache
def _template() -> Template:
    return Template(asset("prompts", "training.txt").read_text(encoding="utf-8").strip() + "\n")
