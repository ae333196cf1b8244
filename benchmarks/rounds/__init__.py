"""What rounds are worth, and what asking the right questions is worth."""
