"""Tests of mediator/language.py: nothing English is taken for another language, and ten other languages are known."""

import json
import re
from pathlib import Path

import pytest

from mediator.disputes import example_names, read_dispute
from mediator.drafting.measures import library
from mediator.drafting.tagging import known_english
from mediator.empathy import EmpathyModel, reference_proposals
from mediator.language import is_english
from mediator.schema import Dispute, View

DATA = Path(__file__).parents[3] / "shared" / "data"

SENTENCES = {
    "German": (
        "Ich möchte nachts bei offenem Fenster schlafen können.",
        "Die Kinder brauchen einen Platz zum Spielen.",
        "Niemand räumt nach dem Fest im Hof auf.",
        "Wir zahlen dieselbe Miete wie alle anderen.",
    ),
    "French": (
        "Je voudrais pouvoir dormir la fenêtre ouverte.",
        "Les enfants ont besoin d'un endroit pour jouer.",
        "Personne ne range après la fête dans la cour.",
        "Nous payons le même loyer que les autres.",
    ),
    "Spanish": (
        "Me gustaría dormir con la ventana abierta.",
        "Los niños necesitan un lugar para jugar.",
        "Nadie recoge después de la fiesta en el patio.",
        "Pagamos el mismo alquiler que los demás.",
    ),
    "Italian": (
        "Vorrei poter dormire con la finestra aperta.",
        "I bambini hanno bisogno di un posto per giocare.",
        "Nessuno mette in ordine dopo la festa in cortile.",
        "Paghiamo lo stesso affitto di tutti gli altri.",
    ),
    "Portuguese": (
        "Gostaria de poder dormir com a janela aberta.",
        "As crianças precisam de um lugar para brincar.",
        "Ninguém arruma o pátio depois da festa.",
        "Pagamos a mesma renda que os outros.",
    ),
    "Dutch": (
        "Ik wil 's nachts met het raam open kunnen slapen.",
        "De kinderen hebben een plek nodig om te spelen.",
        "Niemand ruimt op na het feest op de binnenplaats.",
        "Wij betalen dezelfde huur als alle anderen.",
    ),
    "Swedish": (
        "Jag vill kunna sova med öppet fönster på natten.",
        "Barnen behöver en plats att leka på.",
        "Ingen städar gården efter festen.",
        "Vi betalar samma hyra som alla andra.",
    ),
    "Polish": (
        "Chciałabym spać w nocy przy otwartym oknie.",
        "Dzieci potrzebują miejsca do zabawy.",
        "Nikt nie sprząta podwórka po imprezie.",
        "Płacimy taki sam czynsz jak wszyscy inni.",
    ),
    "Turkish": (
        "Geceleri pencere açık uyuyabilmek istiyorum.",
        "Çocukların oyun oynayacak bir yere ihtiyacı var.",
        "Eğlenceden sonra avluyu kimse toplamıyor.",
        "Biz de herkesle aynı kirayı ödüyoruz.",
    ),
    "Arabic": (
        "أريد أن أنام ليلا والنافذة مفتوحة.",
        "يحتاج الأطفال إلى مكان للعب.",
        "لا أحد ينظف الفناء بعد الحفلة.",
        "ندفع نفس الإيجار مثل الجميع.",
    ),
}


@pytest.mark.parametrize("language", SENTENCES)
def test_sentences_of_other_languages_are_known(language: str) -> None:
    missed = [text for text in SENTENCES[language] if is_english(text)]
    assert not missed
    assert not is_english(" ".join(SENTENCES[language]))


def test_nothing_that_ships_is_taken_for_another_language() -> None:
    disputes = [read_dispute(name) for name in example_names()]
    views = [view.as_text() for dispute in disputes for view in (dispute.view_a, dispute.view_b)]
    texts = [*views, *reference_proposals(), *(measure.neutral_text for measure in library())]
    assert [text for text in texts if not is_english(text)] == []


@pytest.mark.skipif(not DATA.is_dir(), reason="the data are not here")
def test_no_real_view_is_taken_for_another_language() -> None:
    lines = (DATA / "efp" / "pairs.jsonl").read_text(encoding="utf-8").splitlines()
    views = {View(**json.loads(line)[side]).as_text() for line in lines for side in ("view_a", "view_b")}
    assert len(views) > 1000
    assert [text for text in views if not is_english(text)] == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "...",
        "7 pm",
        "Farnsworth",
        "Velmont Riverpark",
        "A librar",
        "i dont like it",
        "NO DOGS",
        "The café closes",
        "Tai chi",
        "halal kebab shop",
        "smokin in da hallway",
        "https://www.exemple.example.org/bruit/voisins?page=deux",
    ],
)
def test_what_tells_nothing_counts_as_english(text: str) -> None:
    assert is_english(text)


@pytest.mark.parametrize(
    "text",
    [
        "Lower your noise.",
        "Stop your noise, keep your promise.",
        "Happy hour noise",
        "Move your tour hours",
        "Otherwise exercise likewise",
        "Precise premises raise enterprise",
        "Noise: tyres, lorries",
        "Cheque offence, premises licence, defence litres, jewellery",
        "Karaoke noise until 3",
        "Neighbours organise colourful travelling",
        "Fulfil, enrol, cancelled labels",
    ],
)
def test_words_with_british_spellings_and_those_that_only_look_so_are_english(text: str) -> None:
    assert [word for word in re.findall("[a-z]+", text.lower()) if len(word) > 1 and not known_english(word)] == []
    assert is_english(text)


@pytest.fixture(scope="module")
def scorer() -> EmpathyModel:
    return EmpathyModel.load()


SLEEP, GRILL = View(text="I want to sleep at night."), View(text="We want to grill at weekends.")
RUHE = View(text="Ich will nachts schlafen und keinen Rauch in der Wohnung.")


@pytest.mark.parametrize(
    ("view_a", "view_b", "text", "measured"),
    [
        (SLEEP, GRILL, "Grills go out at nine.", True),
        (SLEEP, GRILL, "Um neun Uhr werden alle Grills gelöscht.", False),
        (RUHE, GRILL, "Grills go out at nine.", False),
        (SLEEP, RUHE, "Grills go out at nine.", False),
    ],
)
def test_scores_of_another_language_say_that_they_say_nothing(
    scorer: EmpathyModel, view_a: View, view_b: View, text: str, measured: bool
) -> None:
    dispute = Dispute(view_a=view_a, view_b=view_b)
    (found,) = scorer.score(dispute, [text])
    assert found.measured is measured
    assert (found.tilt_low, found.tilt_high) == (-1.0, 1.0) or measured
    assert scorer.score(dispute.swapped(), [text]) == [found.swapped()]
    assert found.swapped().measured is measured
