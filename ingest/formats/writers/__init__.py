"""One module a format: files of other tools, written from the features of a store."""
