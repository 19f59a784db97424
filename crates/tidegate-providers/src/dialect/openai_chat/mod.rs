//! OpenAI's chat completions, also used by Azure, Mistral, Groq, DeepSeek, OpenRouter, xAI and others.

pub(crate) mod events;
