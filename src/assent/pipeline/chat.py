"""``assent chat``: a conversation with a model at the terminal, or with two side by side.

A model with a chat template keeps the conversation; one without continues each line as a text of its own.  A terminal
gets a prompt and columns; a pipe gives one line a turn and gets plain text, labelled A and B where there are two.
Where verdicts are asked for, the line after each turn is the verdict, and both models go on from the better answer.
"""

from __future__ import annotations

import contextlib
import getpass
import random
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import GenerationConfig, TextStreamer

from assent.data.chat import encode_prompt
from assent.errors import ModelError, RecipeError
from assent.feedback.store import FeedbackStore
from assent.models.device import pick_device
from assent.models.load import load_policy
from assent.pipeline.verdicts import EXPECTED, Pair, Verdicts, parse, preferred
from assent.types import Message, Prompt, short_id

Write = Callable[[str], None]
LABELS = ("A", "B")


def chat(
    model: str,
    against: str | None = None,
    *,
    max_new_tokens: int = 64,
    temperature: float = 0.7,
    seed: int = 0,
    blind: bool = False,
    store: str | None = None,
    name: str | None = None,
) -> None:
    """Answer line after line until ``/quit``, the end of input or Ctrl-C.

    Temperature 0 is greedy.  ``blind``: nobody sees which model is A until the verdict is given.  ``store``: a feedback
    store that keeps the verdicts, as ``name``'s (the login name when left out).  Raises
    :class:`~assent.errors.ModelError` for a model that cannot be loaded, or whose context has no room for
    ``max_new_tokens`` and a prompt, and :class:`~assent.errors.RecipeError` for a verdict on one model alone.
    """
    if against is None and (blind or store is not None):
        raise RecipeError("chat: blind and store are for two models; give --against MODEL")
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(FeedbackStore.open(store)) if store is not None else None
        verdicts = Verdicts(opened, name or getpass.getuser()) if blind or opened else None
        sources = [model, *([against] if against else [])]
        speakers = [Speaker(source, max_new_tokens, temperature) for source in sources]
        conversation = Conversation(speakers, blind, verdicts)
        try:
            _converse(conversation, seed)
        except (EOFError, KeyboardInterrupt):
            if conversation.typed:
                print()
        finally:
            conversation.end()
            if verdicts is not None:
                print(verdicts.tally(sources), flush=True)


def _converse(conversation: Conversation, seed: int) -> None:
    if conversation.typed:
        print(_welcome(conversation))
    turn = 0
    while True:
        said = conversation.ask("> ")
        word = said.strip()
        if word == "/quit":
            return
        if word == "/reset":
            conversation.end()
            conversation.begin()
            print("the conversation starts afresh", flush=True)
        elif word == "/undo" and conversation.verdicts is not None:
            print("taken back" if conversation.verdicts.undo() else "there is no verdict to take back", flush=True)
        elif word:
            conversation.turn(said.replace("\\n", "\n"), seed + turn)
            turn += 1


class Conversation:
    """One or two speakers, who is shown as A, and the verdicts on them."""

    def __init__(self, speakers: Sequence[Speaker], blind: bool, verdicts: Verdicts | None) -> None:
        """``verdicts``: where each turn's goes; ``None``: none is asked for."""
        self.speakers, self.blind, self.verdicts = speakers, blind, verdicts
        self.typed = sys.stdin.isatty() and sys.stdout.isatty()
        self.converses = any(speaker.converses for speaker in speakers)
        self.begin()

    def begin(self) -> None:
        """Forget what was said; blind, draw anew which model is A."""
        for speaker in self.speakers:
            speaker.history.clear()
        self.order = list(range(len(self.speakers)))
        if self.blind:  # the seed would tell the order to whoever has seen it before
            random.SystemRandom().shuffle(self.order)
        self.said = False

    def end(self) -> None:
        """Say who was who, where that was hidden and something was said."""
        if self.blind and self.said:
            print(", ".join(f"{label} was {s.source}" for label, s in zip(LABELS, self._shown(), strict=True)))
            self.said = False

    def turn(self, said: str, seed: int) -> None:
        """Let each answer, in the order shown, and ask for the verdict."""
        shown, self.said = self._shown(), True
        before = [*self.speakers[0].history]  # that of both, where there are verdicts
        headings = [label if self.blind else f"{label}: {s.source}" for label, s in zip(LABELS, shown, strict=False)]
        if sys.stdout.isatty() and len(shown) > 1:
            answers = _in_columns(shown, headings, said, seed)
        else:
            answers = _one_after_the_other(shown, said, seed)
        if self.verdicts is None:
            return
        texts = dict(zip(self.order, answers, strict=True))
        first, second = self.speakers
        prompt = _prompt([*before, Message("user", said)]) if self.converses else Prompt(short_id(said), text=said)
        pair = Pair(prompt, (first.source, second.source), (texts[0], texts[1]), (self.order[0], self.order[1]))
        self._judge(pair, self.verdicts)

    def ask(self, words: str) -> str:
        """A line from the terminal or the pipe.  Raises ``EOFError`` at its end."""
        if self.typed:
            return input(words)
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.rstrip("\r\n")

    def _judge(self, pair: Pair, verdicts: Verdicts) -> None:
        began, verdict, known = time.monotonic(), None, False
        while not known:
            try:
                verdict, known = parse(self.ask("verdict: ")), True
            except ValueError as error:
                print(error, flush=True)
        if verdict is not None:
            verdicts.keep(pair, verdict, time.monotonic() - began)
        if self.converses:  # one conversation for both, or the next verdict would be on answers to different prompts
            better = pair.texts[preferred(pair, verdict)]
            for speaker in self.speakers:
                speaker.history = [*(pair.prompt.messages or ()), Message("assistant", better)]
        else:
            self.end()
            self.begin()

    def _shown(self) -> list[Speaker]:
        return [self.speakers[place] for place in self.order]


def _prompt(messages: Sequence[Message]) -> Prompt:
    return Prompt(short_id([(m.role, m.content) for m in messages]), messages=tuple(messages))


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

    def answer(self, said: str, seed: int, write: Write) -> str:
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
        return streamer.text

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


def _one_after_the_other(speakers: Sequence[Speaker], said: str, seed: int) -> list[str]:
    answers: list[str] = []
    for label, speaker in zip(LABELS, speakers, strict=False):
        if len(speakers) > 1:
            print(f"{label}: ", end="", flush=True)
        answers.append(speaker.answer(said, seed, lambda text: print(text, end="", flush=True)))
        print(flush=True)
    return answers


def _in_columns(speakers: Sequence[Speaker], headings: Sequence[str], said: str, seed: int) -> list[str]:
    from rich.live import Live

    texts = ["" for _ in speakers]
    answers: list[str] = []
    with Live(_columns(headings, texts), refresh_per_second=12) as live:
        for index, speaker in enumerate(speakers):

            def write(text: str, index: int = index) -> None:
                texts[index] += text
                live.update(_columns(headings, texts))

            answers.append(speaker.answer(said, seed, write))
    return answers


def _columns(headings: Sequence[str], texts: Sequence[str]) -> Any:
    """The answers as columns of equal width, under their headings."""
    from rich.table import Table
    from rich.text import Text

    table = Table(expand=True, show_lines=False)
    for heading in headings:
        table.add_column(Text(heading), ratio=1, overflow="fold")
    table.add_row(*[Text(text.strip()) for text in texts])
    return table


def _welcome(conversation: Conversation) -> str:
    import readline  # noqa: F401  # arrow keys and history in input()

    asked = "message" if all(speaker.converses for speaker in conversation.speakers) else "text to continue"
    lines = [f"Type a {asked}; \\n stands for a new line. /reset starts afresh, /quit or Ctrl-D leaves."]
    if conversation.verdicts is not None:
        lines.append(f"Then say which answer is better: {EXPECTED}. /undo takes the last verdict back.")
    return "\n".join(lines)
