"""Feedback in and out of the store: files of any form, and other labelling tools."""
