"""The JSON in an answer: decoding a value, also one that the end cut off, and finding the candidates in it."""

import json
import re

from mediator.neutrality import tokens

JSON_START = re.compile(r"^(?:\[\s*(?:[\"{\[]|$)|\{\s*(?:\"|$))")
"""Matches a line that opens a JSON list or object."""


def decoded(text: str, at_end: bool) -> object:
    """Decode the JSON value at the beginning of a text; at the end also one that was cut off. None if there is none."""
    decoder = json.JSONDecoder(strict=False)
    start = text.lstrip()
    endings = ("", "]", "}", '"]', '"}', "}]", '"}]', "]}", '"]}', "}]}", '"}]}') if at_end else ("",)
    for ending in endings:
        try:
            value: object = decoder.raw_decode(start.rstrip().rstrip(",") + ending)[0]
        except (ValueError, RecursionError):
            continue
        return value
    return None


_TEXT_KEYS = (
    "text",
    "compromise",
    "response",
    "proposal",
    "content",
    "description",
    "suggestion",
    "solution",
    "answer",
)


def texts_in(value: object, depth: int = 0) -> list[str]:
    """Find the candidates in a decoded JSON value: a list of strings or objects, wherever it is."""
    if depth > 5:
        return []
    if isinstance(value, str):
        return [value] if tokens(value) else []
    if isinstance(value, list):
        return [text for each in value for text in texts_in(each, depth + 1)[:1]]
    if isinstance(value, dict):
        lists = [each for each in value.values() if isinstance(each, list) and each]
        if lists:
            return texts_in(lists[-1], depth + 1)
        strings = {str(key).casefold(): each for key, each in value.items() if isinstance(each, str)}
        for key in _TEXT_KEYS:
            if key in strings:
                return texts_in(strings[key], depth + 1)
        nested = [text for each in value.values() if isinstance(each, dict) for text in texts_in(each, depth + 1)[:1]]
        if nested:
            return nested
        numbered = [each for key, each in strings.items() if re.search(r"\d", key) and tokens(each)]
        if numbered and depth == 0:
            return numbered
        return [max(strings.values(), key=len)] if strings and depth else list(strings.values())
    return []
