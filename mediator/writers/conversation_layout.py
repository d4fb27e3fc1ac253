"""How a conversation becomes one text for a model that runs here: its own chat template, or an Alpaca-like layout."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from unicodedata import normalize

from mediator.writers.base import Message, Prompt

# What a base model writes when it goes on with the conversation by itself.
ALPACA_STOPS = ("### Instruction:", "### Response:")


def alpaca_like(prompt: Prompt) -> str:
    """Lay a conversation out for a model that names no chat template, ending where the answer starts."""
    parts = [prompt.system.strip()] if prompt.system.strip() else []
    for message in prompt.messages:
        heading = "### Instruction:" if message.role == "user" else "### Response:"
        parts.append(f"{heading}\n{message.content.strip()}")
    return "\n\n".join([*parts, "### Response:\n"])


def with_template(render: Callable[[list[dict[str, str]]], str], prompt: Prompt) -> str:
    """Lay a conversation out by a chat template, through ``render(messages)``.

    Some templates (Gemma's, Mistral's early ones) refuse a system message: then its text opens the first user message.
    Whatever ``render`` raises the second time is the template's own fault and goes on to the caller.
    """
    turns = [{"role": message.role, "content": message.content} for message in prompt.messages]
    if not prompt.system.strip():
        return render(turns)
    try:
        return render([{"role": "system", "content": prompt.system}, *turns])
    except Exception:  # noqa: BLE001 - a template may raise anything: it is a program from the model's file
        first = {"role": turns[0]["role"], "content": f"{prompt.system}\n\n{turns[0]['content']}"}
        return render([first, *turns[1:]])


def as_data(prompt: Prompt, markers: Iterable[str]) -> Prompt:
    """Break every control marker (such as ``<|im_end|>``) inside the messages, so that a view cannot end its own turn.

    A space after the marker's first character keeps the text readable and stops the tokenizer from seeing the marker.
    """
    patterns = sorted((marker for marker in markers if len(marker) > 1), key=len, reverse=True)
    texts = [prompt.system, *(message.content for message in prompt.messages)]
    if not any(marker in text for marker in patterns for text in texts):
        return prompt
    search = re.compile("|".join(map(re.escape, patterns)))

    def broken(text: str) -> str:
        return search.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)

    messages = tuple(Message(message.role, broken(message.content)) for message in prompt.messages)
    return replace(prompt, system=broken(prompt.system), messages=messages)


def composed(prompt: Prompt) -> Prompt:
    """Compose decomposed letters (Unicode's NFC), as the tokenizers of Qwen do and llama.cpp does not."""
    messages = tuple(Message(each.role, normalize("NFC", each.content)) for each in prompt.messages)
    return replace(prompt, system=normalize("NFC", prompt.system), messages=messages)


def until_stop(pieces: Iterable[str], stops: tuple[str, ...]) -> Iterator[str]:
    """Pass a stream on up to the first stop text, holding back only what may turn out to be the start of one."""
    stops = tuple(stop for stop in stops if stop)
    held = ""
    for piece in pieces:
        held += piece
        found = [at for at in (held.find(stop) for stop in stops) if at >= 0]
        if found:
            if min(found):
                yield held[: min(found)]
            return
        keep = _possible_start(held, stops)
        if len(held) > keep:
            yield held[: len(held) - keep]
            held = held[len(held) - keep :]
    if held:
        yield held


def _possible_start(text: str, stops: tuple[str, ...]) -> int:
    """Length of the longest tail of ``text`` that is the beginning of a stop text."""
    longest = max((len(stop) for stop in stops), default=1) - 1
    for length in range(min(longest, len(text)), 0, -1):
        if any(stop.startswith(text[-length:]) for stop in stops):
            return length
    return 0
