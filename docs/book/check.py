#!/usr/bin/env python3
"""Checks the built documentation: check.py FOLDER, with the folders source and html. Every page is in the table of contents,
and every link and image leads to a file and an anchor that exist. Links to other hosts are not followed."""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

book = Path(sys.argv[1])
problems: list[str] = []


class Page(HTMLParser):
    """The anchors of a page, and what it links to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.links.append(value)


# Pages that are generated from all others.
GENERATED = {"print.html", "toc.html", "404.html"}
html = book / "html"
pages = {file.resolve(): Page(file.read_text()) for file in html.rglob("*.html") if file.name not in GENERATED}
assert len(pages) > 30, len(pages)

for file, page in pages.items():
    for link in page.links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
        if target.is_dir():
            target /= "index.html"
        place = f"{file.relative_to(html.resolve())}: {link}"
        if not target.exists():
            problems.append(f"{place} does not exist")
        elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
            problems.append(f"{place}: the page has no such heading")

listed = set(re.findall(r"\]\(([^)]+\.md)\)", (book / "source/SUMMARY.md").read_text()))
for file in (book / "source").rglob("*.md"):
    name = str(file.relative_to(book / "source"))
    if name not in listed | {"SUMMARY.md"}:
        problems.append(f"docs/book/SUMMARY.md does not list {name}")

for problem in sorted(set(problems)):
    print(problem)
links = sum(len(page.links) for page in pages.values())
print(f"documentation: {len(pages)} pages, {links} links, {len(set(problems))} problems")
sys.exit(bool(problems))
