"""What the page of SQL is made of: the cells of its rows, and what a statement may name."""
