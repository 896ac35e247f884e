"""Text for people: escaping for each output channel, terminal lines and progress bars."""
