"""XML documents."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO, cast
from xml.etree import ElementTree as ET

from airflow_kart.exceptions import FormatError
from airflow_kart.formats.base import READING, Writable, require_type

if TYPE_CHECKING:
    Tree = ET.ElementTree[ET.Element]

_ELEMENT = "xml.etree.ElementTree.Element"


@dataclass(frozen=True)
class XmlFormat:
    """An XML document (as UTF-8): an ``xml.etree.ElementTree.ElementTree``, or its root ``Element``.

    Comments and processing instructions inside the root come back. A tree that XML has no form for is refused.
    """

    element: bool = field(default=False, repr=False, metadata=READING)
    """Whether to load the root itself; :meth:`for_type` sets this field."""

    name = "xml"
    trusts_bytes = False

    def for_type(self, dumped: str) -> XmlFormat:
        """Return the format that loads an element where the dumped object was an element."""
        return replace(self, element=dumped == _ELEMENT)

    def dump(self, obj: object, stream: Writable) -> None:
        """Write a tree or an element."""
        require_type(obj, (ET.ElementTree, ET.Element), self.name, "dump an xml.etree.ElementTree.ElementTree or Element")
        root = obj if isinstance(obj, ET.Element) else cast("Tree", obj).getroot()
        if root is None:
            raise FormatError("the xml format cannot write a tree without a root; give it one, ElementTree(root)")
        try:
            data: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
            kept = not (root.tail or "").strip() and _same(_parsed(data), root)
        except (ET.ParseError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise FormatError(
                f"the xml format cannot write this tree ({error}); use names and text that XML allows"
            ) from error
        if not kept:
            raise FormatError(
                "the xml format would not read this tree back equal: a text holds a carriage return, stands after the root, "
                "or beside another; put it into an element of its own"
            )
        stream.write(data)

    def load(self, stream: BinaryIO) -> ET.Element | Tree:
        """Read a tree or an element."""
        try:
            root = _parsed(stream.read())
        except (ET.ParseError, LookupError, ValueError, RecursionError) as error:
            raise FormatError(f"the bytes are not XML ({error})") from error
        return root if self.element else ET.ElementTree(root)


def _parsed(data: bytes) -> ET.Element:
    builder = ET.TreeBuilder(insert_comments=True, insert_pis=True)
    return ET.fromstring(data, parser=ET.XMLParser(target=builder))  # noqa: S314 - artifacts come from trusted workspaces


def _same(one: ET.Element, other: ET.Element, root: bool = True) -> bool:
    """Whether two elements are equal all the way down; a missing text equals an empty one."""
    return (
        one.tag == other.tag
        and (one.text or "") == (other.text or "")
        and (root or (one.tail or "") == (other.tail or ""))
        and one.attrib == other.attrib
        and len(one) == len(other)
        and all(_same(inner, outer, root=False) for inner, outer in zip(one, other, strict=True))
    )
