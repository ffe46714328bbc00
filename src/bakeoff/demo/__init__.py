"""The whole loop on a simulated world: real PostgreSQL, real MLflow, a real small LLM; the people are simulated."""
