"""Tables: what is measured on what, the papers' own numbers, and how they are printed."""
