"""One module a format: files of other tools, written from the rows of a store."""
