"""A Hugging Face checkpoint as a writer: transformers on the GPU where there is one, with an optional PEFT adapter."""

import os
import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from typing import Any

from mediator.cancellation import Cancellation, Cancelled
from mediator.errors import EvenhandError, MissingExtraError, ModelFileError
from mediator.settings import user_path
from mediator.writers.aligned import alignment_of_folder
from mediator.writers.base import ModelNotFound, Prompt, PromptTooLong, Sampling, Unreachable
from mediator.writers.conversation_layout import ALPACA_STOPS, alpaca_like, as_data, until_stop, with_template
from mediator.writers.kept_prefix import KeptPrefix

_LEAST_ANSWER = 64  # tokens that must be left for an answer to be worth starting


class HuggingFaceModel:
    """A causal language model of the transformers library as a `LanguageModel`.

    It is loaded at first use: bfloat16 on CUDA, float32 on the CPU. Only safetensors weights are read and no code from
    a checkpoint is ever run.

    Attributes:
        name: ``hf:PATH_OR_ID`` and ``+ADAPTER``.
        destination: None; weights may be downloaded, but the text of the views stays on this computer.
        alignment: how to ask it, where the folder of the adapter, or else of the model, says that it was trained for
            compromises; else None. Of a model on the Hub, nothing is known.
        evaluated_tokens: prompt tokens that went through the network so far; those kept from the last prompt did not.
    """

    def __init__(
        self,
        model: str,
        adapter: str | None = None,
        context_length: int | None = None,
        threads: int | None = None,
        device: str | None = None,
    ) -> None:
        """Note what to load.

        Args:
            model: a folder, or the id of a model on the Hugging Face Hub.
            adapter: folder or id of a PEFT adapter trained on this model.
            context_length: tokens for prompt and answer together; by default what the checkpoint states.
            threads: CPU threads of torch, for the whole process; by default torch decides.
            device: ``cuda``, ``cpu``, ...; by default CUDA when there is any.

        Raises `MissingExtraError` when torch or transformers are not installed, `ModelFileError` when ``model`` looks
        like a path and is none, or its folder names a template that this version does not have.
        """
        self.name = f"hf:{model}" + (f"+{adapter}" if adapter else "")
        self.destination: str | None = None
        _require("torch", "transformers", *(["peft"] if adapter else []))
        for part in filter(None, (model, adapter)):
            _check_path(part)
        told = (alignment_of_folder(user_path(part)) for part in (adapter, model) if part and _is_folder(part))
        self.alignment = next((alignment for alignment in told if alignment is not None), None)
        self.evaluated_tokens = 0
        self._source, self._adapter = model, adapter
        self._asked_context, self._threads, self._asked_device = context_length, threads, device
        self._lock = threading.Lock()
        self._network: Any = None
        self._tokenizer: Any = None
        self._prefix = KeptPrefix()
        self._closed = False

    def stream(self, prompt: Prompt, sampling: Sampling, cancel: Cancellation) -> Iterator[str]:
        """Yield pieces of the answer, word by word.

        The same prompt, sampling and seed give the same text on the same machine. Raises `PromptTooLong`,
        `ModelFileError`, `ModelNotFound`, `Unreachable`; raises `Cancelled` also in the middle of a long prompt.
        """
        self._load(cancel)
        tokens = self._tokens(prompt)
        room = self.context_length - len(tokens)
        if room < min(_LEAST_ANSWER, sampling.max_tokens):
            raise PromptTooLong(
                f"The prompt takes {len(tokens)} tokens of the {self.context_length} that {self.name} can hold.",
                "Shorten the views, or choose a model with a longer context.",
            )
        own_layout = self._tokenizer.chat_template and not prompt.plain
        stops = sampling.stop if own_layout else (*sampling.stop, *ALPACA_STOPS)
        with closing(self._answer(tokens, min(room, sampling.max_tokens), sampling, cancel)) as answer:
            yield from until_stop(answer, stops)

    def count_tokens(self, prompt: Prompt) -> int:
        """Return the exact number of tokens of the laid-out prompt. Loads the model."""
        self._load(Cancellation())
        return len(self._tokens(prompt))

    @property
    def context_length(self) -> int:
        """Tokens that prompt and answer may take together; 0 before the model is loaded."""
        if self._network is None:
            return 0
        stated = int(getattr(self._network.config, "max_position_embeddings", 0) or 1 << 20)
        return min(self._asked_context or stated, stated)

    def close(self) -> None:
        """Free the model's memory. Safe to call twice."""
        self._closed = True
        with self._lock:
            if self._network is None:
                return
            on_gpu = self._network.device.type == "cuda"
            self._network = self._tokenizer = None
            self._prefix.clear()
            if on_gpu:
                import torch

                torch.cuda.empty_cache()

    # -- the checkpoint ---------------------------------------------------------------------------------------------

    def _load(self, cancel: Cancellation) -> None:
        """Load once; whoever comes meanwhile waits, but not beyond a cancel."""
        cancel.raise_if_cancelled()
        while not self._lock.acquire(timeout=0.05):
            cancel.raise_if_cancelled()
        try:
            if self._closed:
                raise ModelFileError(f"{self.name} was closed.", "Choose the model again.")
            if self._network is None:
                self._load_now()
        finally:
            self._lock.release()

    def _load_now(self) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging as transformers_logging

        if self._threads:
            torch.set_num_threads(self._threads)
        device = self._asked_device or ("cuda" if torch.cuda.is_available() else "cpu")
        transformers_logging.disable_progress_bar()  # it would draw into the terminal picture of the bars
        kind = torch.bfloat16 if device.startswith("cuda") else torch.float32
        with _explained(self.name, self._source):
            tokenizer = AutoTokenizer.from_pretrained(self._source, trust_remote_code=False)
            network = AutoModelForCausalLM.from_pretrained(
                self._source, dtype=kind, trust_remote_code=False, use_safetensors=True
            )
        if self._adapter:
            from peft import PeftModel

            with _explained(self.name, self._adapter):
                network = PeftModel.from_pretrained(network, self._adapter, use_safetensors=True)
                # Folded into the weights, an adapter costs nothing per token.
                network = network.merge_and_unload()
        with _explained(self.name, self._source):
            self._network = network.to(device).eval()
        self._tokenizer = tokenizer

    def _tokens(self, prompt: Prompt) -> list[int]:
        tokenizer = self._tokenizer
        prompt = as_data(prompt, [str(token) for token in tokenizer.all_special_tokens] + _added_markers(tokenizer))
        if prompt.plain:
            return self._plain_tokens(prompt.messages[0].content)
        if not tokenizer.chat_template:
            return list(tokenizer(alpaca_like(prompt))["input_ids"])
        try:
            text = with_template(
                lambda turns: str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)),
                prompt,
            )
        except Exception as error:
            raise ModelFileError(
                f"The chat template of {self._source} failed: {error}.", "Choose another version of this model."
            ) from error
        # The template has written the special tokens already.
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    def _plain_tokens(self, text: str) -> list[int]:
        """The tokens of a text as training had them: no end, and a beginning if there was one."""
        tokens = [int(token) for token in self._tokenizer(text, add_special_tokens=False)["input_ids"]]
        begin = self._tokenizer.bos_token_id
        begins = self.alignment.starts_with_bos if self.alignment is not None else None
        return [int(begin), *tokens] if begin is not None and begins is not False else tokens

    # -- the network ------------------------------------------------------------------------------------------------

    def _answer(
        self, tokens: list[int], room: int, sampling: Sampling, cancel: Cancellation
    ) -> Generator[str, None, None]:
        import torch
        from transformers import GenerationConfig, LogitsProcessorList, TextIteratorStreamer

        network = self._network
        streamer = TextIteratorStreamer(self._tokenizer, skip_prompt=True, skip_special_tokens=True, timeout=0.05)
        stated = network.generation_config
        end = stated.eos_token_id if stated.eos_token_id is not None else self._tokenizer.eos_token_id
        settings = GenerationConfig(
            max_new_tokens=room,
            do_sample=False,  # the drawing is done by _Draw, with a random generator of its own
            eos_token_id=end,
            pad_token_id=self._tokenizer.pad_token_id or (end[0] if isinstance(end, list) else end),
            bos_token_id=stated.bos_token_id,
        )
        inputs = torch.tensor([tokens], device=network.device)
        cache = self._prefix.cache_for(tokens, network.config)
        self.evaluated_tokens += len(tokens) - cache.get_seq_length()
        given_up = threading.Event()
        failures: list[BaseException] = []

        def stop_if_asked(*_: Any) -> None:
            # A hook hears of every stream that uses the layer.
            if threading.current_thread() is worker and (cancel.cancelled or given_up.is_set() or self._closed):
                raise Cancelled

        def work() -> None:
            # Asked before every layer, so a cancel takes effect in the middle of a long prompt, too.
            hooks = [layer.register_forward_pre_hook(stop_if_asked) for layer in _layers(network)]
            try:
                with torch.inference_mode():
                    network.generate(
                        inputs,
                        attention_mask=torch.ones_like(inputs),
                        generation_config=settings,
                        past_key_values=cache,
                        logits_processor=LogitsProcessorList([_Draw(sampling)]),
                        streamer=streamer,
                    )
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that reads the stream
                failures.append(error)
            finally:
                for hook in hooks:
                    hook.remove()
                streamer.end()

        worker = threading.Thread(target=work, name="transformers", daemon=True)
        worker.start()
        try:
            while True:
                cancel.raise_if_cancelled()
                try:
                    piece = next(streamer)
                except queue.Empty:
                    continue
                except StopIteration:
                    break
                if piece:
                    yield piece
            worker.join()
            if failures:
                raise _generation_error(failures[0], self.name) from failures[0]
        finally:
            given_up.set()
            worker.join()  # one layer of one forward pass at the most
            if not self._closed:
                self._prefix.keep(tokens, cache)


class _Draw:
    """Turns greedy decoding into drawing: a logits processor that leaves only the drawn token possible.

    transformers' own sampling uses torch's global random generator, which anything else in the process may advance.
    """

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._step = 0

    def __call__(self, _tokens: Any, logits: Any) -> Any:
        """Take logits (1, vocabulary) of the next token and return them such that the largest is the drawn one."""
        import torch

        from mediator.writers.token_draw import draw

        token = draw(logits[0].float().cpu().numpy(), self._sampling, self._step)
        self._step += 1
        drawn = torch.full_like(logits, float("-inf"))
        drawn[0, token] = 0.0
        return drawn


def _require(*packages: str) -> None:
    import importlib.util

    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise MissingExtraError(
            f"Hugging Face models need {' and '.join(missing)}, which this install does not have.",
            "pip install 'evenhand[hf]'",
        )


def _check_path(source: str) -> None:
    """Raise `ModelFileError` for a path that is not there; a name such as ``owner/model`` may be on the Hub."""
    if _is_folder(source):
        return
    if os.path.isfile(user_path(source)):
        raise ModelFileError(
            f"{source} is a file; a checkpoint is a folder.", "Name the folder, or use `gguf:` for a GGUF file."
        )
    if source.startswith((".", "/", "~")) or source.count("/") > 1 or "\\" in source:
        raise ModelFileError(f"There is no folder {source}.", "Check the path after `hf:`.")


def _is_folder(source: str) -> bool:
    return os.path.isdir(user_path(source))  # unlike `Path.is_dir`, no error for a name too long to be one


@contextmanager
def _explained(name: str, source: str) -> Iterator[None]:
    """Turn what the libraries raise while loading into one sentence."""
    try:
        yield
    except EvenhandError:
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        first = str(error).strip().split("\n", 1)[0]
        if _is_folder(source):
            hint = "Choose a folder with config.json, safetensors weights and a tokenizer."
            if "trust_remote_code" in text:
                hint = "It needs code of its own, which Evenhand never runs; choose another model."
            elif "safetensors" in text:
                hint = "Only safetensors weights are read; convert the checkpoint with `save_pretrained`."
            raise ModelFileError(f"{name} cannot be loaded: {first}", hint) from error
        if "valid model identifier" in text or "RepositoryNotFound" in text or "404" in text:
            raise ModelNotFound(
                f"Neither a folder nor a model on the Hugging Face Hub is called {source}.", "Check the spelling."
            ) from error
        if isinstance(error, OSError):
            raise Unreachable(
                f"{source} is not on this computer and the Hugging Face Hub cannot be reached.",
                "Check the network, or name a folder.",
            ) from error
        raise ModelFileError(f"{name} cannot be loaded: {first}", "Choose another model.") from error


def _generation_error(error: BaseException, name: str) -> BaseException:
    if isinstance(error, Cancelled):
        return Cancelled()
    if type(error).__name__ == "NoNumbers":
        return ModelFileError(f"The weights of {name} are damaged: they give no numbers.", "Choose another model.")
    first = str(error).strip().split("\n", 1)[0]
    if "out of memory" in first.lower():
        return ModelFileError(f"{name} ran out of memory.", "Choose a smaller model or shorten the views.")
    return ModelFileError(f"{name} failed while it wrote: {first}", "Choose another model.")


def _layers(network: Any) -> list[Any]:
    """The decoder layers: the members of the longest list of modules in the network."""
    from torch.nn import ModuleList

    lists = [list(module) for module in network.modules() if isinstance(module, ModuleList)]
    return max(lists, key=len) if lists else [network]


def _added_markers(tokenizer: Any) -> list[str]:
    return [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
