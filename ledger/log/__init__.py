"""The transparency log: RFC 6962 trees, C2SP tlog-tiles files, signed checkpoints and witnesses (docs/log.md)."""
