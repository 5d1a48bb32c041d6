"""How what was read joins a store: kept beside it until all is read, compared with what is there, and written."""
