"""Names with slashes in paths, behind which a path may have a word of its own."""

from __future__ import annotations

from re import escape

from starlette.convertors import Convertor, register_url_convertor


def own_paths(kind: str, *words: str) -> None:
    """Let ``{name:kind}`` be a name with slashes that does not end with one of these words.

    Such a path is another route's: what that one has no method for is 405, and never said of a
    name that ends so.
    """
    ends = "|".join(map(escape, words))
    register_url_convertor(kind, _named(f"(?!.+(?:{ends})$).*"))


def _named(pattern: str) -> Convertor[str]:
    class PathName(Convertor[str]):
        regex = pattern

        def convert(self, value: str) -> str:
            return value

        def to_string(self, value: str) -> str:
            return value

    return PathName()
