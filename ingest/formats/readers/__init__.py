"""One module a format: what it recognises as its own, and the batches that its files hold."""
