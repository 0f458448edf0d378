"""Looking at models, a folder for each question: how they compute (`trace`), whether they learn (`monitor`), what they cost
(`cost`), what the columns of the input do (`effects`). What they decide is a picture by itself (`decision`); `pictures` draws
and tabulates for all of them.
"""
