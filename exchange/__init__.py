"""The market: participants, assets, listings, quotes, requests and their life cycle."""
