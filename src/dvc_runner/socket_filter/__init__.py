"""A wall between the runner and the engine's socket: what the runner asks for passes, nothing else does."""
