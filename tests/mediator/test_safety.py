"""The note on safety: what is noticed, and which figures of speech are not."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediator.disputes import examples
from mediator.resources import asset, read_yaml
from mediator.safety import Concern, Kind, concerns
from mediator.schema import Dispute, View

CALM = View(text="The hedge should be cut once a year.")


def kinds(text: str) -> list[str]:
    return [concern.kind for concern in concerns(Dispute(view_a=View(text=text), view_b=CALM))]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("violence", "He hit me twice last winter."),
        ("violence", "She slapped her son in front of everyone."),
        ("violence", "He pushed me down the stairs."),
        ("violence", "I was attacked by two men behind the station."),
        ("violence", "There were two stabbings near the gate."),
        ("violence", "She never stops hitting me."),
        ("violence", "He did not only shout, he hit me."),
        ("violence", "Er hat mich geschlagen."),
        ("violence", "Mein Mann schlägt mich."),
        ("violence", "Sie wurde im Treppenhaus überfallen."),
        ("threat", "He threatened to kill me if I left."),
        ("threat", "She threatens my children."),
        ("threat", "He said he’d hurt my mother."),
        ("threat", "There have been death\nthreats in my letter box."),
        ("threat", "Er hat gedroht, mich umzubringen."),
        ("threat", "Sie hat meine Kinder bedroht."),
        ("threat", "Er hat gedroht, mich umzubringen, und ich glaube es ihm."),
        ("threat", "Mein Nachbar bringt mich noch um."),
        ("threat", "Ich fürchte, er will mich umbringen."),
        ("threat", "Er wollte mir etwas antun."),
        ("violence", "Sie wollte mich erwürgen."),
        ("violence", "Sie wollte mich erwuergen."),
        ("violence", "Er hat mich gewuergt."),
        ("fear", "I'm scared of my neighbour."),
        ("fear", "I fear for my life when he is on the stairs."),
        ("fear", "Ich habe Angst vor ihm."),
        ("self_harm", "I don’t want to live any more."),
        ("self_harm", "Sometimes I want to kill myself."),
        ("self_harm", "Er hat von Selbstmord gesprochen."),
        ("self_harm", "Ich will nicht mehr leben."),
        ("self_harm", "Ich habe daran gedacht, mich umzubringen."),
        ("self_harm", "Manchmal möchte ich mich umbringen."),
        ("self_harm", "Dann bringe ich mich um."),
        ("self_harm", "Sie hat versucht, sich das Leben zu nehmen."),
        ("self_harm", "Ich wollte mir etwas antun."),
        ("abuse", "As a child I was abused by my stepfather."),
        ("abuse", "Ich wurde als Kind missbraucht."),
        ("weapons", "He came to the door with a knife."),
        ("weapons", "Er kam mit einem Messer in die Küche."),
        ("stalking", "He follows me home from work."),
        ("stalking", "He waits outside my house every evening."),
        ("stalking", "Er lauert mir vor der Tür auf."),
        ("coercion", "She took my passport and locked me in."),
        ("coercion", "He won't let me see my family."),
        ("coercion", "Er lässt mich nicht aus dem Haus."),
    ],
)
def test_what_is_noticed(kind: str, text: str) -> None:
    assert kind in kinds(text)
    assert kind in kinds(f"{'The hall is cold. ' * 20}{text.upper()} And more.")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("threat", "Er hat gedroht, mich umzubringen."),
        ("threat", "Ich fürchte, er will mich umbringen."),
        ("threat", "Ich denke Peter wird mich umbringen."),
        ("self_harm", "Ich glaube, ich will mich umbringen."),
        ("threat", "Ich habe Angst, dass mein Mann mich umbringt."),
        ("violence", "Sie wollte mich erwürgen."),
        ("violence", "Er stieß mich und hat mich gewürgt."),
        ("self_harm", "Ich habe daran gedacht, mich umzubringen."),
    ],
)
def test_who_is_meant_tells_self_harm_from_threats(kind: str, text: str) -> None:
    assert kinds(text) == [kind]


@pytest.mark.parametrize(
    "text",
    [
        "He threatens to kill himself and the kids.",
        "If you leave I will kill myself and you.",
        "I want to kill myself or my neighbour.",
        "He said he would kill himself and her.",
        "Er droht, sich und mich umzubringen.",
        "Er droht, mich und sich umzubringen.",
        "Ich bringe mich und die Kinder um.",
        "Ich bringe mich um, und dich auch.",
        "Er bringt sich und uns um.",
        "Ich denke Peter will mich umbringen.",
        "ich denke peter will mich umbringen",
    ],
)
def test_who_means_others_too_threatens_them(text: str) -> None:
    assert kinds(text) == ["threat", "self_harm"]


HARMLESS = """\
We were only killing time by the fountain.
Leave early to beat the traffic.
I like to shoot photos of the sunset there.
They shot the wedding pictures in the park. The film was shot in black and white.
We had to fight for parking every evening, and fought hard for this garden.
The noise is killing me and my back is killing me.
My boss would kill me if I came late. That cake is to die for.
It beats me why nobody asks. She beat me at chess, twice.
A dog attacked my daughter in March. My daughter was knocked over by a large dog.
He kicked us out of the meeting. They chased us off and shouted at us.
Shooting hoops is all they do. We watched the shooting stars.
There is never any violence here. I never felt threatened there.
Non-violent communication should be taught. Violent video games should be banned.
He threatened to sue, and then threatened to leave the association.
The plan threatens the bees and many other species.
They abuse the rules and the landlord's trust. Alcohol abuse is a question of health.
She attacked my proposal in the meeting. I had a heart attack last year.
Hand me the bread knife. They left knives and forks in the sink.
Use the glue gun in the workshop. Do not jump the gun.
Celery stalks lie in the sink. Follow us on Instagram.
Older members are afraid of being run into. I am afraid of heights and of dogs.
She cut herself on the broken glass, and I cut myself some slack.
He hit me with a bill for the repairs. The ball hit her head.
A cyclist was killed at the crossing by a truck.
Assisted suicide should be legal. It would be political suicide.
They locked the door of the shed. He was forced to move his car.
He waits outside my house to pick me up.
The assault course is closed. I am skilled, and the ladies were charmed.
Wir schlagen die Zeit tot. Er schlägt mir vor, nachts zu waschen. Sie tritt der Genossenschaft bei.
Die Firma droht mit Schließung. Das Haus droht einzustürzen.
Ich habe Angst um die Bäume. Ich habe Angst vor Hunden.
Gewaltfreie Kommunikation hilft. Höhere Gewalt war es nicht. Es gab nie Gewalt hier.
Ein Küchenmesser lag in der Spüle. Die Waffeln waren gut.
Ein Fotoshooting im Park. Das ist Machtmissbrauch. Todmüde kam ich heim.
Die Stimmung bringt mich um. Dieser Lärm bringt uns noch um. Das bringt mich fast um.
Wir wurden nicht bedroht. Die Kinder schlagen den Ball gegen die Wand.
""".splitlines()


@pytest.mark.parametrize("text", HARMLESS)
def test_figures_of_speech_and_denials_are_not(text: str) -> None:
    assert kinds(text) == []
    assert kinds(text.upper()) == []


def test_sides_fields_and_words() -> None:
    dispute = Dispute(
        view_a=View(place="The stairs.", reason="He hit\n me. He  hit me again.", suggestion="I am afraid of him."),
        view_b=View(text="She stalks me."),
    )
    assert concerns(dispute) == (
        Concern("a", "violence", "hit me"),
        Concern("a", "fear", "afraid of him"),
        Concern("b", "stalking", "stalks"),
    )
    assert [(found.side, found.kind) for found in concerns(dispute.swapped())] == [
        ("a", "stalking"),
        ("b", "violence"),
        ("b", "fear"),
    ]


def test_fields_are_read_apart() -> None:
    # "with a" and "knife" stand in two fields: nobody has said that he came with a knife.
    parts = View(place="The door he came to with a", reason="knife shop next to it.")
    assert concerns(Dispute(view_a=parts, view_b=CALM)) == ()


def test_of_the_examples_one_speaks_of_being_followed() -> None:
    found = {name: concerns(dispute) for name, dispute in examples().items()}
    assert {name: [each.kind for each in some] for name, some in found.items() if some} == {"night-buses": ["stalking"]}


def test_every_kind_has_words_in_both_languages() -> None:
    entries = read_yaml(asset("safety.yaml"))["concerns"]
    assert set(entries) == set(get_args(Kind))
    assert all(set(languages) == {"en", "de"} for languages in entries.values())
    for language in ("en", "de"):
        assert {"title", "advice", "speaks", *get_args(Kind)} == set(
            read_yaml(asset("strings", language, "safety.yaml"))
        )


@given(st.text(max_size=300))
def test_any_text_is_read(text: str) -> None:
    assert all(phrase for phrase in kinds(f"a{text}"))


def test_a_long_view_is_read_quickly() -> None:
    assert kinds("he was never not hit by a very " * 600 + "Nothing.") == []
