"""Texts that an application's users wrote, made fit to stand in a prompt or a report."""

import unicodedata

MOST_TITLE = 60  # characters of a title in a prompt: sixteen options must fit
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # by general category: control, format, surrogate, separators
_JOINERS = "\u200c\u200d"  # Persian, Hindi and families of emoji need them


def clean(text: str, *, most: int = MOST_TITLE) -> str:
    """One line of visible characters: control characters, line breaks and marks that turn a line's direction become
    spaces, and what is longer than `most` characters is cut."""
    visible = "".join(each if each in _JOINERS or not _is_invisible(each) else " " for each in text)
    return " ".join(visible.split())[:most].rstrip()


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) in _INVISIBLE
