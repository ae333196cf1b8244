"""alembic's environment for the feedback store; :mod:`assent.feedback.opening` runs it, nobody types alembic."""
