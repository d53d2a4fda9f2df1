"""Stages of a study, one module each.

The function `run(description, inputs, output, threads)` of each reads artifacts and fills an empty folder. `description` is the job's
description with its configuration, `inputs` has the folder of each input artifact by role, and `threads` is the number of CPU threads
(None keeps the library's default).
"""
