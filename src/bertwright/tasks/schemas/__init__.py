"""What a client of a server sends for one example, and what it receives as its prediction, for each kind of task."""
