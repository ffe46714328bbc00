"""Models behind OpenAI-compatible servers: vLLM, SGLang, Ollama, llama-server, hosted ones."""
