"""The labelling app: sign in with your name, rank answers by keyboard, button or drag.  Loads without torch."""
