"""The page on which people compare two generators blindly: pairs of pictures, one of each, sides by chance."""

from __future__ import annotations

from collections.abc import Sequence

from ..formatting import plural, printable
from ..html.document import render_document
from ..html.sprites import Face, picture_uri


def build_blind_page(
    *, names: tuple[str, str], digest: str, pairs: Sequence[tuple[Face, Face]], first_is_left: Sequence[bool]
) -> str:
    """The page as text. It shows names only with the result, after the last pair.

    Args:
        names: of the two generators.
        digest: of the pairs; answers are kept in the browser under it.
        pairs: a picture of the first generator and one of the second, in the order of showing.
        first_is_left: whether the first generator's picture stands on the left, pair by pair.
    """
    shown = [(a, b) if left else (b, a) for (a, b), left in zip(pairs, first_is_left, strict=True)]
    return render_document(
        "blind.html.j2",
        *("page.css", "audit.css", "page.js", "blind.js"),
        data={
            "names": [printable(name, 80) for name in names],
            "digest": digest,
            "first_is_left": [bool(left) for left in first_is_left],
            "pictures": [[picture_uri(left), picture_uri(right)] for left, right in shown],
        },
        title="Which face looks more real?",
        created=plural(len(pairs), "pair"),
        n=len(pairs),
    )
