"""The trust base: chain, contracts, signatures, receipts. Knows nothing above it."""
