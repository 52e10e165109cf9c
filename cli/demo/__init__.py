"""The demonstration: a whole market on one machine, and its answer beside the plain one."""
