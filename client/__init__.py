"""The buyer's side: keys, quotes, requests, decryption, verification."""
