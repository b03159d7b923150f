"""HTML and SVG with all text escaped. Pure.

Only what `element` returns is markup; any other string is escaped when it is added to one.
"""

from html import escape


class Markup(str):
    """Text that is already markup."""

    __slots__ = ()


def element(name: str, *children: str, **attributes: object) -> Markup:
    """Return an element; in attribute names a trailing underscore is dropped, others become hyphens."""
    rendered = "".join(
        f' {key.removesuffix("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
    )
    return Markup(f"<{name}{rendered}>{joined(*children)}</{name}>")


def joined(*children: str) -> Markup:
    """Return the children in order, escaped unless they are markup."""
    return Markup("".join(child if isinstance(child, Markup) else escape(child) for child in children))
