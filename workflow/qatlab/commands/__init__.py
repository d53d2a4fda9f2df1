"""Commands for people, beside the stages that rules call."""
