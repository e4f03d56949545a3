"""A tokenizer for short sentences."""

from __future__ import annotations

from flambe.tokenizer import Tokenizer


class ContentWords(Tokenizer):
    """Splits a sentence into its longer words.

    Parameters
    ----------
    min_length: int
        The length of the shortest words to keep. Most shorter ones are articles, prepositions and pronouns.

    """

    def __init__(self, min_length: int = 4) -> None:
        self.min_length = min_length

    def tokenize(self, example: str) -> list[str]:
        """Return the longer words of a sentence, without a plural s."""
        words = [word for word in example.lower().split() if len(word) >= self.min_length]
        return [word[:-1] if word.endswith("s") and not word.endswith("ss") else word for word in words]
