"""One command, `shuyao`, with a sub-command per user."""
