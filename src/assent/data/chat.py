"""From prompts and answers to token ids and loss masks.  The tokenizer is a ``transformers`` one.

Prompt and answer are tokenised apart: a policy gets the prompt's ids and samples after them, so what it is trained on
has the same boundary.  BOS stands at the start at most once, EOS at the end exactly once and carries loss.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from assent.data.readers import locate_prompt
from assent.data.tokenizers import adds_bos, has_encoder_prompts
from assent.errors import DataError, ModelError
from assent.types import Demonstration, Message, Prompt

Turns = Literal["last", "all"]
Truncate = Literal["left"]

PLAIN_TEMPLATE = (
    "{%- if BOS %}{{ bos_token }}{% endif -%}"
    "{%- for message in messages -%}"
    "{{ message['role'] + ':\n' + message['content'] }}"
    "{%- if message['role'] == 'assistant' %}{{ eos_token }}{% endif -%}"
    "{{ '\n\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt %}{{ 'assistant:\n' }}{% endif -%}"
)
"""The chat template of a tokenizer that has none: ``role:``, the content on the next line, a blank line.

The answer begins on a line of its own, because a space before it would be a token of the prompt with some tokenizers
and part of the first word with others.  An assistant's turn ends with EOS, as its training does.  ``BOS`` is filled in
by :func:`ensure_chat_template`.
"""


@dataclass(frozen=True, slots=True)
class TokenRow:
    """Prompt and completion as token ids; the completion ends with EOS unless it was cut off."""

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tokens:
    """One training row: ids ``[T]`` and, for each, whether the loss counts it as a target ``[T]``."""

    ids: tuple[int, ...]
    completion_mask: tuple[bool, ...]


def ensure_chat_template(tokenizer: Any, add_bos: bool | None = None) -> bool:
    """Give a tokenizer without a chat template :data:`PLAIN_TEMPLATE`; saving the tokenizer saves it with the model.

    Returns whether it was needed.  ``add_bos`` as in :func:`encode_prompt`.
    """
    if tokenizer.chat_template:
        return False
    bos = adds_bos(tokenizer) if add_bos is None else add_bos and tokenizer.bos_token is not None
    tokenizer.chat_template = PLAIN_TEMPLATE.replace("BOS", "true" if bos else "false")
    return True


def encode_prompt(
    tokenizer: Any,
    prompt: Prompt,
    *,
    add_bos: bool | None = None,
    max_tokens: int | None = None,
    truncate: Truncate | None = None,
    source: str | Path | None = None,
) -> list[int]:
    """The ids that the policy continues.

    A text is tokenised as it stands; messages go through the chat template with its generation prompt, or, where the
    last message is the assistant's, are left open for it to be continued.  ``add_bos`` ``None``: BOS where the
    tokenizer adds it to a text by itself, and for messages what the template says; ``True``: once, in any case;
    ``False``: none added.  For an encoder the prompt has the special tokens that its tokenizer puts around a text by
    itself (T5: EOS at the end), whatever ``add_bos`` says.

    Raises :class:`DataError` for more than ``max_tokens`` ids, naming file and line where ``source`` is given; with
    ``truncate="left"`` the earliest turns (not the system's), then the earliest tokens (not BOS), are dropped instead.
    """
    with _located(prompt, source):
        ids = _prompt_ids(tokenizer, prompt, add_bos)
    if max_tokens is None or len(ids) <= max_tokens:
        return ids
    if truncate is None:
        raise too_long(prompt, len(ids), max_tokens, source)
    if prompt.messages is not None:
        messages = list(prompt.messages)
        first = 1 if messages[0].role == "system" else 0
        while len(ids) > max_tokens and len(messages) > first + 1:
            # Up to the next user turn: a conversation that begins with the assistant is refused by many templates.
            del messages[first]
            while len(messages) > first + 1 and messages[first].role != "user":
                del messages[first]
            with _located(prompt, source):
                ids = _prompt_ids(tokenizer, Prompt(prompt.id, messages=tuple(messages)), add_bos)
        if len(ids) <= max_tokens:
            return ids
    head = ids[:1] if ids[:1] == [tokenizer.bos_token_id] else []
    return head + ids[len(ids) - max(0, max_tokens - len(head)) :]


def too_long(prompt: Prompt, length: int, limit: int, source: str | Path | None = None) -> DataError:
    """The error for a prompt of ``length`` tokens where ``limit`` fit."""
    path, line = _place(prompt, source)
    begins = " ".join(prompt.shown().split())[:40]
    return DataError(
        f"prompt {prompt.id} ('{begins}…') has {length} tokens, at most {limit} fit; shorten it, raise"
        " max_prompt_tokens if the model's context allows, or set truncate_prompts: left",
        path,
        line,
    )


def _place(prompt: Prompt, source: str | Path | None) -> tuple[str | Path | None, int | None]:
    return (locate_prompt(source, prompt.id) if source is not None else None) or (source, None)


@contextmanager
def _located(prompt: Prompt, source: str | Path | None) -> Generator[None]:
    """Name the file and line of the prompt in what is refused within, where ``source`` is known."""
    try:
        yield
    except DataError as error:
        raise DataError(str(error), *_place(prompt, source)) from None


def _prompt_ids(tokenizer: Any, prompt: Prompt, add_bos: bool | None) -> list[int]:
    if has_encoder_prompts(tokenizer):
        text = prompt.text if prompt.text is not None else _render(tokenizer, prompt.messages or (), add_bos=False)
        return list(tokenizer(text, verbose=False).input_ids)
    if prompt.text is not None:
        ids = _plain_ids(tokenizer, prompt.text)
        add_bos = adds_bos(tokenizer) if add_bos is None else add_bos
    else:
        ids = _plain_ids(tokenizer, _render(tokenizer, prompt.messages or (), add_bos))
    return _with_bos(tokenizer, ids, bool(add_bos))


def _plain_ids(tokenizer: Any, text: str) -> list[int]:
    # Not verbose: lengths are checked here, with an error that says more than the tokenizer's warning.
    return list(tokenizer(text, add_special_tokens=False, verbose=False).input_ids)


def _with_bos(tokenizer: Any, ids: list[int], add: bool) -> list[int]:
    bos = tokenizer.bos_token_id
    return [bos, *ids] if add and bos is not None and ids[:1] != [bos] else ids


def _render(tokenizer: Any, messages: Sequence[Message], add_bos: bool | None, *, closed: bool = False) -> str:
    """The text of the template; unless ``closed``, ready for the assistant to go on."""
    ensure_chat_template(tokenizer, add_bos)
    resumed = not closed and bool(messages) and messages[-1].role == "assistant"
    try:
        return tokenizer.apply_chat_template(
            [{"role": message.role, "content": message.content} for message in messages],
            tokenize=False,
            add_generation_prompt=not resumed and not closed,
            continue_final_message=resumed,
        )
    except Exception as error:  # the template's own raise_exception, or jinja's
        roles = ", ".join(message.role for message in messages)
        raise DataError(f"the model's chat template refuses messages of roles {roles}: {error}") from None


def encode_completion(
    tokenizer: Any, prompt_ids: Sequence[int], response: str, *, chat: bool = False
) -> tuple[int, ...]:
    """The ids of ``response`` as a continuation of ``prompt_ids``, closed with EOS.

    ``chat``: the prompt was messages, so the turn is first closed as the template closes it (``<end_of_turn>``) where
    that is not EOS itself.  A tokenizer that puts a space before a text does so only where there is no prompt, or
    where the prompt is an encoder's.
    """
    goes_on = bool(prompt_ids) and not has_encoder_prompts(tokenizer)
    ids = continuation_ids(tokenizer, response) if goes_on else _plain_ids(tokenizer, response)
    return tuple(_closed(tokenizer, ids, chat))


def continuation_ids(tokenizer: Any, text: str) -> list[int]:
    """The ids of a text that goes on from another, without the space that SentencePiece puts before a text."""
    ids = _plain_ids(tokenizer, text)
    if not tokenizer.convert_ids_to_tokens(_plain_ids(tokenizer, "a")[:1])[0].startswith("▁"):
        return ids
    # A line feed is a token of its own there, which swallows the dummy space and never merges with what follows.
    anchor, joint = _plain_ids(tokenizer, "\n"), _plain_ids(tokenizer, "\n" + text)
    return joint[len(anchor) :] if joint[: len(anchor)] == anchor else ids


def _closed(tokenizer: Any, ids: list[int], chat: bool) -> list[int]:
    """``ids`` with their end, once: some data files carry the EOS in the text."""
    end = _closing_ids(tokenizer, chat)
    if ids[-1:] == end[-1:]:
        ids = ids[:-1]
    return [*ids, *end]


def _closing_ids(tokenizer: Any, chat: bool) -> list[int]:
    eos = tokenizer.eos_token_id
    if eos is None:
        raise ModelError("the tokenizer has no EOS token, so a model cannot learn to stop; set eos_token")
    if not chat or not tokenizer.chat_template:
        return [eos]
    mark = "assent-mark"
    asked = Message("user", "a"), Message("assistant", mark)
    after = _plain_ids(tokenizer, _render(tokenizer, asked, None, closed=True).rpartition(mark)[2])
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    end = next((at for at, token in enumerate(after) if token in special), None)
    closing = after[: end + 1] if end is not None else []
    return closing if closing[-1:] == [eos] else [*closing, eos]


def encode_row(
    tokenizer: Any,
    prompt: Prompt,
    response: str,
    *,
    add_bos: bool | None = None,
    max_length: int | None = None,
    truncate: Truncate | None = None,
    source: str | Path | None = None,
) -> TokenRow:
    """Prompt and answer as one row of at most ``max_length`` tokens.

    The answer is cut off at the right where it must be, and then has no EOS: the model is not taught to stop there.
    The prompt must leave room for one token of it; see :func:`encode_prompt` for ``truncate`` and ``source``.
    """
    room = None if max_length is None else max_length - 1
    prompt_ids = encode_prompt(tokenizer, prompt, add_bos=add_bos, max_tokens=room, truncate=truncate, source=source)
    answer = encode_completion(tokenizer, prompt_ids, response, chat=prompt.messages is not None)
    return TokenRow(tuple(prompt_ids), answer if max_length is None else answer[: max_length - len(prompt_ids)])


def encode_demonstration(
    tokenizer: Any,
    demonstration: Demonstration,
    max_length: int | None = None,
    *,
    turns: Turns = "last",
    add_bos: bool | None = None,
    truncate: Truncate | None = None,
    source: str | Path | None = None,
) -> Tokens:
    """A demonstration as one training row: the prompt masked, the answer and its EOS trained.

    ``turns="all"`` also trains the assistant's earlier turns of a conversation, each with the tokens that close it;
    that needs a chat template that leaves earlier turns as they were, and raises :class:`ModelError` otherwise.
    """
    prompt = demonstration.prompt
    row = encode_row(
        tokenizer,
        prompt,
        demonstration.response,
        add_bos=add_bos,
        max_length=max_length,
        truncate=truncate,
        source=source,
    )
    earlier = any(message.role == "assistant" for message in (prompt.messages or ())[:-1])
    if turns == "last" or not earlier:
        mask = (False,) * len(row.prompt_ids) + (True,) * len(row.completion_ids)
        return Tokens(row.prompt_ids + row.completion_ids, mask)
    with _located(prompt, source):
        ids, trained = _with_earlier_turns(tokenizer, prompt.messages or (), add_bos)
    room = max_length if max_length is not None else len(ids) + len(row.completion_ids)
    if len(ids) >= room:
        raise too_long(prompt, len(ids), room - 1, source)
    answer = (
        row.completion_ids
        if max_length is None
        else encode_completion(tokenizer, ids, demonstration.response, chat=True)
    )
    return Tokens((*ids, *answer)[:room], (*trained, *(True for _ in answer))[:room])


def _with_earlier_turns(
    tokenizer: Any, messages: Sequence[Message], add_bos: bool | None
) -> tuple[list[int], list[bool]]:
    """The prompt's ids, tokenised piece by piece at the ends of the assistant's turns, and which are theirs."""
    ids: list[int] = []
    trained: list[bool] = []
    done = ""

    def add(text: str, train: bool) -> None:
        nonlocal done
        if not text.startswith(done):
            raise ModelError(
                "the chat template rewrites earlier turns of a conversation, so that they cannot be trained in place;"
                " train the last turn only (turns: last)"
            )
        piece = (continuation_ids if done else _plain_ids)(tokenizer, text[len(done) :])
        ids.extend(piece)
        trained.extend([train] * len(piece))
        done = text

    for at, message in enumerate(messages):
        if message.role == "assistant":
            add(_render(tokenizer, messages[:at], add_bos), False)
            # Line feeds after the token that closes the turn are the template's, not the assistant's.
            add(_render(tokenizer, messages[: at + 1], add_bos, closed=True).rstrip(), True)
    add(_render(tokenizer, messages, add_bos), False)
    started = _with_bos(tokenizer, ids, bool(add_bos))
    return started, [False] * (len(started) - len(ids)) + trained


def encode_text(tokenizer: Any, text: str, max_length: int | None = None, *, add_bos: bool | None = None) -> Tokens:
    """A text as one training row, every token a target; closed with EOS unless ``max_length`` cuts it off."""
    add = adds_bos(tokenizer) if add_bos is None else add_bos
    ids = _with_bos(tokenizer, _closed(tokenizer, _plain_ids(tokenizer, text), chat=False), add)
    return Tokens(tuple(ids[:max_length]), (True,) * len(ids[:max_length]))
