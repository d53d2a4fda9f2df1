"""Commands for people, besides the stages that rules call: one module each."""
