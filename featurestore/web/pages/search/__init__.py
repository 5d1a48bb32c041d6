"""What the first page is made of: what was typed into its box, facets, and hits as cards. Knows nothing of requests."""
