"""Tables of a study: long tables with one value per row, and the wide tables made from them."""
