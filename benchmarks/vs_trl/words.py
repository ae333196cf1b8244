"""A reward that both sides compute alike.  Imports nothing, so that it loads in any of the environments."""


def even_share(prompt: str, completion: str) -> float:
    """The share of characters with an even code."""
    return sum(ord(character) % 2 == 0 for character in completion) / max(1, len(completion))
