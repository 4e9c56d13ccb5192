"""What the texts of a table are like for a model and for searches, measured on a sample, and what follows from it.

`texts` adds up the inputs of some rows, `table` chooses the rows and measures distances between them, and `advice` says
which settings the values suggest. Nothing is encoded or changed.
"""
