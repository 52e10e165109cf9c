"""The node that runs beside the data and trusts nobody."""
