"""A figure as SVG inside a page: real text in the reader's font, colours by the page's theme, ids of its own."""

import io
import re
import warnings
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from budget_router.reports.escaping import visible
from budget_router.reports.labels import NAME
from budget_router.reports.theme import SMALL, VARIABLE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_SMALLEST = 11.0
"""Pixels that no text on the page goes below."""
_COLOR = re.compile("|".join(VARIABLE), re.IGNORECASE)
_REFERENCE = re.compile(r"#([\w.-]+)")
_FAMILY = re.compile(r"font-family:[^;]*;?\s*|(?<=px) '[^;]*")
"""A family by its own name, or at the end of the `font:` of older matplotlib."""


def to_svg(figure: "Figure", *, prefix: str, title: str) -> str:
    """Write a figure as an `<svg>` element.

    Args:
        figure: drawn in the theme's colours; each becomes its CSS variable, with itself to fall back on.
        prefix: of every id, so that several pictures can stand on one page.
        title: the finding, for those who do not see the picture.
    """
    root = ElementTree.fromstring(_drawn(figure, salt=prefix))  # noqa: S314  our own drawing
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    _drop(root, {"metadata", "style"})
    _drop_sheet(root)
    used = {name for element in root.iter() for name in _REFERENCE.findall(_references(element))}
    for element in root.iter():
        _rewrite(element, prefix, used)
    _, _, width, height = root.attrib["viewBox"].split()
    root.attrib = {
        "viewBox": f"0 0 {width} {height}",
        "role": "img",
        "aria-label": visible(title),
        "style": f"min-width: {float(width) * _SMALLEST / SMALL:.0f}px; font-family: {_FONTS}; stroke-linejoin: round",
    }
    head = ElementTree.Element("title")
    head.text = visible(title)
    root.insert(0, head)
    return ElementTree.tostring(root, encoding="unicode").strip()


def _drawn(figure: "Figure", *, salt: str) -> str:
    import matplotlib as mpl

    text = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the reader's font has it, or shows a box
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def _drop(element: ElementTree.Element, tags: set[str]) -> None:
    for child in list(element):
        if child.tag in tags:
            element.remove(child)
        else:
            _drop(child, tags)


def _drop_sheet(root: ElementTree.Element) -> None:
    """Take the paper away: the page has its own."""
    figure = next(element for element in root.iter("g") if element.get("id") == "figure_1")
    figure.remove(next(element for element in figure if element.get("id") == "patch_1"))


def _references(element: ElementTree.Element) -> str:
    """What may name another element: links and `url(#…)`, not the element's own id."""
    return " ".join(value for name, value in element.attrib.items() if name != "id")


def _rewrite(element: ElementTree.Element, prefix: str, used: set[str]) -> None:
    """Keep the ids that something refers to, under the prefix; hand colours and fonts to the page."""
    kept: dict[str, str] = {}
    for qualified, value in element.attrib.items():
        name = qualified.rpartition("}")[2]
        if name == "id":
            if value == NAME:
                kept["class"] = value
            elif value in used:
                kept["id"] = f"{prefix}-{value}"
        elif name in {"href", "clip-path"}:
            kept[name] = value.replace("#", f"#{prefix}-")
        elif name == "style":
            kept[name] = _COLOR.sub(lambda found: f"var({VARIABLE[found[0].lower()]}, {found[0].lower()})", _own_size(value))
        else:
            kept[name] = value
    element.attrib = kept


def _own_size(style: str) -> str:
    """A style without matplotlib's font: the page's serves."""
    return _FAMILY.sub(lambda found: "" if found[0].startswith("font-family") else f" {_FONTS}", style)
