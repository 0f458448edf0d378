"""What the columns of the input do: which of them matter (`importance`), which way they lead (`dependence`), and what each has
added to one prediction (`expected`).
"""
