"""One module per stage: `run(description, inputs, output, threads)` reads artifacts and fills an empty folder."""
