"""How Sphinx makes the site; `nnkit.guide.__main__` calls it."""

import re

from docutils import nodes
from latex2mathml.converter import convert
from numpydoc.docscrape import NumpyDocString
from sphinx.addnodes import pending_xref

import nnkit
from nnkit.guide.generated.docstrings import OWN, restructured

project = "nnkit"
version = release = nnkit.__version__
copyright = "the nnkit developers"

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["gallery"]  # what sphinx-gallery makes of it is in auto_examples

myst_enable_extensions = ["attrs_block", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

smartquotes = False  # s'(x) is a derivative
nitpicky = True
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings say what a parameter is
NumpyDocString.sections.update(dict.fromkeys(OWN, ""))  # it would warn of them where it looks for signatures
default_role = "py:obj"
nitpick_ignore_regex = [("py:obj", ".*")]  # what stands between backticks is linked where it is a public name
numpydoc_validation_checks = {
    "all",  # but for
    "ES01", "SA01",  # a second paragraph, and other names: where they help
    "EX01", "PR01", "PR07", "RT01", "RT02", "RT03", "YD01",  # the first sentence may say it all; tests look at parameters
    "PR03", "GL07",  # what is alike is described together; examples come before sources
    "SS02", "SS05",  # a summary may be a formula, "s(x) = max(x, 0)"
}  # fmt: skip
numpydoc_class_members_toctree = numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_examples",
    "abort_on_example_error": True,
    "within_subsection_order": "FileNameSortKey",
    "remove_config_comments": True,
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,
    "backreferences_dir": "auto_examples/using",
    "doc_module": ("nnkit",),
    "reference_url": {},
}

html_theme = "pydata_sphinx_theme"
html_title = "nnkit"
html_static_path = ["_static"]
html_css_files = ["guide.css"]
html_copy_source = html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "nnkit"},
    "navbar_align": "left",
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_math_renderer = "mathml"  # browsers set it themselves: no script, no network


def _math(display):
    """What writes a formula as MathML."""

    def visit(writer, node):
        writer.body.append(convert(node.astext(), display=display))
        raise nodes.SkipNode

    return visit, None


def _docstring(app, what, name, item, options, lines):
    lines[:] = restructured(lines)


def _trimmed(app, doctree):
    """An example on a page ends with an empty line, for who runs it; nobody wants to see it."""
    for block in doctree.findall(nodes.literal_block):
        block.rawsource = block.astext().rstrip("\n")
        block[:] = [nodes.Text(block.rawsource)]


def _linked(app, doctree):
    """Code on a page that begins with a public name leads to its page."""
    # Tables of two libraries' words begin with the other's.
    foreign = app.env.docname.startswith(("migration/", "reference/pytorch"))
    first = [row[0] for row in doctree.findall(nodes.row)] if foreign else []
    theirs = {literal for entry in first for literal in entry.findall(nodes.literal)}
    for literal in [item for item in doctree.findall(nodes.literal) if item not in theirs]:
        found = re.match(r"(nn\.)?((\w+)(\.\w+)*)", literal.astext())
        known = found and found[3] in nnkit.__all__ and (found[1] or found[3][0].isupper())
        if known and not isinstance(literal.parent, nodes.reference | pending_xref):
            link = pending_xref("", refdomain="py", reftype="obj", reftarget=f"nnkit.{found[2]}", refexplicit=True)
            literal.replace_self(link)
            link += literal


def setup(app):
    app.connect("autodoc-process-docstring", _docstring, priority=400)  # before numpydoc's, which is 500
    app.connect("doctree-read", _trimmed)
    app.connect("doctree-read", _linked)
    app.add_html_math_renderer("mathml", _math("inline"), _math("block"))
