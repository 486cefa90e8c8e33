"""How much of the API who may use, and who goes first when there is too much to do."""
