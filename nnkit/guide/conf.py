"""How Sphinx makes the site; `nnkit.guide.__main__` calls it."""

from docutils.nodes import SkipNode
from latex2mathml.converter import convert
from numpydoc.docscrape import NumpyDocString

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
toc_object_entries = False

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings say what a parameter is
NumpyDocString.sections.update(dict.fromkeys(OWN, ""))  # it would warn of them where it looks for signatures
default_role = "py:obj"
nitpick_ignore_regex = [("py:obj", ".*")]  # what stands between backticks is linked where it is a public name
numpydoc_class_members_toctree = numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_examples",
    "abort_on_example_error": True,
    "within_subsection_order": "FileNameSortKey",
    "remove_config_comments": True,
    "download_all_examples": False,
    "show_signature": False,
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
        raise SkipNode

    return visit, None


def _docstring(app, what, name, item, options, lines):
    lines[:] = restructured(lines)


def setup(app):
    app.connect("autodoc-process-docstring", _docstring, priority=400)  # before numpydoc's, which is 500
    app.add_html_math_renderer("mathml", _math("inline"), _math("block"))
