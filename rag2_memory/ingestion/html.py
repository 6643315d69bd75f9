"""HTML as Markdown, through Beautiful Soup and markdownify (MIT; html2text is GPL and would bind every user)."""

from __future__ import annotations

import re

BOILERPLATE = "script, style, noscript, template, nav, footer, aside, iframe, svg, form, button, [hidden], [role=navigation], a.headerlink"
"""CSS selector of what a reader of the page would not call its text."""


def html_to_markdown(html: str) -> tuple[str, str]:
    """Convert a page into Markdown and its title (empty where it declares none).

    Headings, lists, tables and code keep their structure; scripts, navigation and link targets are left out, an image
    leaves its alternative text. The text is that of `<main>` or the only `<article>`, where there is one.
    """
    from bs4 import BeautifulSoup
    from markdownify import MarkdownConverter

    soup = BeautifulSoup(html, "html.parser")
    title = " ".join(soup.title.get_text().split()) if soup.title else ""
    for element in soup.select(f"{BOILERPLATE}, head"):
        element.decompose()
    for header in soup.find_all("header"):
        if not header.find(["h1", "h2"]):
            header.decompose()
    for image in soup.find_all("img"):
        image.replace_with(str(image.get("alt") or ""))
    articles = soup.find_all("article")
    body = soup.find("main") or (articles[0] if len(articles) == 1 else None) or soup.body or soup
    converter = MarkdownConverter(
        heading_style="ATX",
        bullets="-",
        strip=["a"],
        table_infer_header=True,
        escape_asterisks=False,
        escape_underscores=False,
        escape_misc=False,
    )
    try:
        text = converter.convert_soup(body)
    except RecursionError:  # markdownify follows nesting by recursion; hundreds of levels are no structure worth keeping
        text = body.get_text("\n")
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", text)).strip() + "\n", title


def declared_encoding(data: bytes) -> str | None:
    """Return the encoding that a page's own head names."""
    from bs4.dammit import EncodingDetector

    return EncodingDetector.find_declared_encoding(data, is_html=True)
