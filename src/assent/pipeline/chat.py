"""``assent chat``: a conversation with a model at the terminal, or with two side by side.

A model with a chat template keeps the conversation; one without continues each line as a text of its own.  A terminal
gets a prompt and columns; a pipe gives one line a turn and gets plain text, labelled A and B where there are two.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import GenerationConfig, TextStreamer

from assent.data.chat import encode_prompt
from assent.errors import ModelError
from assent.models.device import pick_device
from assent.models.load import load_policy
from assent.types import Message, Prompt

Write = Callable[[str], None]
LABELS = ("A", "B")


def chat(
    model: str, against: str | None = None, *, max_new_tokens: int = 64, temperature: float = 0.7, seed: int = 0
) -> None:
    """Answer line after line until ``/quit``, the end of input or Ctrl-C.

    Temperature 0 is greedy.  Raises :class:`~assent.errors.ModelError` for a model that cannot be loaded, or whose
    context has no room for ``max_new_tokens`` and a prompt.
    """
    sources = [model, *([against] if against else [])]
    speakers = [Speaker(source, max_new_tokens, temperature) for source in sources]
    typed, shown = sys.stdin.isatty(), sys.stdout.isatty()
    if typed and shown:
        print(_welcome(speakers))
    turn = 0
    try:
        while True:
            said = input("> ") if typed and shown else _piped_line()
            if said.strip() == "/quit":
                return
            if said.strip() == "/reset":
                for speaker in speakers:
                    speaker.history.clear()
                print("the conversation starts afresh", flush=True)
            elif said.strip():
                answer = _in_columns if shown and len(speakers) > 1 else _one_after_the_other
                answer(speakers, said.replace("\\n", "\n"), seed + turn)
                turn += 1
    except (EOFError, KeyboardInterrupt):
        if typed and shown:
            print()


class Speaker:
    """One model and, where it has a chat template, its own side of the conversation so far."""

    def __init__(self, source: str, max_new_tokens: int, temperature: float) -> None:
        self.source = source
        self.policy = load_policy(source, pick_device())
        self.converses = bool(self.policy.tokenizer.chat_template)
        self.history: list[Message] = []
        self.room = self.policy.context_length - max_new_tokens
        if self.room < 1:
            raise ModelError(
                f"{source}: its context of {self.policy.context_length} tokens has no room for a prompt and "
                f"{max_new_tokens} new tokens; lower --max-new-tokens"
            )
        # Every sampling setting is named: those that are not would come from the model's own generation_config.
        drawn = {"temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature > 0 else {}
        self.generation = GenerationConfig(
            max_new_tokens=max_new_tokens,
            do_sample=temperature > 0,
            repetition_penalty=1.0,
            num_beams=1,
            eos_token_id=list(self.policy.eos_token_ids) or None,
            pad_token_id=self.policy.tokenizer.pad_token_id,
            **drawn,
        )

    def answer(self, said: str, seed: int, write: Write) -> None:
        """Answer ``said``, and give the text to ``write`` as it comes, whole words at a time."""
        ids, cut = self._encode(said)
        if cut:
            write("(what came earlier no longer fits the context) ")
        tokens = torch.tensor([ids], device=next(self.policy.parameters()).device)
        streamer = _Streamer(self.policy.tokenizer, write)
        torch.manual_seed(seed)
        self.policy.model.generate(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            generation_config=self.generation,
            streamer=streamer,
        )
        if self.converses:
            self.history += [Message("user", said), Message("assistant", streamer.text)]

    def _encode(self, said: str) -> tuple[list[int], bool]:
        """The prompt's ids, and whether something had to be cut off on the left."""
        if self.converses:
            prompt = Prompt("chat", messages=(*self.history, Message("user", said)))
        else:
            prompt = Prompt("chat", text=said)
        whole = encode_prompt(self.policy.tokenizer, prompt)
        if len(whole) <= self.room:
            return whole, False
        return encode_prompt(self.policy.tokenizer, prompt, max_tokens=self.room, truncate="left"), True


class _Streamer(TextStreamer):
    """Gives decoded text to a function instead of standard output, and keeps all of it."""

    def __init__(self, tokenizer: Any, write: Write) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.write, self.text = write, ""

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        self.text += text
        self.write(text)


def _one_after_the_other(speakers: Sequence[Speaker], said: str, seed: int) -> None:
    for label, speaker in zip(LABELS, speakers, strict=False):
        if len(speakers) > 1:
            print(f"{label}: ", end="", flush=True)
        speaker.answer(said, seed, lambda text: print(text, end="", flush=True))
        print(flush=True)


def _in_columns(speakers: Sequence[Speaker], said: str, seed: int) -> None:
    from rich.live import Live

    texts = ["" for _ in speakers]
    with Live(_columns(speakers, texts), refresh_per_second=12) as live:
        for index, speaker in enumerate(speakers):

            def write(text: str, index: int = index) -> None:
                texts[index] += text
                live.update(_columns(speakers, texts))

            speaker.answer(said, seed, write)


def _columns(speakers: Sequence[Speaker], texts: Sequence[str]) -> Any:
    """The answers as columns of equal width, under the names of the models."""
    from rich.table import Table
    from rich.text import Text

    table = Table(expand=True, show_lines=False)
    for label, speaker in zip(LABELS, speakers, strict=False):
        table.add_column(Text(f"{label}: {speaker.source}"), ratio=1, overflow="fold")
    table.add_row(*[Text(text.strip()) for text in texts])
    return table


def _piped_line() -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\r\n")


def _welcome(speakers: Sequence[Speaker]) -> str:
    import readline  # noqa: F401  # arrow keys and history in input()

    asked = "message" if all(speaker.converses for speaker in speakers) else "text to continue"
    return f"Type a {asked}; \\n stands for a new line. /reset starts afresh, /quit or Ctrl-D leaves."
