"""Reading files of every kind: rows with the place they came from."""
