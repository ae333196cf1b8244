"""Run folders: content digests, manifests, locks, the event log and lineage.  Loads without torch."""
