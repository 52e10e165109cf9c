"""Side-by-side measurements against named peers, one module for each, run by `./shuyao bench NAME`."""
