"""A policy and its reward model that learn while people answer."""
