"""How a network is run: where, in which arithmetic, compiled or packed."""
