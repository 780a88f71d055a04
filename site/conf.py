"""How Sphinx makes the pages: `make site` gathers their sources and runs it (see site/make.py)."""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
settings = json.loads((HERE / "gathered.json").read_text(encoding="utf-8"))
sys.path.insert(0, settings["edition"])  # the package as students have it: graded modules are stubs

project = "cs336lite"
html_title = "cs336lite"
copyright = settings["copyright"]
extensions = [
    *("myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"),
    *("coursesite.mathematics", "coursesite.chinese", "coursesite.docstrings", "coursesite.finish"),
]
exclude_patterns = ["coursesite", "static", "edition", "released", ".out"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
language = "en"
default_role = "literal"

nb_execution_mode = "off"
nb_merge_streams = True
nb_render_text_lexer = "none"
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_dmath_double_inline = True
myst_heading_anchors = 4
myst_links_external_new_tab = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
add_module_names = False
python_use_unqualified_type_names = True
napoleon_use_rtype = False
maximum_signature_line_length = 88
toc_object_entries = False

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["course.css"]
html_js_files = ["course.js"]
html_math_renderer = "mathml"
html_search_language = "en-zh"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_extra_path = ["released"]
html_theme_options = {
    "navigation_with_keys": True,
    "light_css_variables": {"color-brand-primary": "#00558b", "color-brand-content": "#00558b"},
    "dark_css_variables": {"color-brand-primary": "#6db8e8", "color-brand-content": "#6db8e8"},
}
copybutton_exclude = ".linenos, .gp, .go"
copybutton_only_copy_prompt_lines = False
suppress_warnings = ["docutils"]  # a docstring that is no good reStructuredText stops nothing
