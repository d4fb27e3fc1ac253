"""What a checkpoint's tokenizer files say: its tokens, the special ones, and what is put around a text."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeGuard

from mediator.errors import ModelFileError
from trainer.export.base import Checkpoint
from trainer.export.token_table import CONTROL, STOPPING, USER_DEFINED, UnsupportedTokenizer

SENTENCEPIECE = "tokenizer.model"
_ROLES = ("bos", "eos", "unk", "pad")
_DAMAGED = "Fetch the tokenizer again, or save it again with save_pretrained()."


@dataclass(frozen=True)
class AddedToken:
    """A token that is found in a text before the text is split.

    Attributes:
        content: its text.
        special: whether it is a mark (the start of a text, the end of a turn) and no text.
        strips: whether it takes neighbouring spaces with it, or counts only as a word of its own.
        normalized: whether it is looked for in the normalised text.
    """

    content: str
    special: bool
    strips: bool = False
    normalized: bool = False

    @property
    def type(self) -> int:
        """llama.cpp's type: control tokens are read only where the caller asks for it, user-defined ones anywhere.

        Whatever looks like a mark is treated as one, so that a text which holds it stays a text.
        """
        looks = self.content.startswith(("<|", "<｜")) and self.content.endswith(("|>", "｜>"))
        return CONTROL if self.special or looks else USER_DEFINED


class TokenizerFiles:
    """The tokenizer files of a checkpoint, read with the rules of transformers 5.

    Attributes:
        checkpoint: whose they are.
        description: the content of ``tokenizer.json``, or None where there is only ``tokenizer.model``.
        where: the file that errors name.

    Raises:
        ModelFileError: neither file is there, or one is damaged.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.description: dict[str, Any] | None = None
        self.where: Path = checkpoint.path(SENTENCEPIECE)
        if checkpoint.has("tokenizer.json") or not checkpoint.has(SENTENCEPIECE):
            self.description = checkpoint.tokenizer
            self.where = checkpoint.path("tokenizer.json")
        self.config = self._optional("tokenizer_config.json")

    @property
    def size(self) -> int:
        """Rows of the embedding table."""
        return self.checkpoint.number("vocab_size")

    def section(self, name: str) -> dict[str, Any]:
        """A part of ``tokenizer.json``, empty where it is null."""
        part = (self.description or {}).get(name) or {}
        if not isinstance(part, dict):
            raise self.damaged(f"`{name}` is no object")
        return part

    def pair_of(self, merge: Any) -> tuple[str, str]:
        """The two tokens of a merge, written as a list or in one text; raises `ModelFileError` if it is none."""
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(part, str) and part for part in parts):
            raise self.damaged(f"the merge {merge!r} is no pair of tokens")
        left, right = parts
        if left not in self.vocabulary or right not in self.vocabulary or left + right not in self.vocabulary:
            raise self.damaged(f"the merge {merge!r} is of tokens that are not there")
        return left, right

    def damaged(self, why: str) -> ModelFileError:
        """The error for a file that is not what it should be."""
        return ModelFileError(f"{self.where} is damaged: {why}.", _DAMAGED)

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """Text -> id of the model proper, without what was added later."""
        found = self.section("model").get("vocab")
        if not isinstance(found, dict) or not found or not all(_is_id(token_id) for token_id in found.values()):
            raise self.damaged("`model.vocab` is no table of tokens")
        if len(set(found.values())) < len(found):
            raise self.damaged("two tokens have the same id")
        return found

    @cached_property
    def added(self) -> dict[int, AddedToken]:
        """The added tokens, by id."""
        tokens: dict[int, AddedToken] = {}
        for token_id, entry in self._added_entries():
            if not isinstance(entry, dict) or not _is_id(token_id) or not isinstance(entry.get("content"), str):
                raise self.damaged("an added token has no text or no id")
            strips = any(entry.get(flag) for flag in ("lstrip", "rstrip", "single_word"))
            token = AddedToken(entry["content"], bool(entry.get("special")), strips, bool(entry.get("normalized")))
            tokens.setdefault(token_id, token)
            if "id" in entry:
                self._check_place(token_id, token, tokens)
        known = {token.content for token in tokens.values()}
        vocabulary = self.vocabulary if self.description is not None else {}
        for text in self._named.values():
            # transformers adds the tokens that the configuration names, under the ids that they have.
            if text not in known and text in vocabulary:
                tokens[vocabulary[text]] = AddedToken(text, special=True)
        for token in tokens.values():
            if token.strips:
                raise UnsupportedTokenizer(
                    f"{self.where}: the token {token.content!r} takes the spaces beside it with it, or counts only as "
                    "a word of its own; llama.cpp reads no token that way.",
                    "Use a tokenizer without lstrip, rstrip and single_word.",
                )
        return tokens

    def _check_place(self, token_id: int, token: AddedToken, tokens: dict[int, AddedToken]) -> None:
        """Raise unless `tokenizers`, which counts added tokens instead of reading their ids, gives this one its id."""
        place = self.vocabulary.get(token.content)
        if place is None:
            others = [other for other in tokens if other != token_id]
            place = max([len(self.vocabulary) - 1, *others]) + 1
        if place != token_id:
            raise self.damaged(f"the added token {token.content!r} has the id {token_id}, and is read as {place}")

    def _added_entries(self) -> Iterator[tuple[Any, Any]]:
        entries = (self.description or {}).get("added_tokens") or []
        if not isinstance(entries, list):
            raise self.damaged("`added_tokens` is no list")
        for entry in entries:
            yield (entry.get("id") if isinstance(entry, dict) else None), entry
        decoder = self.config.get("added_tokens_decoder") or {}
        for token_id, entry in decoder.items() if isinstance(decoder, dict) else ():
            yield (int(token_id) if str(token_id).isdecimal() else None), entry
        if self.description is None:
            for text, token_id in self._optional("added_tokens.json").items():
                yield token_id, {"content": text}

    @cached_property
    def ids(self) -> dict[str, int]:
        """Text -> id of all tokens that ``tokenizer.json`` knows."""
        found = dict(self.vocabulary) if self.description is not None else {}
        found.update((token.content, token_id) for token_id, token in self.added.items())
        return found

    @cached_property
    def _named(self) -> dict[str, str]:
        """Role -> text of the special tokens."""
        names: dict[str, str] = {}
        for source in (self._optional("special_tokens_map.json"), self.config):
            for role in _ROLES:
                token = source.get(f"{role}_token")
                text = token.get("content") if isinstance(token, dict) else token
                if isinstance(text, str):
                    names[role] = text
        return names

    def special_ids(self, ids: dict[str, int], defaults: Mapping[str, int]) -> dict[str, int]:
        """``bos``, ``eos``, ``eot``, ``eom``, ``unk`` and ``pad`` -> id.

        The tokenizer's word counts before that of config.json. llama.cpp takes 11 for a ``bos`` or ``eos`` that a file
        does not name, so both are always there.

        Args:
            ids: text -> id of all tokens.
            defaults: role -> id, for roles that none of the files assigns.

        Raises:
            UnsupportedTokenizer: no token ends a text, or more of them than llama.cpp can be told.
        """
        found = {role: ids[text] for role, text in self._named.items() if text in ids}
        for role in ("bos", "pad"):
            declared = self._declared(role)
            if role not in found and declared:
                found[role] = declared[0]
        for role, token_id in defaults.items():
            if role != "eos" or not self._declared(role):
                found.setdefault(role, token_id)
        ends = [*([found["eos"]] if "eos" in found else []), *self._declared("eos")]
        if not ends:
            raise UnsupportedTokenizer(
                f"{self.checkpoint.directory} names no token that ends a text; llama.cpp would take any other for it.",
                "Give the tokenizer an eos_token, or config.json an eos_token_id.",
            )
        found["eos"] = ends[0]
        found.setdefault("bos", ends[0])
        texts = {token_id: text for text, token_id in ids.items()}
        others = [end for end in dict.fromkeys(ends[1:]) if end != ends[0] and texts.get(end) not in STOPPING]
        if len(others) > 2:
            raise UnsupportedTokenizer(
                f"{self.checkpoint.path('generation_config.json')} names {len(ends)} tokens that end a text; "
                "llama.cpp has room for three.",
                "Leave out those that the model never writes.",
            )
        found.update(zip(("eot", "eom"), others, strict=False))
        return found

    def _declared(self, role: str) -> list[int]:
        """The ids of a role by generation_config.json and config.json, those that are rows of the embedding table."""
        for source in (self._optional("generation_config.json"), self.checkpoint.config):
            value = source.get(f"{role}_token_id")
            values = value if isinstance(value, list) else [value]
            ids = [token_id for token_id in values if _is_id(token_id) and token_id < self.size]
            if ids:
                return ids
        return []

    def around(self, special: dict[str, int]) -> tuple[bool, bool]:
        """Whether a ``bos`` token is put before a text, and an ``eos`` token after it.

        transformers 5 obeys the post-processor of tokenizer.json, and ``add_bos_token`` and ``add_eos_token`` of
        tokenizer_config.json only where there is no such file.

        Args:
            special: what `special_ids` returned; another token that is put before a text becomes its ``bos``.

        Raises:
            UnsupportedTokenizer: something else is put around a text.
        """
        if self.description is None:
            return bool(self.config.get("add_bos_token")), bool(self.config.get("add_eos_token"))
        before: list[int] = []
        after: list[int] = []
        for processor in flat_steps(self.section("post_processor"), "processors"):
            kind = processor.get("type")
            if kind == "TemplateProcessing":
                parts = processor.get("single") or []
                places = [index for index, part in enumerate(parts) if "Sequence" in part]
                ids = [self._template_id(processor, part) for part in parts]
                if len(places) != 1 or before or after:
                    raise self._strange_surroundings()
                before, after = ids[: places[0]], ids[places[0] + 1 :]
            elif kind != "ByteLevel":
                raise self._strange_surroundings()
        if len(before) > 1 or after not in ([], [special["eos"]]):
            raise self._strange_surroundings()
        if before:
            special["bos"] = before[0]
        return bool(before), bool(after)

    def _template_id(self, processor: dict[str, Any], part: dict[str, Any]) -> int:
        if "Sequence" in part:
            return -1
        try:
            (token_id,) = processor["special_tokens"][part["SpecialToken"]["id"]]["ids"]
        except (KeyError, TypeError, ValueError) as error:
            raise self.damaged("the post-processor names a token that it does not have") from error
        return int(token_id)

    def _strange_surroundings(self) -> UnsupportedTokenizer:
        return UnsupportedTokenizer(
            f"{self.where}: the post-processor puts more around a text than one bos token before it and one eos token "
            "after it, which is all that llama.cpp can do.",
            "Use a tokenizer with a plain post-processor.",
        )

    def _optional(self, name: str) -> dict[str, Any]:
        return self.checkpoint.json(name) if self.checkpoint.has(name) else {}

    def check_size(self, ids: list[int]) -> None:
        """Raise `ModelFileError` unless all ids are rows of the embedding table."""
        if max(ids) >= self.size:
            raise ModelFileError(
                f"{self.where} has a token {max(ids)}, and the embedding table {self.size} rows.",
                "The tokenizer and the weights are of different models, or the embeddings were not resized.",
            )


def _is_id(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def flat_steps(step: dict[str, Any], children: str) -> list[dict[str, Any]]:
    """The steps of a ``Sequence`` of tokenizer.json, however nested; none for an absent one."""
    if not step:
        return []
    if step.get("type") != "Sequence":
        return [step]
    return [inner for child in step.get(children) or [] for inner in flat_steps(child, children)]
