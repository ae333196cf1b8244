"""The labelling app: people rank, rate, choose, label and write, by keyboard, button or drag.  Loads without torch."""
