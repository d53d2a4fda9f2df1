"""A study's figures: long tables, one figure a row, and the wide views made from them."""
