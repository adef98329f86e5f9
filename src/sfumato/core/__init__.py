"""Mathematics: schedules, expressions, solvers, the sampler and the engine. Imports torch only."""
