"""The HTTP process of one city's licence log, and that of a witness."""
