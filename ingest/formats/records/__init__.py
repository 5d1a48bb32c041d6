"""What records of other tools say, as columns of ours: helpers that several readers share."""
