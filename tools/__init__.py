"""Programs that make weights and tables that the package ships: they are not part of it."""
