"""How it is shown.

Figures and tables of plain numbers and words, in one style. They know no model and no fit, so that every floor may use them.
"""
