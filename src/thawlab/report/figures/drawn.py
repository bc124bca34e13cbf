"""A figure as the report keeps it: SVG that says what it shows, a PNG of the same, and its numbers as a table."""

import io
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar
from xml.etree import ElementTree

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from thawlab.report.words import Table

T = TypeVar("T")
DPI = 144
_SVG, _LINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_REFERENCE = re.compile(r"url\(#([^)]*)\)")
ElementTree.register_namespace("", _SVG)
ElementTree.register_namespace("xlink", _LINK)


@dataclass(frozen=True)
class Drawn:
    """A figure of a report."""

    name: str  # of its files, without their ends
    title: str
    description: str  # what a person sees who looks at it, in a sentence or two
    svg: str  # one element, which may stand in a page or in a file of its own
    width: int  # its own, in points
    png: bytes
    table: Table  # what was drawn, in numbers


def some(found: Iterable[T], most: int, what: str) -> tuple[list[T], str]:
    """The first `most`, and the sentence that belongs into a description where there are more.

    >>> some("abc", 2, "letters")
    (['a', 'b'], ' Of 3 letters 2 are drawn; report.json has the numbers of all.')
    """
    every = list(found)
    told = f" Of {len(every)} {what} {most} are drawn; report.json has the numbers of all." if len(every) > most else ""
    return every[:most], told


def finish(figure: Figure, name: str, title: str, description: str, table: Table) -> Drawn:
    """Write a figure out; to be called within `styled(name)`."""
    vector, raster = io.BytesIO(), io.BytesIO()
    with warnings.catch_warnings():
        # The figures' font lacks scripts that a browser has; of a strange name the PNG shows boxes.
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*|.*font.*|.*constrained_layout not applied.*")
        FigureCanvasSVG(figure).print_svg(vector, metadata={"Date": None})
        figure.set_layout_engine("none")  # laid out already
        figure.set_dpi(DPI)
        # Not `savefig`, which draws twice to see what is there.
        FigureCanvasAgg(figure).print_png(raster, pil_kwargs={"compress_level": 4})
    svg = _told(vector.getvalue(), name, title, description)
    return Drawn(name, title, description, svg, round(72 * figure.get_figwidth()), raster.getvalue(), table)


def _told(svg: bytes, name: str, title: str, description: str) -> str:
    """With a title and a description for screen readers, ids of its own, and nothing that reaches beyond it."""
    root = ElementTree.fromstring(svg)
    for parent in root.iter():
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                parent.remove(child)
    _rename(root, name)
    for i, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ElementTree.Element(f"{{{_SVG}}}{tag}", {"id": f"{name}-{tag}"})
        element.text = text
        root.insert(i, element)
    # Matplotlib says these in a style sheet for `*`, which would hold for the whole page.
    root.attrib |= {
        "role": "img", "aria-labelledby": f"{name}-title {name}-desc", "stroke-linejoin": "round",
        "stroke-linecap": "butt",
    }  # fmt: skip
    return ElementTree.tostring(root, encoding="unicode")


def _rename(root: ElementTree.Element, name: str) -> None:
    """Put the figure's name before every id and what refers to it: other figures of the page have the same ids."""
    link = f"{{{_LINK}}}href"
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif key == link and value.startswith("#"):
                element.set(key, f"#{name}-{value[1:]}")
            elif "url(#" in value:
                element.set(key, _REFERENCE.sub(lambda found: f"url(#{name}-{found[1]})", value))
