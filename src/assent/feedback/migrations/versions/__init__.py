"""One file a schema revision, in order; a released revision is never edited."""
