"""The guide: pages in Markdown and gallery scripts, and what makes more pages of nnkit itself.

``nnkit docs`` shows them on the terminal; ``python -m nnkit.guide FOLDER`` (``make docs``) makes the site of them.
"""
