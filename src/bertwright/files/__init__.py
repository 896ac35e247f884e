"""Files that bertwright writes: atomically, and as JSON that any parser reads."""
