"""Reading a page back: a parser that insists on balanced tags, and what every page of ours must hold to."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "link", "br", "img", "hr", "input"}

HOSTILE = [
    '<script>alert("x")</script>.png',
    "\"><img src=x onerror=alert(1)>'.png",
    "</style></title></svg><b>bold</b>.png",
    "</script><script>alert(1)</script>.png",
    "<!--<script>.png",
    "{{ 7 * 7 }}{% raw %}.png",
    "&lt;already&gt;&amp;.png",
    "gnp.\u202eexe\x00\x1b[31m.png",
    "latin1-\udce9.png",
    "x" * 5000 + ".png",
]


class Page(HTMLParser):
    """A parsed page: elements with attributes, the visible text, and what style and script elements hold."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.styles: list[str] = []
        self.scripts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        inside = {"style": self.styles, "script": self.scripts}.get(self.open[-1] if self.open else "", self.texts)
        inside.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))

    @property
    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}

    @property
    def ids(self) -> list[str]:
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]

    @property
    def data(self) -> Any:
        """What the page's script is given."""
        return json.loads(self.scripts[0])


def assert_self_contained(html: str) -> Page:
    """The page is whole, asks for nothing outside itself, and its policy allows its own styles and script alone."""
    page = Page(html)
    assert page.open == []
    assert not page.tags & {"iframe", "object", "embed", "base"}
    for tag, attributes in page.elements:
        assert "style" not in attributes, "an inline style would need a looser policy"
        assert not any(name.startswith("on") for name in attributes)
        for name in ("href", "src", "srcset", "xlink:href", "action", "data", "poster"):
            assert attributes.get(name, "#").startswith(("#", "data:")), (tag, name)
    for style in page.styles:
        assert "@import" not in style
        assert all(url.startswith('"data:image/jpeg;base64,') for url in re.findall(r"url\(([^)]*)\)", style))
    targets = {attributes["href"][1:] for tag, attributes in page.elements if tag == "a"}
    assert targets <= set(page.ids) and len(page.ids) == len(set(page.ids))
    for _, attributes in page.elements:
        for name in ("aria-labelledby", "aria-describedby", "for"):
            assert set(attributes.get(name, "").split()) <= set(page.ids)

    types = [attributes.get("type", "") for tag, attributes in page.elements if tag == "script"]
    assert types == ["application/json", ""] and len(page.scripts) == 2
    policy = next(a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in page.styles]
    digests.append(base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode())
    assert re.findall(r"'sha256-([^']+)'", policy) == digests
    assert policy.startswith("default-src 'none'; img-src data:;") and "unsafe" not in policy
    assert "eval(" not in page.scripts[1] and "innerHTML" not in page.scripts[1]
    return page
