"""The page on which people label faces: one face at a time, by keyboard, without the classifier's label."""

from collections.abc import Sequence

from ..formatting import plural, printable
from ..html.document import render_document
from ..html.sprites import Face, picture_uri
from ..settings import plain


def build_audit_page(
    *, run: str, digest: str, classes: Sequence[str], faces: Sequence[str], pictures: Sequence[Face]
) -> str:
    """The page as text. It knows names and pictures of the faces, and nothing of what the classifier said.

    Args:
        run: its name, for the heading and the names of the files that the page saves.
        digest: of the sample; progress is kept in the browser under it.
        classes: K labels, in order.
        faces: names, in the order of showing; not shown, for a name may tell the label.
        pictures: as many faces.
    """
    return render_document(
        "audit.html.j2",
        *("page.css", "audit.css", "page.js", "audit.js"),
        data={
            "run": printable(run, 80),
            "digest": digest,
            "classes": [str(plain(name)) for name in classes],
            "faces": list(faces),
            "pictures": [picture_uri(picture) for picture in pictures],
        },
        title="Which expression is this?",
        created=plural(len(faces), "face"),
        classes=[printable(name, 40) for name in classes],
        n=len(faces),
        run=printable(run, 80),
    )
