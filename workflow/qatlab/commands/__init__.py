"""Commands for users, in addition to the stages that rules call: one module per command."""
