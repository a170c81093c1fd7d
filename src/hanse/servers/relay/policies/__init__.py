"""The admission policies: plain functions `(event, context) -> None` that raise what they refuse
with. `admission.py` puts them in order."""
