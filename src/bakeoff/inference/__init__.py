"""How an answer is made: the same code for replay and for serving."""
