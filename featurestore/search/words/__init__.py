"""What a word is: the forms of texts that are compared. Knows no index and no store."""
