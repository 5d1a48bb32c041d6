"""What the page of one feature is made of: its examples in bands, facts beyond its own row, and moves to others."""
