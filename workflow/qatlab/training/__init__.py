"""The parts of a training: the machine it runs on, its callbacks, its cost."""
